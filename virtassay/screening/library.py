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
TYPES: Any = {
    "compound": pa.int64(),
    "name": pa.string(),
    "smiles": pa.string(),
    "given": pa.string(),
    "is_salt": pa.bool_(),
    "truth": pa.float64(),
}


class InvalidLibrary(ValueError):
    """A library that cannot be read; the message says what was given, and what is expected."""


class Entry(NamedTuple):
    """A row of a library as it stands there; smiles None: it is no molecule that RDKit can read."""

    row: int
    name: str
    smiles: str | None
    truth: float | None = None


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


def prepare_library(
    path: str | Path, out: str | Path, smiles: str | None = None, name: str | None = None, truth: str | None = None
) -> Library:
    """Write library.parquet and rejected.csv into `out`: every molecule once, in the library's order.

    path: smi (SMILES, blank, name), csv, tsv, sdf, each also as .gz, or parquet; or the URL of one. smiles, name:
    columns (of an sdf: name, a property), by default the first of the usual ones that there is. truth: a column (of an
    sdf, a property) of 0 (inactive), 1 (active) or another number, larger the better; a smi has none. Raises
    FileNotFoundError, OSError for a URL that cannot be read, and InvalidLibrary for another ending, a table without
    SMILES, a truth that is no number or always the same, a damaged file, and where no row is a molecule.
    """
    out = Path(out)
    if not is_remote(path) and not Path(path).is_file():
        raise FileNotFoundError(f"there is no library {path}: correct library=….")
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(".library-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=".library-", dir=out) as place:
        local = fetch_url(str(path), Path(place) / "given") if is_remote(path) else Path(path)
        try:
            entries = _entries(local, smiles, name, truth)
            library = _write(entries, Path(place), out / "library.parquet", str(path), truth)
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


def _write(entries: Iterator[Entry], place: Path, table_path: Path, path: str, truth: str | None) -> Library:
    digest, kept, left_out, first = hashlib.sha256(), 0, 0, ""
    told: set[float] = set()  # two are enough to know that truth tells compounds apart
    with (
        closing(sqlite3.connect(place / "seen.sqlite")) as seen,
        pq.ParquetWriter(place / "library.parquet", pa.schema(list(TYPES.items()))) as table,
        (place / "rejected.csv").open("w", encoding="utf-8", newline="") as file,
    ):
        seen.execute("PRAGMA journal_mode = OFF")
        seen.execute("CREATE TABLE seen (smiles TEXT PRIMARY KEY, row INTEGER) WITHOUT ROWID")
        rejected = csv.writer(file)
        rejected.writerow(("row", "name", "given", "reason"))
        while chunk := list(islice(entries, CHUNK)):
            rows: list[tuple[int, str, str, str, bool, float | None]] = []
            for entry in chunk:
                found = None if entry.smiles is None else parent(entry.smiles)
                reason = "no molecule that RDKit can read" if found is None else ""
                if found is not None and not found[0]:
                    reason = "a single atom or ion, which has no structure to tell from"
                elif found is not None:
                    new = seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (found[0], entry.row)).rowcount
                    if not new:
                        (at,) = seen.execute("SELECT row FROM seen WHERE smiles = ?", (found[0],)).fetchone()
                        reason = f"the same molecule as row {at}"
                if found is None or reason:
                    left_out += 1
                    first = first or f"row {entry.row}: {entry.smiles!r}"
                    rejected.writerow((entry.row, entry.name, entry.smiles, reason))
                else:
                    rows.append((kept, entry.name, found[0], entry.smiles or "", found[1], entry.truth))
                    digest.update(f"{entry.name}\t{found[0]}\n".encode())
                    kept += 1
                    if entry.truth is not None and len(told) < 2:
                        told.add(entry.truth)
            columns = list(zip(*rows, strict=True)) or [[]] * len(TYPES)
            arrays = {name: pa.array(column, kind) for (name, kind), column in zip(TYPES.items(), columns, strict=True)}
            table.write_table(pa.table(arrays))
    if not kept:
        raise InvalidLibrary(f"{path}: none of {left_out} rows is a molecule ({first or 'the file is empty'}).")
    if truth is not None and len(told) < 2:
        raise InvalidLibrary(f"{path}: {truth} must tell compounds apart; its values are {sorted(told)}.")
    return Library(table_path, kept, left_out, digest.hexdigest())


def _entries(path: Path, smiles: str | None, name: str | None, truth: str | None) -> Iterator[Entry]:
    ending = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if ending == ".smi":
        if truth is not None:
            raise InvalidLibrary(f"{path} has no column {truth!r}: a smi holds SMILES and names only; give a csv.")
        with _open(path) as file:
            for row, line in enumerate(file, start=1):
                text, _, rest = line.strip().partition(" " if " " in line.strip() else "\t")
                if text and not (row == 1 and text.lower() == "smiles"):
                    yield Entry(row, rest.strip() or f"row {row}", text)
    elif ending in (".csv", ".tsv"):
        with _open(path) as file:
            reader = csv.DictReader(file, delimiter="\t" if ending == ".tsv" else ",")
            yield from _named(path, list(reader.fieldnames or ()), reader, smiles, name, truth)
    elif ending == ".parquet" and path.suffix != ".gz":
        parquet = pq.ParquetFile(path)
        wanted = [
            column
            for column in (
                _column(path, parquet.schema_arrow.names, smiles, SMILES_COLUMNS, True),
                _column(path, parquet.schema_arrow.names, name, NAME_COLUMNS, False),
                _column(path, parquet.schema_arrow.names, truth, (), False),
            )
            if column
        ]
        rows = (row for batch in parquet.iter_batches(CHUNK, columns=wanted) for row in batch.to_pylist())
        yield from _named(path, wanted, rows, smiles, name, truth)
    elif ending == ".sdf":
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file, rdBase.BlockLogs():
            for row, molecule in enumerate(Chem.ForwardSDMolSupplier(file), start=1):
                if molecule is None:
                    yield Entry(row, f"row {row}", None)
                    continue
                called = molecule.GetProp(name) if name and molecule.HasProp(name) else molecule.GetProp("_Name")
                known = molecule.GetProp(truth) if truth and molecule.HasProp(truth) else None
                yield Entry(
                    row, called.strip() or f"row {row}", Chem.MolToSmiles(molecule), _number(path, row, truth, known)
                )
    else:
        raise InvalidLibrary(f"the library {path} is of an unknown kind; {', '.join(ENDINGS)} (.gz) can be read.")


def _named(
    path: Path, columns: list[str], rows: Iterable[dict[str, Any]], smiles: str | None, name: str | None,
    truth: str | None,
) -> Iterator[Entry]:  # fmt: skip
    text = _column(path, columns, smiles, SMILES_COLUMNS, needed=True)
    called = _column(path, columns, name, NAME_COLUMNS, needed=False)
    told = _column(path, columns, truth, (), needed=False)
    for row, fields in enumerate(rows, start=1):
        given = fields.get(called) if called else None
        known = _number(path, row, told, fields[told]) if told else None
        yield Entry(row, str(given) if given not in (None, "") else f"row {row}", fields[text] or None, known)


def _number(path: Path, row: int, column: str | None, given: Any) -> float | None:
    if given in (None, ""):
        return None
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.inf
    if math.isinf(number):
        raise InvalidLibrary(
            f"{path}, row {row}: {column} is {given!r}; truth is 0, 1 or another number, or empty where unknown."
        )
    return None if math.isnan(number) else number


def _column(path: Path, there: list[str], asked: str | None, usual: tuple[str, ...], needed: bool) -> str:
    if asked is not None and asked not in there:
        raise InvalidLibrary(f"{path} has no column {asked!r}; it has {there}.")
    found = asked or next((column for column in usual if column in there), "")
    if needed and not found:
        raise InvalidLibrary(f"{path} has no column of SMILES ({', '.join(usual)}); it has {there}: say smiles=….")
    return found


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def rows_of(library: Library, numbers: NDArray[np.int64], columns: Sequence[str] = tuple(TYPES)) -> pl.DataFrame:
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
