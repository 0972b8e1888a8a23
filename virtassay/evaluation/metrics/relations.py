"""Known relations between the perturbations of a map: pairs of its rows (k, 2), i < j, each once."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Pairs = NDArray[np.int64]
Mask = NDArray[np.bool_]


def pairs_of_label(labels: Sequence[str | None]) -> Pairs:
    """All pairs of perturbations of one label (the same mechanism, the same target), (k, 2).

    labels: one for each row of the map, None where it isn't known. Two doses of a compound share its label trivially:
    give a map of compounds, not of doses. Raises ValueError where no two rows share a label.
    """
    members: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        if label is not None:
            members.setdefault(label, []).append(row)
    pairs = [np.array(rows)[np.stack(np.triu_indices(len(rows), 1), 1)] for rows in members.values() if len(rows) > 1]
    if not pairs:
        raise ValueError(f"no two of {len(labels)} perturbations share one of {len(members)} labels: no pair is known.")
    return _normal(np.concatenate(pairs))


def read_pairs(path: str | Path, names: Sequence[str]) -> Pairs:
    """The pairs of a table of two columns of names, as rows of the map, (k, 2).

    path: parquet, or csv with a header (EFAAR's lists of pathways and complexes are such). names: of the map's rows.
    Pairs with a name that is not on the map are left out, and a warning counts and names them; so are repetitions, the
    order of a pair, and pairs of a name with itself. Raises FileNotFoundError, and ValueError for a table of other
    columns or with gaps, for a map that holds a name twice, and where no pair is left.
    """
    return _normal(_read(Path(path), names))


def read_targets(path: str | Path, names: Sequence[str]) -> Pairs:
    """The rows of a table of a compound and a gene that it targets, as rows of the map, (k, 2), compound first.

    As `read_pairs` otherwise, errors too.
    """
    return np.unique(_read(Path(path), names), axis=0)


def _read(path: Path, names: Sequence[str]) -> Pairs:
    if not path.is_file():
        raise FileNotFoundError(f"there is no table of pairs {path}: correct the path, or put it there.")
    try:
        table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path} cannot be read as a table of pairs: {error}.") from error
    if table.width != 2 or table.height == 0:
        raise ValueError(
            f"{path} has {table.height} rows of the columns {table.columns}; expected a pair in each row, and no "
            "columns but the two names."
        )
    table = table.cast(pl.String)
    gaps = np.flatnonzero(table.select(pl.any_horizontal(pl.all().is_null())).to_series().to_numpy())
    if len(gaps):
        raise ValueError(f"{path}: {len(gaps)} rows lack a name, the first: {(gaps[:5] + 1).tolist()}. Drop them.")
    row = {name: i for i, name in enumerate(names)}
    if len(row) < len(names):
        twice = [name for i, name in enumerate(names) if row[name] != i]
        raise ValueError(f"the map holds {len(twice)} names more than once: {twice[:5]}; each is one row.")
    ends = np.stack([np.array([row.get(name, -1) for name in column]) for column in table.get_columns()], 1)
    valid = (ends >= 0).all(1) & (ends[:, 0] != ends[:, 1])
    unknown = sorted({name for column in table.get_columns() for name in column} - set(row))
    named = f"{len(unknown)} of its names are not on the map, the first: {unknown[:5]}"
    if not valid.any():
        raise ValueError(
            f"{path}: none of {table.height} pairs are two perturbations of the map; {named}. The map's names are "
            f"written as {list(names[:5])}."
        )
    if unknown:
        left_out = int((ends < 0).any(1).sum())
        log.warning("%s: %d of %d pairs are left out; %s", path, left_out, table.height, named)
    return ends[valid]


def pairs_by_seen(pairs: Pairs, seen: Sequence[bool]) -> dict[str, Mask]:
    """Which pairs (k,) have both perturbations seen in training, one of them, or none; seen: one for each row."""
    number = np.array(seen, bool)[pairs].sum(1)
    return {"seen_seen": number == 2, "seen_unseen": number == 1, "unseen_unseen": number == 0}


def check_pairs(pairs: Pairs, n: int) -> None:
    """Raise ValueError unless `pairs` are (k, 2), k ≥ 1, different rows of a map of n."""
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(f"known pairs have shape {pairs.shape}; expected (k, 2) with k ≥ 1.")
    wrong = (pairs < 0).any(1) | (pairs >= n).any(1) | (pairs[:, 0] == pairs[:, 1])
    if wrong.any():
        raise ValueError(
            f"{wrong.sum()} of {len(pairs)} known pairs are not two rows of a map of {n}: {pairs[wrong][:5].tolist()}."
        )


def _normal(pairs: Pairs) -> Pairs:
    """Each pair once, the smaller row first, none of a row with itself."""
    ordered = np.sort(pairs, 1)
    return np.unique(ordered[ordered[:, 0] < ordered[:, 1]], axis=0)
