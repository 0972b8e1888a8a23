"""A library of compounds → one table of the molecules to score, each once, and a list of what was left out and why.

library.parquet   compound (its number), name, smiles (canonical, of the parent), given (as in the library), is_salt,
                  truth (where the library tells what is active: to judge a screen by, never to score with)
rejected.csv      row, name, given, reason: no molecule, or a repetition of an earlier row

The library is read in chunks, and what has been seen is kept on disk: memory does not grow with the library.
"""

import csv
import gzip
import hashlib
import math
import shutil
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize

from virtassay.files import fetch_url, is_remote

CHUNK = 10_000
ENDINGS = (".smi", ".csv", ".tsv", ".sdf", ".parquet")  # the first three and sdf also as .gz
SMILES_COLUMNS = ("smiles", "SMILES", "Smiles", "canonical_smiles", "CANONICAL_SMILES")
NAME_COLUMNS = ("name", "Name", "compound", "id", "ID", "molecule_chembl_id", "broad_sample", "pert_iname")
SCHEMA: Any = pa.schema(
    {"compound": pa.int64(), "name": pa.string(), "smiles": pa.string(), "given": pa.string(), "is_salt": pa.bool_(),
     "truth": pa.float64()}
)  # fmt: skip


class InvalidLibrary(ValueError):
    """A library that cannot be read; the message says what was given, and what is expected."""


class LibraryRow(NamedTuple):
    """A row of a library as it was read; smiles None: it is no molecule that RDKit can read."""

    row: int
    name: str
    smiles: str | None
    truth: float | None = None


@dataclass(frozen=True)
class LibraryColumns:
    """Which columns of a library (of an sdf, properties) hold SMILES, names and what is known of each compound.

    smiles, name: by default the first of the usual ones that there is. truth: 0 (inactive), 1 (active) or another
    number, larger the better; empty where unknown; a smi has none.
    """

    smiles: str | None = None
    name: str | None = None
    truth: str | None = None


COLUMNS = LibraryColumns()


@dataclass(frozen=True)
class Library:
    """A library ready to score: how many molecules its table holds, rows that were left out, and what it is."""

    table: Path
    compounds: int
    rejected: int
    sha256: str  # of the names and molecules, in order


def parent(smiles: str) -> tuple[str, bool] | None:
    """The canonical SMILES of a molecule's largest organic fragment, uncharged, and whether it had others beside it.

    A salt and its free base are one compound, tautomers and stereoisomers are two. "" for what leaves a single atom
    (table salt): there is no structure to tell from. None: the text is no molecule.
    """
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles.split(" |")[0].strip())
        if molecule is None or molecule.GetNumAtoms() == 0:
            return None
        several = len(Chem.GetMolFrags(molecule)) > 1
        if several:
            molecule = rdMolStandardize.LargestFragmentChooser(True).choose(molecule)
        if molecule.GetNumHeavyAtoms() < 2:
            return "", several
        return Chem.MolToSmiles(rdMolStandardize.Uncharger().uncharge(molecule)), several


def prepare_library(path: str | Path, out: str | Path, columns: LibraryColumns = COLUMNS) -> Library:
    """Write library.parquet and rejected.csv into `out`: every molecule once, in the library's order.

    path: smi (SMILES, blank, name), csv, tsv, sdf, each also as .gz, or parquet; or the URL of one. Raises
    FileNotFoundError, OSError for a URL that cannot be read, and InvalidLibrary for another ending, a table without
    SMILES, a truth that is no number or always the same, a damaged file, and where no row is a molecule.
    """
    out = Path(out)
    if not is_remote(path) and not Path(path).is_file():
        raise FileNotFoundError(f"there is no library {path}: correct library=….")
    out.mkdir(parents=True, exist_ok=True)
    for leftover in out.glob(".library-*"):  # by a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with TemporaryDirectory(prefix=".library-", dir=out) as place:
        local = fetch_url(str(path), Path(place) / "given") if is_remote(path) else Path(path)
        try:
            rows = _rows(local, columns)
            library = _write(rows, Path(place), out / "library.parquet", str(path), columns.truth)
        except (EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
            raise InvalidLibrary(f"{path} is damaged or no text ({error}): fetch or write it again.") from error
        except sqlite3.OperationalError as error:
            raise OSError(f"reading {path} into {out} failed: {error}. Free some space, and begin again.") from error
        for file in ("library.parquet", "rejected.csv"):
            (Path(place) / file).replace(out / file)
    return library


def molecules(path: str | Path) -> list[tuple[str, str]]:
    """(name, SMILES) of all molecules of a small library, each once. Raises as `prepare_library` does."""
    with TemporaryDirectory(prefix="virtassay-") as place:
        table = pl.read_parquet(prepare_library(path, place).table, columns=["name", "smiles"])
    return list(table.iter_rows())


def _write(entries: Iterator[LibraryRow], place: Path, table_path: Path, path: str, truth: str | None) -> Library:
    digest, kept, n_rejected, first_rejected = hashlib.sha256(), 0, 0, ""
    truths: set[float] = set()  # two are enough to know that truth sets compounds apart
    with (
        closing(sqlite3.connect(place / "seen.sqlite")) as seen,
        pq.ParquetWriter(place / "library.parquet", SCHEMA) as table,
        (place / "rejected.csv").open("w", encoding="utf-8", newline="") as file,
    ):
        seen.execute("PRAGMA journal_mode = OFF")
        seen.execute("CREATE TABLE seen (smiles TEXT PRIMARY KEY, row INTEGER) WITHOUT ROWID")
        rejected = csv.writer(file)
        rejected.writerow(("row", "name", "given", "reason"))
        while chunk := list(islice(entries, CHUNK)):
            rows: list[tuple[Any, ...]] = []  # as SCHEMA has them
            for entry in chunk:
                molecule = None if entry.smiles is None else parent(entry.smiles)
                reason = "no molecule that RDKit can read" if molecule is None else ""
                if molecule is not None and not molecule[0]:
                    reason = "a single atom or ion, which has no structure to tell from"
                elif molecule is not None:
                    insert = seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (molecule[0], entry.row))
                    if not insert.rowcount:
                        (first,) = seen.execute("SELECT row FROM seen WHERE smiles = ?", (molecule[0],)).fetchone()
                        reason = f"the same molecule as row {first}"
                if molecule is None or reason:
                    n_rejected += 1
                    first_rejected = first_rejected or f"row {entry.row}: {entry.smiles!r}"
                    rejected.writerow((entry.row, entry.name, entry.smiles, reason))
                else:
                    rows.append((kept, entry.name, molecule[0], entry.smiles or "", molecule[1], entry.truth))
                    digest.update(f"{entry.name}\t{molecule[0]}\n".encode())
                    kept += 1
                    if entry.truth is not None and len(truths) < 2:
                        truths.add(entry.truth)
            table.write_table(pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], SCHEMA))
    if not kept:
        raise InvalidLibrary(
            f"{path}: none of {n_rejected} rows is a molecule ({first_rejected or 'the file is empty'})."
        )
    if truth is not None and len(truths) < 2:
        raise InvalidLibrary(f"{path}: {truth} must tell compounds apart; its values are {sorted(truths)}.")
    return Library(table_path, kept, n_rejected, digest.hexdigest())


def _rows(path: Path, columns: LibraryColumns) -> Iterator[LibraryRow]:
    ending = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if ending == ".smi":
        yield from _rows_of_smi(path, columns)
    elif ending in (".csv", ".tsv"):
        with _open(path) as file:
            reader = csv.DictReader(file, delimiter="\t" if ending == ".tsv" else ",")
            yield from _rows_of_table(path, list(reader.fieldnames or ()), reader, columns)
    elif ending == ".parquet" and path.suffix != ".gz":
        parquet = pq.ParquetFile(path)
        chosen = [name for name in _chosen(path, parquet.schema_arrow.names, columns) if name]
        rows = (row for batch in parquet.iter_batches(CHUNK, columns=chosen) for row in batch.to_pylist())
        yield from _rows_of_table(path, chosen, rows, columns)
    elif ending == ".sdf":
        yield from _rows_of_sdf(path, columns)
    else:
        raise InvalidLibrary(f"the library {path} is of an unknown kind; {', '.join(ENDINGS)} (.gz) can be read.")


def _rows_of_smi(path: Path, columns: LibraryColumns) -> Iterator[LibraryRow]:
    if columns.truth is not None:
        raise InvalidLibrary(f"{path} has no column {columns.truth!r}: a smi holds SMILES and names only; give a csv.")
    with _open(path) as file:
        for row, line in enumerate(file, start=1):
            smiles, _, rest = line.strip().partition(" " if " " in line.strip() else "\t")
            if smiles and not (row == 1 and smiles.lower() == "smiles"):
                yield LibraryRow(row, rest.strip() or f"row {row}", smiles)


def _rows_of_sdf(path: Path, columns: LibraryColumns) -> Iterator[LibraryRow]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file, rdBase.BlockLogs():
        for row, molecule in enumerate(Chem.ForwardSDMolSupplier(file), start=1):
            if molecule is None:
                yield LibraryRow(row, f"row {row}", None)
                continue
            named = columns.name and molecule.HasProp(columns.name)
            name = molecule.GetProp(columns.name if named else "_Name").strip() or f"row {row}"
            has_truth = columns.truth and molecule.HasProp(columns.truth)
            truth = _number(path, row, columns.truth, molecule.GetProp(columns.truth) if has_truth else None)
            yield LibraryRow(row, name, Chem.MolToSmiles(molecule), truth)


def _rows_of_table(
    path: Path, header: list[str], rows: Iterable[dict[str, Any]], columns: LibraryColumns
) -> Iterator[LibraryRow]:
    smiles_column, name_column, truth_column = _chosen(path, header, columns)
    for row, fields in enumerate(rows, start=1):
        name = fields.get(name_column) if name_column else None
        truth = _number(path, row, truth_column, fields[truth_column]) if truth_column else None
        yield LibraryRow(row, f"row {row}" if name in (None, "") else str(name), fields[smiles_column] or None, truth)


def _number(path: Path, row: int, column: str | None, text: Any) -> float | None:
    if text in (None, ""):
        return None
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = math.inf
    if math.isinf(number):
        raise InvalidLibrary(
            f"{path}, row {row}: {column} is {text!r}; truth is 0, 1 or another number, or empty where unknown."
        )
    return None if math.isnan(number) else number


def _chosen(path: Path, header: list[str], columns: LibraryColumns) -> tuple[str, str, str]:
    """The columns of SMILES, names and truth in a table's header; "" for what it does not have."""
    for name in (columns.smiles, columns.name, columns.truth):
        if name is not None and name not in header:
            raise InvalidLibrary(f"{path} has no column {name!r}; it has {header}.")
    smiles = columns.smiles or next((name for name in SMILES_COLUMNS if name in header), "")
    if not smiles:
        usual = ", ".join(SMILES_COLUMNS)
        raise InvalidLibrary(f"{path} has no column of SMILES ({usual}); it has {header}: say smiles=….")
    return smiles, columns.name or next((name for name in NAME_COLUMNS if name in header), ""), columns.truth or ""


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def rows_of(library: Library, numbers: NDArray[np.int64], columns: Sequence[str] = tuple(SCHEMA.names)) -> pl.DataFrame:
    """The rows of these compounds (sorted numbers) of the table; only groups of rows that hold some are read."""
    with pq.ParquetFile(library.table) as file:
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        first = np.concatenate([[0], np.cumsum(groups)])
        of_group = np.searchsorted(first, numbers, side="right") - 1
        parts = [
            file.read_row_group(int(group), columns=list(columns)).take(numbers[of_group == group] - first[group])
            for group in np.unique(of_group)
        ]
    return pl.DataFrame(pl.from_arrow(pa.concat_tables(parts)))
