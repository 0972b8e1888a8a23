"""Anybody's table of what was done to each image → the index in normal form."""

import hashlib
import logging
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from virtassay import schema
from virtassay.data.molecules.descriptors import canonical_column, inchikey_column
from virtassay.data.prepare.sources import fill
from virtassay.schema import COLUMNS, COMBINED, REQUIRED, InvalidIndex, offenders, require_controls, treatment, validate

log = logging.getLogger(__name__)
EMPTY = ("", "NA", "N/A", "nan", "NaN", "None", "null")  # how tables write "not given"
RESERVED = ("shard", "offset", "treatment")  # what the store adds to an index


@dataclass(frozen=True)
class Annotation:
    """How a table says what was done to each image.

    columns: {column of the index: column of the table, or a pattern of its columns such as "{experiment}_{plate}"};
    unmapped columns are kept under their own names. constants: {column of the index: one value for all}. keep: {column
    of the table: values} of the rows to keep. controls: names of perturbations that are controls (instead of a column
    is_control); their dose is left out. separator: what stands between the perturbations (SMILES, genes, doses) of a
    combination.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    keep: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    controls: Sequence[str] | None = None
    separator: str | None = None


UNMAPPED = Annotation()


def load_table(table: str | Path | pl.DataFrame, annotation: Annotation) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return a table and its provenance: `source`, and `sha256` where it is a file. Raises as read_table."""
    if isinstance(table, pl.DataFrame):
        return table, {"source": "a table in memory"}
    path = Path(table)
    rows = read_table(path, annotation)
    return rows, {"source": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def read_table(path: Path, annotation: Annotation = UNMAPPED) -> pl.DataFrame:
    """Read a csv, tsv or parquet table; raises FileNotFoundError or InvalidIndex.

    Columns that hold names (plate, well, site, batch …) are read as text, so that plate 007 stays 007.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no table {path}: correct data.prepare.table, or paths.data where it lies.")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        separator = "\t" if path.suffix in (".tsv", ".txt") else ","
        header = pl.read_csv(path, separator=separator, n_rows=0).columns
        columns = annotation.columns
        text = {columns.get(name, name) for name, dtype in COLUMNS.items() if dtype in (pl.String, pl.List(pl.String))}
        text |= named_in(columns.values())
        text -= {columns.get(name, name) for name in ("dose_um", "x_px", "y_px", "is_control")}
        text -= set(annotation.constants)
        return pl.read_csv(
            path,
            separator=separator,
            infer_schema_length=None,
            null_values=list(EMPTY),
            schema_overrides={name: pl.String for name in header if name in text},
        )
    except pl.exceptions.PolarsError as error:
        raise InvalidIndex(f"{path} cannot be read as a table: {error}.") from error


def named_in(patterns: Iterable[str]) -> set[str]:
    """Return the columns that patterns such as "{experiment}_{plate}" name."""
    return {part for pattern in patterns for _, part, _, _ in string.Formatter().parse(pattern) if part}


def make_index(raw: pl.DataFrame, source: str, annotation: Annotation) -> pl.DataFrame:
    """Turn a table into an index in normal form, plus `_number`, the number of each row in the table.

    source: its name in errors. Raises InvalidIndex or InvalidSmiles naming rows.
    """
    columns, constants = annotation.columns, annotation.constants
    if raw.height == 0:
        raise InvalidIndex(f"{source}: the table is empty; it needs one row for each image.")
    wrong = sorted((set(columns) | set(constants)) - set(COLUMNS))
    if wrong:
        raise InvalidIndex(f"{source}: {wrong} are no columns of the index; those are {list(COLUMNS)}.")
    missing = sorted({of for of in columns.values() if "{" not in of} - set(raw.columns))
    if missing:
        raise InvalidIndex(f"{source}: column(s) {missing} are not in the table, which has {raw.columns}.")
    table = raw.with_row_index("_number")
    if annotation.keep:
        table = kept(table, annotation.keep, source)
        source = f"{source} (rows counted after keep)"
    mapped = {name: _column(table, of) for name, of in columns.items()}
    table = table.rename({name: f"{name}_raw" for name in RESERVED}, strict=False)
    table = table.with_columns(**mapped).with_columns(**{name: pl.lit(value) for name, value in constants.items()})
    for name in COMBINED:  # names may be stored as numbers or categories in parquet: siRNA 1138
        if name in table.columns and name != "dose_um":
            several = isinstance(table[name].dtype, pl.List)
            table = table.with_columns(pl.col(name).cast(pl.List(pl.String) if several else pl.String))
    table = table.with_columns(pl.col(name).replace(list(EMPTY), None) for name in _texts(table))
    if annotation.separator is not None:
        table = table.with_columns(_parts(table, name, annotation.separator, source) for name in _texts(table))
    if annotation.controls is not None and "perturbation" in table.columns:
        _check_controls(table["perturbation"], annotation.controls, source)
        single, names = table["perturbation"].dtype == pl.String, pl.col("perturbation")
        first, alone = (names, pl.lit(True)) if single else (names.list.first(), names.list.len() == 1)
        table = table.with_columns(is_control=first.is_in([str(name) for name in annotation.controls]) & alone)
    if "image_id" not in table.columns:
        table = table.with_columns(image_id=pl.format("row-{}", "_number"))
    unmapped = [name for name in REQUIRED if name not in table.columns]
    if unmapped:
        raise InvalidIndex(
            f"{source}: nothing is given for {unmapped}; the table has {raw.columns}. Map columns by columns: "
            "{batch: week, …}, give one value for all by constants: {batch: b1, …}, and name the controls by "
            "controls: [DMSO] or map is_control."
        )
    index = validate(table, source)
    if "smiles" in index.columns:
        index = index.with_columns(canonical_column(index["smiles"], source))
        if "inchikey" not in index.columns:
            index = index.with_columns(inchikey_column(index["smiles"]))
        if "salt" not in index.columns:  # salts are kept whole, hydrates and mixtures too, and flagged
            several = pl.col("smiles").list.eval(pl.element().str.contains(".", literal=True))
            index = index.with_columns(salt=several.list.any().fill_null(False))
    if "dose_um" in index.columns:  # a control has no dose: its 0 (or its solvent's %) is not a concentration of it
        nothing = pl.col("dose_um").list.eval(pl.lit(None, pl.Float64))
        index = index.with_columns(dose_um=pl.when("is_control").then(nothing).otherwise("dose_um"))
    _check_spelling(index, source)
    _check_wells(index, source)
    if "split" not in index.columns or (index["split"] != "generated").fill_null(True).any():
        require_controls(index, source)  # generated images are held against the real ones' controls
        _warn_of_bare_plates(index, source)
    return index


def kept(table: pl.DataFrame, keep: Mapping[str, Sequence[Any]], source: str) -> pl.DataFrame:
    """Return the rows that have the named values, {column: values}; raises InvalidIndex on unknown ones."""
    missing = sorted(set(keep) - set(table.columns))
    if missing:
        raise InvalidIndex(f"{source}: keep names column(s) {missing}, not in the table, which has {table.columns}.")
    rest = table
    for name, values in keep.items():
        rest = rest.filter(_among(rest[name], values, source))
    if rest.height == 0:
        raise InvalidIndex(f"{source}: no row is left by keep={dict(keep)}; {table.height} rows were read.")
    return rest


def _column(table: pl.DataFrame, of: str) -> pl.Series:
    if "{" not in of:
        return table[of]
    parts, texts = list(string.Formatter().parse(of)), []
    plain = [name for name, dtype in table.schema.items() if dtype == pl.String or dtype.is_integer()]
    if all(name is None or (name in plain and not spec and not conversion) for _, name, spec, conversion in parts):
        for before, name, _, _ in parts:  # not filled row by row: tables have hundreds of thousands
            texts += [pl.lit(before)] + ([pl.col(name).cast(pl.String).fill_null("None")] if name else [])
        return table.select(pl.concat_str(texts)).to_series()
    return pl.Series([fill(of, row) for row in table.iter_rows(named=True)], dtype=pl.String)


def _among(column: pl.Series, values: Sequence[Any], source: str) -> pl.Series:
    try:
        named = pl.Series(list(values)).cast(column.dtype, strict=True)
    except pl.exceptions.PolarsError as error:
        raise InvalidIndex(
            f"{source}: keep names {list(values)} for column {column.name!r}, which holds {column.dtype}."
        ) from error
    absent = named.filter(~named.is_in(column.unique().implode()))
    if len(absent):
        present = column.unique().sort().head(20).to_list()
        raise InvalidIndex(
            f"{source}: keep names {absent.to_list()}, not in column {column.name!r}; there are {present}."
        )
    return column.is_in(named.implode())


def _check_controls(perturbation: pl.Series, controls: Sequence[str], source: str) -> None:
    several = isinstance(perturbation.dtype, pl.List)
    known = set((perturbation.explode(empty_as_null=False) if several else perturbation).drop_nulls())
    absent = [str(name) for name in controls if str(name) not in known]
    if absent:
        raise InvalidIndex(
            f"{source}: controls names {absent}, which are no perturbations of the table; there are "
            f"{sorted(known)[:20]}. Write a list, spelt as there: controls: [DMSO]."
        )


def _texts(table: pl.DataFrame) -> list[str]:
    return [name for name in COMBINED if name in table.columns and table[name].dtype == pl.String]


def _parts(table: pl.DataFrame, name: str, separator: str, source: str) -> pl.Series:
    parts = table[name].str.split(separator).list.eval(pl.element().str.strip_chars().replace(list(EMPTY), None))
    if name != "dose_um":
        return parts
    doses = parts.list.eval(pl.element().cast(pl.Float64, strict=False))
    wrong = parts.list.eval(pl.element().is_null()).list.sum() < doses.list.eval(pl.element().is_null()).list.sum()
    if wrong.any():
        raise InvalidIndex(
            f"{source}: column 'dose_um' holds text at {offenders(table, wrong, name)}; write bare numbers in µM."
        )
    return doses


def one_pixel_size(index: pl.DataFrame, pixel_size_um: float | None, source: str) -> float | None:
    """Return the raw pixel size in µm, for None that of column pixel_size_um; raises InvalidIndex where it is mixed."""
    if "pixel_size_um" not in index.columns:
        return pixel_size_um
    sizes = index["pixel_size_um"].cast(pl.Float64, strict=False)
    known = sizes.drop_nulls().to_list()
    if pixel_size_um is None and not known:
        return None
    value = float(known[0]) if pixel_size_um is None else pixel_size_um
    odd = (sizes - value).abs() > 1e-3 * value
    if odd.any():
        raise InvalidIndex(
            f"{source}: column 'pixel_size_um' differs from {value:g} at {offenders(index, odd, 'pixel_size_um')}: "
            "cells would be of two sizes. Prepare the images apart, or bring them to one size first."
        )
    return value


def _warn_of_bare_plates(index: pl.DataFrame, source: str) -> None:
    """Controls are those of the batch: a plate without any is usable, and may be a slip."""
    bare = schema.without_control(index, "plate")
    if bare:
        log.warning(
            "%s: no control images on %d plate(s): %s. Their wells are held against their batch's other "
            "controls; leave them out by keep, or map batch to the plate, if plates differ.",
            source, len(bare), schema.some(bare),
        )  # fmt: skip


def _check_spelling(index: pl.DataFrame, source: str) -> None:
    """Plates, and wells of a plate, whose names differ only in case or zeros are one and the same, typed twice."""
    for key, within in (("plate", []), ("well", ["plate"])):
        names = index.select(*within, key).unique().sort(*within, key)
        plain = pl.col(key).str.to_lowercase().str.strip_chars().str.replace_all(r"(^|\D)0+(\d)", "${1}${2}")
        alike = names.group_by(*within, plain.alias("plain"), maintain_order=True).agg(key)
        alike = alike.filter(pl.col(key).list.len() > 1)
        if alike.height:
            rows = alike.head(5).iter_rows()
            shown = "; ".join(" ".join([*row[:-2], " = ".join(map(repr, row[-1]))]) for row in rows)
            raise InvalidIndex(
                f"{source}: {alike.height} {key} name(s) are spelt in several ways, by case or zeros: {shown}. Spell "
                f"each {key} one way, or tell different ones apart by a pattern of columns."
            )


def _check_wells(index: pl.DataFrame, source: str) -> None:
    """A well, (plate, well), has one treatment in one batch; otherwise splits by well would mix what they hold out."""
    named = index.with_columns(treatment(index))
    for name in ("batch", "treatment"):
        mixed = named.group_by("plate", "well", maintain_order=True).agg(pl.col(name).unique().sort())
        mixed = mixed.filter(pl.col(name).list.len() > 1)
        if mixed.height:
            shown = "; ".join(f"{plate} {well}: {values}" for plate, well, values in mixed.head(3).iter_rows())
            raise InvalidIndex(
                f"{source}: {mixed.height} well(s) have more than one {name} ({shown}). Where plate names repeat "
                'between batches, make them unique: columns: {plate: "{batch}_{plate}"}, naming columns of the table.'
            )
