"""What a row of the index, a condition and a minibatch are: the words that every other file uses.

An **index** is a table with one row per image. A **treatment** is what was done to a well: one perturbation or a
combination, each with its dose. A **group** is (batch, treatment): controls are paired and couplings permute only
inside it. A **stratum** of the evaluation is a group.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import polars as pl
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

REQUIRED = {
    "image_id": pl.String,
    "plate": pl.String,
    "well": pl.String,
    "batch": pl.String,
    "perturbation": pl.List(pl.String),
    "is_control": pl.Boolean,
}
OPTIONAL = {
    "site": pl.String,
    "cell_type": pl.String,
    "perturbation_type": pl.String,
    "control_type": pl.String,  # of a control well: negative, positive, untreated, non-targeting …
    "smiles": pl.List(pl.String),
    "inchikey": pl.List(pl.String),  # the same for every way to write one molecule
    "gene": pl.List(pl.String),
    "dose_um": pl.List(pl.Float64),
    "moa": pl.String,
    "split": pl.String,
    "x_px": pl.Float64,
    "y_px": pl.Float64,
    "source_file": pl.String,
}
COLUMNS = REQUIRED | OPTIONAL
COMBINED = ("perturbation", "smiles", "inchikey", "gene", "dose_um")  # one entry for each perturbation in the well
SPLITS = ("train", "val", "test", "generated")
PERTURBATION_TYPES = ("compound", "crispr", "sirna", "orf", "antibody", "none")
FIELDS = ("perturbation", "dose", "batch", "cell_type")  # of a condition; each has a learned null
NULL = -1  # the number that stands for "not given" in every integer field of a Condition


class InvalidIndex(ValueError):
    """An index that cannot be used; the message names the column, the first rows and the fix."""


class BrokenDataset(ValueError):
    """A dataset folder that cannot be used; the message names the file and the fix."""


def some(texts: Sequence[object], most: int = 5) -> str:
    """Write the first few of many things: "a, b, c, d, e, …"."""
    return ", ".join(map(str, texts[:most])) + (", …" if len(texts) > most else "")


def without_control(table: pl.DataFrame, key: str) -> list[str]:
    """Return which batches (or plates: the values of `key`), sorted, have no control image."""
    return table.group_by(key).agg(pl.col("is_control").any()).filter(~pl.col("is_control"))[key].sort().to_list()


def offenders(table: pl.DataFrame, mask: pl.Series | pl.Expr, column: str) -> str:
    """Say which rows are wrong: the first five row numbers with their values, and how many there are."""
    bad = table.with_row_index("_row").filter(mask).select("_row", column)
    shown = ", ".join(f"row {row} ({value!r})" for row, value in bad.head(5).iter_rows())
    return f"{shown}{f', … {bad.height} rows in all' if bad.height > 5 else ''}"


def validate(table: pl.DataFrame, source: str = "index") -> pl.DataFrame:
    """Return the index in its normal form: typed columns, and lists in the columns that can hold a combination.

    `source` is how errors call the table (a path). Raises InvalidIndex with column, first rows and the fix.
    """

    def fail(message: str) -> InvalidIndex:
        return InvalidIndex(f"{source}: {message}")

    if table.height == 0:
        raise fail("the table is empty; it needs one row for each image.")
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        raise fail(f"column(s) {missing} are missing. Columns found: {table.columns}. Map yours in the data yaml.")
    for name, dtype in COLUMNS.items():
        if name in table.columns:
            table = table.with_columns(_typed(table, name, dtype, fail))
    for name in REQUIRED:
        null = table[name].is_null()
        if name == "perturbation":
            null |= table[name].list.len() == 0
            null |= _any_of(table[name], lambda entry: entry.is_null() | (entry == ""))
        elif REQUIRED[name] == pl.String:
            null |= table[name] == ""
        if null.any():
            raise fail(f"column {name!r} is empty at {offenders(table, null, name)}; every image needs a value.")
    if table["image_id"].hash().n_unique() < table.height:  # the names themselves take nine times as long
        twice = table["image_id"].is_duplicated()
        if twice.any():
            raise fail(f"column 'image_id' repeats at {offenders(table, twice, 'image_id')}; each image needs its own.")
    size = table["perturbation"].list.len()
    for name in COMBINED[1:]:
        if name in table.columns:
            if table[name].null_count():  # a missing list means "none of them given"
                nothing = pl.lit(None, COLUMNS[name].inner).repeat_by(pl.col("perturbation").list.len())
                table = table.with_columns(pl.col(name).fill_null(nothing))
            unequal = table[name].list.len() != size
            if unequal.any():
                raise fail(
                    f"column {name!r} has another number of entries than 'perturbation' at "
                    f"{offenders(table, unequal, name)}; give one entry (or null) for each perturbation of the well."
                )
    if "dose_um" in table.columns:
        bad = _any_of(table["dose_um"], lambda dose: (dose < 0) | dose.is_infinite() | dose.is_nan())
        if bad.any():
            raise fail(
                f"column 'dose_um' is negative or not finite at {offenders(table, bad, 'dose_um')}; give µM ≥ 0."
            )
    for name, allowed in (("split", SPLITS), ("perturbation_type", PERTURBATION_TYPES)):
        if name in table.columns:
            bad = table[name].is_not_null() & ~table[name].is_in(list(allowed))
            if bad.any():
                raise fail(f"column {name!r} is unknown at {offenders(table, bad, name)}; valid: {list(allowed)}.")
    return table


def _typed(table: pl.DataFrame, name: str, dtype: pl.DataType, fail) -> pl.Series:
    column = table[name]
    listed = isinstance(dtype, pl.List)
    inner = dtype.inner if listed else dtype
    stored = column.dtype.inner if isinstance(column.dtype, pl.List) else column.dtype
    if isinstance(column.dtype, pl.List) and not listed:
        raise fail(f"column {name!r} holds lists; only {list(COMBINED)} may (combinations of perturbations).")
    if stored == pl.Null:
        pass
    elif inner == pl.Float64 and not stored.is_numeric():
        raise fail(
            f"column {name!r} holds {stored} where numbers are expected: "
            f"{offenders(table, _no_numbers(column), name)}. Write bare numbers (0.3, not '0.3 uM')."
        )
    elif inner == pl.Boolean and stored != pl.Boolean:
        bad = ~column.is_in([0, 1]) if stored.is_integer() else column.is_not_null()
        if bad.any():
            raise fail(f"column {name!r} holds {stored}: {offenders(table, bad, name)}; write true/false.")
    if listed and not isinstance(column.dtype, pl.List):
        present = column.cast(inner, strict=True)
        return table.select(pl.concat_list(present.alias(name)))[name].cast(dtype)
    return column.cast(dtype, strict=True)


def _any_of(column: pl.Series, wrong: Callable[[Any], Any]) -> pl.Series:
    """Say of each list whether some of its entries is `wrong`; each row is looked at only if any is."""
    if not wrong(column.explode()).any():
        return pl.repeat(False, len(column), eager=True)
    return column.list.eval(wrong(pl.element())).list.any().fill_null(False)


def _no_numbers(column: pl.Series) -> pl.Series:
    """Say which rows hold text that is no number; all rows where that is not known or each would be one."""
    filled = column.is_not_null()
    if column.dtype == pl.String:
        bad = filled & column.cast(pl.Float64, strict=False).is_null()
    elif column.dtype == pl.List(pl.String):
        element = pl.element()
        bad = column.list.eval(element.is_not_null() & element.cast(pl.Float64, strict=False).is_null()).list.any()
    else:
        return filled
    return bad if bad.any() else filled


def lower(table: pl.DataFrame) -> pl.DataFrame:
    """Undo the lists where no well holds a combination: how an index is written for people and other tools."""
    if table["perturbation"].list.len().max() != 1:
        return table
    return table.with_columns(pl.col(name).list.first() for name in COMBINED if name in table.columns)


def treatment(table: pl.DataFrame) -> pl.Series:
    """Name what was done to each well: "taxol 0.3 µM", "taxol 0.3 µM + nocodazole 1 µM", "DMSO" (no dose).

    Components are sorted by name, so that the order in which a combination was written does not matter.
    """
    done = table.select(name for name in ("perturbation", "dose_um") if name in table.columns)
    run = lower(done).to_struct().rle_id()  # images of a well mostly stand together: names are made once a run of rows
    runs = done.filter(run.diff().fill_null(1) > 0)
    table = runs.unique()
    doses = table["dose_um"] if "dose_um" in table.columns else [None] * table.height
    named = table.with_columns(treatment=pl.Series(map(treatment_name, table["perturbation"], doses), dtype=pl.String))
    names = runs.join(named, on=runs.columns, how="left", nulls_equal=True, maintain_order="left")["treatment"]
    return names.gather(run)


def treatment_name(perturbations, doses) -> str:
    """Name one treatment from its perturbations and their doses in µM (None or 0: no dose is written)."""
    doses = [None] * len(perturbations) if doses is None else doses
    return " + ".join(sorted(f"{p} {d:g} µM" if d else p for p, d in zip(perturbations, doses, strict=True)))


def require_controls(table: pl.DataFrame, source: str = "index") -> None:
    """Raise InvalidIndex naming each batch that holds treated images but no control image."""
    lonely = without_control(table, "batch")
    if lonely:
        raise InvalidIndex(
            f"{source}: no control images in batch(es) {lonely[:5]}"
            f"{f' and {len(lonely) - 5} more' if len(lonely) > 5 else ''}. Effects are measured against the controls "
            "of the same batch: mark them in 'is_control', or leave those batches out."
        )


@dataclass(frozen=True)
class _Tensors:
    """What Condition and Minibatch share: they bundle tensors, and None, with one leading dimension n."""

    def _map(self, function) -> Self:
        changed = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                changed[field.name] = value._map(function) if isinstance(value, _Tensors) else function(value)
        return replace(self, **changed)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Move every tensor to `device`."""
        return self._map(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Copy every tensor to page-locked memory, from which a GPU fetches it while the processor goes on."""
        return self._map(Tensor.pin_memory)

    def __getitem__(self, rows) -> Self:
        """Take the images numbered `rows` (a slice or an index tensor)."""
        return self._map(lambda value: value[rows])


@dataclass(frozen=True)
class Condition(_Tensors):
    """What an image was, or shall be, made under, as numbers; k is the largest combination in the minibatch.

    perturbation: row of the vocabulary, or NULL. structure: fingerprint or embedding of the molecule, all zero where
    there is none (a control, a gene); (n, k, 0) when the encoder needs none. log_dose: log10(dose in µM) in the
    vocabulary's normalisation, NaN where no dose was given. batch, cell_type: rows of the vocabulary, or NULL.
    stain: what each channel shows, as rows of the vocabulary's channels; None: all of them, in their order.
    control_set: m control images of the same batch, scaled as the network sees images; None: not known, or not used.
    """

    perturbation: Int[Tensor, "n k"]
    structure: Float[Tensor, "n k d"]
    log_dose: Float[Tensor, "n k"]
    batch: Int[Tensor, " n"]
    cell_type: Int[Tensor, " n"]
    stain: Int[Tensor, "n c"] | None = None
    control_set: Float[Tensor, "n m c h w"] | None = None

    def __len__(self) -> int:
        return len(self.batch)

    def without(self, field: str, chosen: Bool[Tensor, " n"] | None = None) -> "Condition":
        """Null one of FIELDS, in the samples `chosen` or in all; a perturbation takes its dose with it.

        Raises ValueError for another name.
        """
        if field not in FIELDS:
            raise ValueError(f"a condition has the fields {list(FIELDS)}, not {field!r}.")
        if chosen is None:
            chosen = torch.ones_like(self.batch, dtype=torch.bool)
        nulls = {
            "perturbation": {"perturbation": NULL, "structure": 0.0, "log_dose": torch.nan},
            "dose": {"log_dose": torch.nan},
            "batch": {"batch": NULL, "control_set": torch.nan},
            "cell_type": {"cell_type": NULL},
        }[field]
        values = {name: getattr(self, name) for name in nulls if getattr(self, name) is not None}
        masks = {name: chosen.reshape(-1, *[1] * (value.ndim - 1)) for name, value in values.items()}
        return replace(self, **{name: value.masked_fill(masks[name], nulls[name]) for name, value in values.items()})

    def distance(self) -> Float[Tensor, "n n"]:
        """Return how far apart two treatments are: squared distance of structures and doses, plus 1 for other names.

        Structures are of unit length and summed over a combination, doses in the vocabulary's normalisation.
        """
        unit = self.structure / self.structure.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        numbers = torch.cat([unit.sum(1), self.log_dose.nan_to_num(0.0).sum(1, keepdim=True)], dim=1)
        names = self.perturbation.sort(dim=1).values
        other = (names[:, None] != names[None]).any(-1)
        return torch.cdist(numbers, numbers).square() + other


@dataclass(frozen=True)
class Minibatch(_Tensors):
    """One step's images: `target` and `control` in stored integers (scaled on the device), conditions and groups."""

    target: Tensor  # (n, c, h, w) uint8 or uint16, or float32 vectors
    control: Tensor | None  # a random control of the same batch, or None where the source needs none
    control_set: Tensor | None  # (n, m, c, h, w), m more of them, where an encoder reads them
    condition: Condition
    group: Int[Tensor, " n"]
    row: Int[Tensor, " n"]  # row of the index, to name images in errors
