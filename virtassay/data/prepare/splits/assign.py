"""What goes to training, validation and test: by well, by what is unseen, or by the values of a column."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from virtassay.schema import InvalidIndex, treatment

WELL = ("plate", "well")
Split = Callable[[pl.DataFrame], pl.DataFrame]  # an index without sides → with the column `split`


def split_by_well(index: pl.DataFrame, *, seed: int = 0, val: float = 0.1, test: float = 0.25) -> pl.DataFrame:
    """Hold out whole wells at random inside each stratum (batch, treatment): at least one well for test where there
    are two, one for val where there are three.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise ValueError(f"val={val} and test={test} are fractions of the wells and must leave some for training.")
    random = np.random.default_rng(seed)
    wells = index.unique(list(WELL), maintain_order=True)
    wells = wells.select(*WELL, "batch", treatment(wells)).sort("batch", "treatment", *WELL)
    names: list[np.ndarray] = []
    for n in wells.group_by("batch", "treatment", maintain_order=True).len()["len"]:
        n_test = min(max(1, round(test * n)), n - 1) if test and n > 1 else 0
        n_val = min(max(1, round(val * n)), n - n_test - 1) if val and n - n_test > 1 else 0
        names.append(
            random.permutation(np.array(["test"] * n_test + ["val"] * n_val + ["train"] * (n - n_test - n_val)))
        )
    wells = wells.select(*WELL, split=pl.Series(np.concatenate(names)))
    table = index.drop("split") if "split" in index.columns else index
    return table.join(wells, on=list(WELL), how="left", maintain_order="left")


def split_unseen_perturbation(
    index: pl.DataFrame, *, test: Sequence[str], val: Sequence[str] = (), seed: int = 0, controls: float = 0.25
) -> pl.DataFrame:
    """Hold out every well that holds one of the named perturbations; control wells are shared out at random.

    `controls` is the fraction of control wells for test, half of it more for val. Raises InvalidIndex on unknown names.
    """
    _check_treated(index, [*test, *val])  # a control cannot be held out: its wells are shared out below
    if set(test) & set(val):
        raise InvalidIndex(f"perturbation {sorted(set(test) & set(val))} cannot be held out for both test and val.")
    table = split_by_well(index, seed=seed, val=controls / 2, test=controls)
    # where no perturbations are named for val, wells of the seen ones watch the training
    watched = _holds(val) if val else pl.col("split") == "val"
    side = pl.when("is_control").then("split").when(_holds(test)).then(pl.lit("test"))
    return table.with_columns(split=side.when(watched).then(pl.lit("val")).otherwise(pl.lit("train")))


def split_unseen_batch(
    index: pl.DataFrame, *, test: Sequence[str], val: Sequence[str] = (), seed: int = 0
) -> pl.DataFrame:
    """Hold out whole batches, by name; without `val` batches, a tenth of the training wells watches the training."""
    return split_by_values(index, test={"batch": test}, val={"batch": val} if val else None, seed=seed)


def split_unseen(
    index: pl.DataFrame,
    *,
    perturbations: Sequence[str] | Callable[[pl.DataFrame], Sequence[str]] = (),
    doses_um: Sequence[float] = (),
    highest_doses: int = 0,
    batches: Sequence[str] = (),
    cell_types: Sequence[str] = (),
    seed: int = 0,
    val: float = 0.1,
    test: float = 0.25,
) -> pl.DataFrame:
    """Hold out for test all that is named, in any combination, and wells of the rest as `split_by_well` does.

    perturbations: names, or a function that chooses them from the index (`by_scaffold`, `by_cluster`). doses_um: these
    doses of every compound; highest_doses: so many of the highest doses of each compound that has more. A combination
    is unseen where one of its parts is. Controls are held out with their batch or cell type only.
    `held_out` says what is new about a test well: "perturbation", "dose", "batch", "cell_type", several joined by "+",
    or "well" where all of that is in training. Raises InvalidIndex on unknown names and where none is left to train.
    """
    if callable(perturbations):
        perturbations = perturbations(index)
    if perturbations:
        _check_treated(index, perturbations)
    new = {
        "perturbation": _holds(perturbations) & ~pl.col("is_control"),
        "dose": _new_dose(index, doses_um, highest_doses),
        "batch": _matches(index, {"batch": batches}) if batches else pl.lit(False),
        "cell_type": _matches(index, {"cell_type": cell_types}) if cell_types else pl.lit(False),
    }
    table = split_by_well(index, seed=seed, val=val, test=test)
    well = pl.when(pl.col("split") == "test").then(pl.lit("well"))
    words = [pl.when(is_new).then(pl.lit(name)) for name, is_new in new.items()]
    joined = pl.concat_str(words, separator="+", ignore_nulls=True)
    table = table.with_columns(held_out=pl.when(pl.any_horizontal(*new.values())).then(joined).otherwise(well))
    table = table.with_columns(split=pl.when(pl.col("held_out").is_null()).then("split").otherwise(pl.lit("test")))
    if table.filter((pl.col("split") == "train") & ~pl.col("is_control")).is_empty():
        raise InvalidIndex("what is held out leaves no treated images for training: hold out less.")
    return table


def _new_dose(index: pl.DataFrame, doses_um: Sequence[float], highest: int) -> pl.Expr:
    """Say which wells have one of these doses, or one of the highest doses of its compound."""
    if not doses_um and not highest:
        return pl.lit(False)
    if "dose_um" not in index.columns or not index["dose_um"].list.drop_nulls().list.len().sum():
        raise InvalidIndex("doses are to be held out, and the index gives none: map dose_um in columns.")
    parts = index.with_row_index("_row").filter(~pl.col("is_control")).select("_row", "perturbation", "dose_um")
    parts = parts.explode("perturbation", "dose_um").drop_nulls()
    parts = parts.with_columns(pl.col("dose_um").round_sig_figs(6))  # the same dose, however it was computed
    named = pl.Series(list(doses_um), dtype=pl.Float64).round_sig_figs(6)
    absent = sorted(set(named) - set(parts["dose_um"]))
    if absent:
        present = parts["dose_um"].unique().sort().head(20).to_list()
        raise InvalidIndex(f"dose(s) {absent} µM to hold out are not in the index; there are {present}.")
    each = parts.select("perturbation", "dose_um").unique()
    rank = pl.col("dose_um").rank("dense", descending=True).over("perturbation")
    top = each.filter((rank <= highest) & (pl.len().over("perturbation") > highest))
    if highest and top.is_empty():
        raise InvalidIndex(f"highest_doses={highest}: no compound has more doses than that, so none can be spared.")
    chosen = parts.join(top, on=["perturbation", "dose_um"], how="semi")["_row"]
    rows = chosen.append(parts.filter(pl.col("dose_um").is_in(named.implode()))["_row"])
    return pl.int_range(pl.len()).is_in(rows.implode())


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
    for column, names in values.items():
        if column not in index.columns:
            raise InvalidIndex(f"the index has no column {column!r} to split by; it has {index.columns}.")
        _check_names(column, set(map(str, names)), set(index[column].cast(pl.String).drop_nulls()))
    return pl.all_horizontal(
        pl.col(column).cast(pl.String).is_in([str(name) for name in names]) for column, names in values.items()
    ).fill_null(False)


def _holds(names: Sequence[str]) -> pl.Expr:
    return pl.col("perturbation").list.eval(pl.element().is_in(list(names))).list.any()


def _check_treated(index: pl.DataFrame, names: Sequence[str]) -> None:
    treated = index.filter(~pl.col("is_control"))["perturbation"].explode(empty_as_null=False)
    _check_names("treated perturbation", set(names), set(treated))


def _check_names(column: str, names: set[str], present: set[str]) -> None:
    missing = sorted(names - present)
    if missing or not names:
        raise InvalidIndex(
            f"{column} {missing or 'names'} to hold out {'are not in the index' if missing else 'are needed'}; "
            f"there are {sorted(present)[:20]}."
        )
