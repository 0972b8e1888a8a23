"""What is compared with what: strata, and the real controls and training images that stand beside them.

A stratum is (batch, treatment) of the judged split, treated images only. The real controls of a batch (of every split:
they are its zero) are divided by well into three parts: one for the real effect, one for the generated effect and one
to be copied by the baseline `control_copy`. Sharing one part would manufacture agreement.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.data.dataset.store import Dataset
from virtassay.evaluation.evaluation_set import (
    NO_ROWS,
    ControlParts,
    EvaluationSet,
    Limits,
    Rows,
    Stratum,
    at_most,
    divide,
    generator_for,
    named,
)
from virtassay.schema import require_controls

POOLED_BATCHES = 8  # training batches that stand in for a batch that is not in training


def check_folders(real: Dataset, generated: Dataset) -> None:
    """Raise ValueError naming what differs unless both folders hold the same kind of images."""
    for what, a, b in (
        ("channels", real.info.channels, generated.info.channels),
        ("image shape (C, H, W)", real.info.image_shape, generated.info.image_shape),
        ("pixel type", real.info.dtype, generated.info.dtype),
    ):
        if tuple(a) != tuple(b):
            raise ValueError(
                f"the {what} of {real.root} is {a}, that of {generated.root} is {b}; they must be the same to be "
                "compared. Prepare the real images as the model was trained, or generate them anew."
            )


def build_evaluation_set(real: Dataset, generated: Dataset, limits: Limits) -> EvaluationSet:
    """Lay out the comparison. Raises ValueError naming split, folders or treatments that do not fit together."""
    check_folders(real, generated)
    split, seed = limits.split, limits.seed
    judged_rows = real.split(split).index  # the store's error names the splits there are
    require_controls(real.index.filter(pl.col("batch").is_in(judged_rows["batch"].unique().to_list())), str(real.root))
    table = _facts(real.index, 0)
    of_generated = _facts(generated.index, len(real)).filter(~pl.col("is_control"))
    treated = table.filter(~pl.col("is_control"))
    judged = treated.filter(pl.col("split") == split)
    rows_generated = _by_stratum(of_generated)
    seen_names = set(treated.filter(pl.col("split") == "train")["perturbation_name"])
    strata = [
        Stratum(
            name=name,
            batch=first["batch"],
            treatment=first["treatment"],
            perturbation=first["perturbation_name"],
            dose_um=first["dose_sum"],
            moa=first["moa"],
            smiles=first["smiles"],
            seen=first["perturbation_name"] in seen_names,
            real=at_most(real_rows, limits.max_images, generator_for(seed, name, "real")),
            generated=at_most(rows, limits.max_images, generator_for(seed, name, "generated")),
        )
        for name, real_rows in sorted(_by_stratum(judged).items())
        for first, rows in [(table.row(int(real_rows[0]), named=True), rows_generated.get(name, NO_ROWS))]
    ]
    warnings: list[str] = []
    if not strata:
        raise ValueError(f"split {split!r} of {real.root} holds controls only; there is no treatment to judge.")
    known = {s.name for s in strata}
    if not known & set(rows_generated):
        raise ValueError(
            f"no batch and treatment of {generated.root} ({named(sorted(rows_generated)) or 'controls only'}) is among "
            f"those of split {split!r} of {real.root} ({named(sorted(known))}). Generate what that split holds."
        )
    missing = [s.name for s in strata if len(s.generated) == 0]
    if missing:
        warnings.append(f"{len(missing)} of {len(strata)} strata have no generated images: {named(missing)}.")
    extra = sorted(set(rows_generated) - known)
    if extra:
        warnings.append(f"{len(extra)} generated strata have no real images in split {split!r}: {named(extra)}.")

    well = table["well_number"].to_numpy().astype(np.int64)
    training = table.filter(pl.col("split") == "train")
    if training.filter(~pl.col("is_control")).is_empty():
        training = table.filter(pl.col("split") == split)
        warnings.append(f"{real.root} has no treated training images: baselines draw from split {split!r} instead.")
    batches = sorted({s.batch for s in strata})
    by_batch = _partition(training, "batch")
    pools = {b: _rows(t.filter(~pl.col("is_control"))) for b, t in by_batch.items()}
    seen = {b: len(pools.get(b, NO_ROWS)) > 0 for b in batches}
    stand_in: list[str] = []
    if not all(seen.values()):
        all_training = np.array(sorted(b for b, rows in pools.items() if len(rows)))
        stand_in = at_most(all_training, POOLED_BATCHES, generator_for(seed, "pooled")).tolist()
        unseen = [b for b in batches if not seen[b]]
        warnings.append(f"batch(es) not in training, pooled training images stand in: {named(unseen)}.")
    share = {b: int(t["is_control"].sum()) / t.height for b, t in by_batch.items()}
    pooled = np.concatenate([pools[b] for b in stand_in]) if stand_in else NO_ROWS
    pooled_share = float(np.mean([share[b] for b in stand_in])) if stand_in else 0.0
    treated_training = {
        b: at_most(pools[b] if seen.get(b, True) else pooled, limits.max_training, generator_for(seed, b, "training"))
        for b in sorted({*batches, *stand_in})
    }
    controls, by_image = _controls(table, sorted(treated_training), well, limits)
    if by_image:
        warnings.append(f"fewer than three control wells, divided by image instead, in batch(es) {named(by_image)}.")
    in_other_splits = _by_stratum(treated.filter((pl.col("split") != split).fill_null(True)))
    memory = at_most(_rows(table.filter(pl.col("split") == "train")), limits.max_memory, generator_for(seed, "memory"))
    other_splits = {
        s.name: at_most(in_other_splits.get(s.name, NO_ROWS), len(s.real), generator_for(seed, s.name, "others"))
        for s in strata
    }
    return EvaluationSet(
        strata=strata,
        controls=controls,
        treated_training=treated_training,
        training=training.filter(~pl.col("is_control")),
        serves={b: [b] if seen.get(b, True) else stand_in for b in treated_training},
        control_share={b: share[b] if seen.get(b, True) else pooled_share for b in treated_training},
        memory=memory,
        begun_at=_begun_at(real, generated, strata),
        other_splits=other_splits,
        well=well,
        seed=seed,
        warnings=warnings,
        real=real,
        generated=generated,
    )


def _begun_at(real: Dataset, generated: Dataset, strata: list[Stratum]) -> dict[int, int]:
    if "control_id" not in generated.index.columns:
        return {}
    row_of = dict(zip(real.index["image_id"], range(len(real)), strict=True))
    control_of = generated.index["control_id"].to_list()
    judged = np.concatenate([s.generated for s in strata]).tolist()
    pairs = {row: row_of.get(control_of[row - len(real)]) for row in judged}
    return {row: control for row, control in pairs.items() if control is not None}


def _controls(
    table: pl.DataFrame, batches: list[str], well: NDArray[np.int64], limits: Limits
) -> tuple[list[dict[str, ControlParts]], list[str]]:
    divisions: list[dict[str, ControlParts]] = [{} for _ in range(limits.repeats)]
    by_image: list[str] = []
    groups = _partition(table.filter(pl.col("is_control")), "batch")
    for batch in batches:
        rows = _rows(groups[batch]) if batch in groups else NO_ROWS
        rows = at_most(rows, 3 * limits.max_controls, generator_for(limits.seed, batch, "controls"))
        by_well = True
        for k in range(limits.repeats):
            parts, by_well = divide(rows, well[rows], 3, generator_for(limits.seed, batch, "division", k))
            divisions[k][batch] = ControlParts(*parts)
        if not by_well:
            by_image.append(batch)
    return divisions, by_image


_parts = pl.col("smiles").list
_one_smiles = pl.when(_parts.drop_nulls().list.len() == pl.col("perturbation").list.len()).then(_parts.join("."))


def _facts(index: pl.DataFrame, start: int) -> pl.DataFrame:
    """The columns that the evaluation needs, with row numbers over both folders from `start`."""

    def where_known(column: str, value: pl.Expr, dtype: type[pl.DataType]) -> pl.Expr:
        return value if column in index.columns else pl.lit(None).cast(dtype)

    dose = pl.when(pl.col("dose_um").list.drop_nulls().list.len() > 0).then(pl.col("dose_um").list.sum())
    return index.select(
        pl.int_range(start, start + pl.len()).alias("row"),
        "batch",
        "treatment",
        "is_control",
        pl.concat_str("batch", pl.lit(" | "), "treatment").alias("stratum"),
        pl.col("perturbation").list.sort().list.join(" + ").alias("perturbation_name"),
        where_known("dose_um", dose, pl.Float64).alias("dose_sum"),
        where_known("moa", pl.col("moa"), pl.String).alias("moa"),
        where_known("smiles", _one_smiles, pl.String).alias("smiles"),
        where_known("split", pl.col("split"), pl.String).alias("split"),
        pl.struct("plate", "well").rank("dense").cast(pl.Int64).alias("well_number"),
    )


def _rows(table: pl.DataFrame) -> Rows:
    return table["row"].to_numpy().astype(np.int64)


def _partition(table: pl.DataFrame, column: str) -> dict[str, pl.DataFrame]:
    return {str(key[0]): group for key, group in table.partition_by(column, as_dict=True).items()}


def _by_stratum(table: pl.DataFrame) -> dict[str, Rows]:
    return {name: _rows(group) for name, group in _partition(table, "stratum").items()}
