"""A table of feature vectors (profiles of wells or cells, embeddings, expression) → a dataset folder."""

import logging
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from virtassay.data.dataset.store import DatasetInfo, DatasetWriter
from virtassay.data.prepare import leaks
from virtassay.data.prepare.annotation import Annotation, load_table, make_index, named_in
from virtassay.data.prepare.splits import Split
from virtassay.data.prepare.table import describe_split, list_skipped
from virtassay.schema import COLUMNS, InvalidIndex, offenders, require_controls

log = logging.getLogger(__name__)
FAR = 1000  # interquartile ranges from the median: an artefact of some normalisation, not biology


def prepare_profiles(
    *,
    root: str | Path,
    table: str | Path | pl.DataFrame,
    features: Sequence[str],
    split: Split,
    leave_out: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    keep: Mapping[str, Sequence[Any]] | None = None,
    controls: Sequence[str] | None = None,
    separator: str | None = None,
    in_control_units: bool = True,
    on_error: str = "raise",
    on_constant: str = "raise",
    accept: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write the dataset folder of a screen's profiles: "images" of shape (c, 1, 1), a channel a feature, in float32.

    table: csv, tsv or parquet, a row a well (or a cell), read whole. features: the columns that are features, by name
    or pattern ("Cells_*"); columns that `leave_out` names, `columns` maps or the index knows are none. columns,
    constants, keep, controls, separator, accept: as in `table.prepare_table`. in_control_units: store
    (x − mean) / spread, of the training split's controls, the spread at least half the s.d. of the whole training
    split; False stores x (embeddings, whose distances have units of their own). on_error: "raise", or "skip" to leave
    out rows with values that are not finite (skipped.csv names them). on_constant: "raise", or "drop" to leave out
    features that are constant in the training split. Raises InvalidIndex naming columns, rows and the fix.
    """
    for option, choice, other in (("on_error", on_error, "skip"), ("on_constant", on_constant, "drop")):
        if choice not in ("raise", other):
            raise ValueError(f"{option}={choice!r}: give raise or {other}.")
    annotation = Annotation(columns or {}, constants or {}, keep or {}, controls, separator)
    rows, provenance = load_table(table, annotation)
    source = provenance["source"]
    sources = annotation.columns.values()
    used = {*COLUMNS, *sources, *annotation.keep} | named_in(sources)  # to say what was done to a well
    every = choose_features(rows.columns, features, leave_out, used, source)
    index = make_index(rows.drop(every), source, annotation)
    names = np.array(every)
    counted = f"{source} (rows counted after keep)" if keep else source
    values = _values(rows.select(every)[index["_number"].to_numpy()], counted)
    skipped = _skipped(values, names, index["image_id"], source, on_error == "skip")
    kept = ~index["image_id"].is_in(skipped["image_id"].implode())
    index, values = index.filter(kept), values[kept.to_numpy()]
    if skipped.height:  # they may have been all the controls of a batch
        require_controls(index, f"{source} ({skipped.height} rows were left out, the first: {skipped['reason'][0]})")
    index = split(index)
    checks = leaks.refuse_leaks(leaks.audit_index(index), accept, source)
    train = index["split"].eq_missing("train").to_numpy()
    constant = _constant(values, train, names, source, on_constant == "drop")
    names, left_out, values = names[~constant], names[constant], values[:, ~constant]
    _warn_of_outliers(values, names)
    scaling = None
    if in_control_units:
        mean, spread = _control_units(values, train, train & index["is_control"].to_numpy())
        values = ((values - mean) / spread).astype(np.float32)
        scaling = {"kind": "control_units", "mean": mean.tolist(), "spread": spread.tolist()}
    info = DatasetInfo(
        name=Path(root).name,
        channels=tuple(names.tolist()),
        image_shape=(len(names), 1, 1),
        dtype="float32",
        scaling=scaling,
        provenance=provenance | {"skipped": skipped.height, "constant": left_out.tolist()},
    )
    with DatasetWriter(root, info, overwrite=overwrite) as writer:
        writer.append(values[:, :, None, None], index.drop("_number"))
        if skipped.height:
            list_skipped(writer, skipped, "rows")
        dataset = writer.preview()
        checks += leaks.refuse_leaks(leaks.audit_images(dataset), accept, source)
        describe_split(writer, dataset, index, split, checks)
    log.info("wrote %d vectors of %d features to %s; look at contact_sheet.png there", len(dataset), len(names), root)
    return Path(root)


def choose_features(
    columns: Sequence[str], features: Sequence[str], leave_out: Sequence[str], used: set[str], source: str
) -> list[str]:
    """Return the columns of a table that are features, in its order; raises InvalidIndex naming what does not fit."""
    free = [name for name in columns if name not in used]
    chosen: list[set[str]] = []
    for patterns in (features, leave_out):
        matches = [{name for name in free if name == p or fnmatchcase(name, p)} for p in patterns]
        for pattern, matching in zip(patterns, matches, strict=True):
            if not matching:
                raise InvalidIndex(
                    f"{source}: no column that could be a feature is named like {pattern!r}; there are {free[:12]}"
                    f"{f' and {len(free) - 12} more' if len(free) > 12 else ''}. Patterns are written as Cells_*."
                )
        chosen.append({name for matching in matches for name in matching})
    names = [name for name in free if name in chosen[0] - chosen[1]]
    if not names:
        raise InvalidIndex(f"{source}: features={list(features)} less leave_out={list(leave_out)} leaves no feature.")
    twice = [m[1] for name in names if (m := re.fullmatch(r"(.+)_duplicated_\d+", name)) and m[1] in columns]
    if twice:  # so polars names them
        raise InvalidIndex(f"{source}: column(s) {twice[:5]} stand twice in the table; each needs a name of its own.")
    return names


def _values(table: pl.DataFrame, source: str) -> np.ndarray:
    """Return the features as float32 (n, c), NaN where one is missing."""
    for column in table:
        if not column.dtype.is_numeric() and column.dtype != pl.Null:
            wrong = column.is_not_null()
            if column.dtype == pl.String:
                wrong &= column.cast(pl.Float64, strict=False).is_null()
            if wrong.any():
                raise InvalidIndex(
                    f"{source}: the feature {column.name!r} holds {column.dtype} where numbers are expected: "
                    f"{offenders(table, wrong, column.name)}. Correct it, or leave it out by leave_out=[…]."
                )
    return table.cast(pl.Float32, strict=False).to_numpy()


def _skipped(values: np.ndarray, names: np.ndarray, image_id: pl.Series, source: str, skip: bool) -> pl.DataFrame:
    """Say which rows hold values that are not finite, and why; raises InvalidIndex unless they shall be skipped."""
    bad = ~np.isfinite(values)
    rows, first = np.flatnonzero(bad.any(1)), bad.argmax(1)
    reasons = [f"{names[first[row]]} is {values[row, first[row]]}" for row in rows]
    table = pl.DataFrame({"image_id": image_id.gather(rows), "reason": pl.Series(reasons, dtype=pl.String)})
    if len(rows) and (not skip or len(rows) == len(values)):
        by_feature = bad.sum(0)
        worst = [f"{names[i]} ({by_feature[i]} rows)" for i in np.argsort(-by_feature)[:5] if by_feature[i]]
        shown = ", ".join(f"{name}: {reason}" for name, reason in table.head(5).iter_rows())
        raise InvalidIndex(
            f"{source}: {len(rows)} of {len(values)} rows hold features that are missing or not finite in float32 "
            f"({shown}); most often {', '.join(worst)}. Leave features out by leave_out=[…], or rows by on_error=skip."
        )
    return table


def _constant(values: np.ndarray, train: np.ndarray, names: np.ndarray, source: str, drop: bool) -> np.ndarray:
    """Say which features (c,) are constant in the training split; raises InvalidIndex unless they shall be dropped."""
    if not train.any():
        raise InvalidIndex(f"{source}: the split leaves no rows for training.")
    constant = values[train].max(0) == values[train].min(0)
    if constant.all() or (constant.any() and not drop):
        shown = names[constant]
        raise InvalidIndex(
            f"{source}: {len(shown)} of {len(names)} features are constant in the training split: "
            f"{shown[:5].tolist()}{' …' if len(shown) > 5 else ''}. They say nothing: leave them out by "
            "on_constant=drop or leave_out=[…]."
        )
    return constant


def _warn_of_outliers(values: np.ndarray, names: np.ndarray) -> None:
    low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
    farthest = np.maximum(values.max(0) - middle, middle - values.min(0))
    far = names[(high > low) & (farthest > FAR * (high - low))]
    if len(far):
        log.warning(
            "%d features have values over %d interquartile ranges from their median (%s …): beside such a value all "
            "others look alike. Clip them, normalise otherwise, or leave them out", len(far), FAR, ", ".join(far[:5]),
        )  # fmt: skip


def _control_units(values: np.ndarray, train: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and spread (c,) of the control rows; half the s.d. of the training rows at least."""
    if not control.any():
        raise InvalidIndex("the training split holds no controls to scale on: change the split, or in_control_units.")
    of_controls = values[control].astype(np.float64)
    return of_controls.mean(0), np.maximum(of_controls.std(0), 0.5 * values[train].std(0, dtype=np.float64))
