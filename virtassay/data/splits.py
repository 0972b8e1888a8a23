"""Splits: which images a model learns from (train), is watched on (val) and is judged on (test).

Each function takes an index in normal form and returns it with the column `split`. Whole wells, perturbations or
batches go to one side: images of one well are near copies of each other, and would leak.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from virtassay.schema import InvalidIndex, treatment

WELL = ("plate", "well")


def split_by_well(index: pl.DataFrame, *, seed: int = 0, val: float = 0.1, test: float = 0.25) -> pl.DataFrame:
    """Hold out whole wells at random inside each stratum (batch, treatment): at least one well for test where there
    are two, one for val where there are three.
    """
    _check_fractions(val, test)
    random = np.random.default_rng(seed)
    wells = index.with_columns(treatment(index)).unique(list(WELL), maintain_order=True)
    wells = wells.select(*WELL, "batch", "treatment").sort("batch", "treatment", *WELL)
    parts: list[pl.DataFrame] = []
    for _, stratum in wells.group_by("batch", "treatment", maintain_order=True):
        n = stratum.height
        n_test = min(max(1, round(test * n)), n - 1) if test and n > 1 else 0
        n_val = min(max(1, round(val * n)), n - n_test - 1) if val and n - n_test > 1 else 0
        names = np.array(["test"] * n_test + ["val"] * n_val + ["train"] * (n - n_test - n_val))
        parts.append(stratum.select(*WELL).with_columns(split=pl.Series(random.permutation(names))))
    return _join(index, pl.concat(parts), list(WELL))


def split_unseen_perturbation(
    index: pl.DataFrame, *, test: Sequence[str], val: Sequence[str] = (), seed: int = 0, controls: float = 0.25
) -> pl.DataFrame:
    """Hold out every well that holds one of the named perturbations; control wells are shared out at random.

    `controls` is the fraction of control wells for test, half of it more for val. Raises InvalidIndex on unknown names.
    """
    # a control cannot be held out: its wells are shared out below
    names = set(index.filter(~pl.col("is_control"))["perturbation"].explode(empty_as_null=False))
    _check_names("treated perturbation", {*test, *val}, names)
    if set(test) & set(val):
        raise InvalidIndex(f"perturbation {sorted(set(test) & set(val))} cannot be held out for both test and val.")
    table = split_by_well(index, seed=seed, val=controls / 2, test=controls)

    def holds(chosen: Sequence[str]) -> pl.Expr:
        return pl.col("perturbation").list.eval(pl.element().is_in(list(chosen))).list.any()

    treated = pl.when(holds(test)).then(pl.lit("test")).when(holds(val)).then(pl.lit("val"))
    if val:  # every other treated well is seen in training
        return table.with_columns(
            split=pl.when("is_control").then("split").otherwise(treated.otherwise(pl.lit("train")))
        )
    # no perturbations named for val: wells of the seen ones watch the training
    watched = pl.when(pl.col("split") == "val").then(pl.lit("val")).otherwise(pl.lit("train"))
    return table.with_columns(split=pl.when("is_control").then("split").otherwise(treated.otherwise(watched)))


def split_unseen_batch(
    index: pl.DataFrame, *, test: Sequence[str], val: Sequence[str] = (), seed: int = 0
) -> pl.DataFrame:
    """Hold out whole batches, by name; without `val` batches, a tenth of the training wells watches the training."""
    return split_by_values(index, test={"batch": test}, val={"batch": val} if val else None, seed=seed)


def split_unseen(
    index: pl.DataFrame,
    *,
    perturbations: Sequence[str] = (),
    batches: Sequence[str] = (),
    seed: int = 0,
    val: float = 0.1,
    test: float = 0.25,
) -> pl.DataFrame:
    """Hold out for test whole perturbations, whole batches, and wells of the rest as `split_by_well` does.

    `held_out` says why a test well is one: "batch", "perturbation" or "well" (its treatment and batch are in training);
    the controls of a batch that is in training count as "well". Raises InvalidIndex on unknown names.
    """
    treated = index.filter(~pl.col("is_control"))
    if perturbations:
        _check_names(
            "treated perturbation", set(perturbations), set(treated["perturbation"].explode(empty_as_null=False))
        )
    if batches:
        _check_names("batch", set(batches), set(index["batch"]))
    new = pl.col("perturbation").list.eval(pl.element().is_in(list(perturbations))).list.any() & ~pl.col("is_control")
    why = (
        pl.when(pl.col("batch").is_in(list(batches))).then(pl.lit("batch"))
        .when(new).then(pl.lit("perturbation"))
        .when(pl.col("split") == "test").then(pl.lit("well"))
    )  # fmt: skip
    table = split_by_well(index, seed=seed, val=val, test=test).with_columns(held_out=why)
    return table.with_columns(split=pl.when(pl.col("held_out").is_null()).then("split").otherwise(pl.lit("test")))


def split_by_values(
    index: pl.DataFrame,
    *,
    test: Mapping[str, Sequence[str | int]],
    val: Mapping[str, Sequence[str | int]] | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Hold out the rows that have the named values: test={plate: [P3]}, val={site: ["4"]}, test={cell_type: [U2OS]} …

    Where several columns are named, a row must match them all. Without `val`, a tenth of the wells that are left, at
    least one of each stratum that has two, watches the training. Raises InvalidIndex on unknown columns or values.
    """
    tested = index.select(_matches(index, test)).to_series()
    if val:
        watched = index.select(_matches(index, val)).to_series()
    elif tested.all():
        raise InvalidIndex(f"test={dict(test)} holds out every image, which leaves none for training.")
    else:
        rest = split_by_well(index.filter(~tested), seed=seed, val=0.1, test=0.0)
        watched = index["image_id"].is_in(rest.filter(pl.col("split") == "val")["image_id"].implode())
    names = pl.when(tested).then(pl.lit("test")).when(watched).then(pl.lit("val")).otherwise(pl.lit("train"))
    return index.with_columns(split=names)


def _matches(index: pl.DataFrame, values: Mapping[str, Sequence[str | int]]) -> pl.Expr:
    if not values:
        raise InvalidIndex("name what to hold out: {column: [values]}.")
    for column, wanted in values.items():
        if column not in index.columns:
            raise InvalidIndex(f"the index has no column {column!r} to split by; it has {index.columns}.")
        _check_names(column, set(map(str, wanted)), set(index[column].cast(pl.String).drop_nulls()))
    return pl.all_horizontal(
        pl.col(column).cast(pl.String).is_in([str(value) for value in wanted]) for column, wanted in values.items()
    ).fill_null(False)


def _join(index: pl.DataFrame, wells: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    table = index.drop("split") if "split" in index.columns else index
    return table.join(wells, on=on, how="left", maintain_order="left")


def _check_fractions(val: float, test: float) -> None:
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise ValueError(f"val={val} and test={test} are fractions of the wells and must leave some for training.")


def _check_names(column: str, wanted: set[str], there: set[str]) -> None:
    missing = sorted(wanted - there)
    if missing or not wanted:
        raise InvalidIndex(
            f"{column} {missing or 'names'} to hold out {'are not in the index' if missing else 'are needed'}; "
            f"there are {sorted(there)[:20]}."
        )
