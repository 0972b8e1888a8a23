"""Embedding tables: vectors that somebody computed elsewhere, a row for each molecule, gene or name.

A parquet file has a key column ("smiles", "inchikey", "name" or "gene") and the vector as one list column or as numeric
columns. An npz file has the arrays `keys` (n,) of text and `embeddings` (n, d). Nothing in either can execute code.
"""

import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from virtassay.data.molecules.descriptors import NEEDS_SMILES, Component, canonical_smiles
from virtassay.data.molecules.similarity import inchikey
from virtassay.files import sha256 as sha256_of
from virtassay.schema import some


class InvalidEmbeddings(ValueError):
    """A table of embeddings that cannot be used, or lacks a row; the message names the first keys and the fix."""


# what a table can be keyed by → (what it reads of a component, what a component must come with)
KEYS: dict[str, tuple[Callable[[Component], str | None], str]] = {
    "smiles": (attrgetter("smiles"), NEEDS_SMILES),
    "inchikey": (lambda component: component.smiles and inchikey(component.smiles), NEEDS_SMILES),
    "name": (attrgetter("name"), "a name in the column 'perturbation'"),
    "gene": (attrgetter("gene"), "the gene's symbol in the column 'gene'"),
}


class EmbeddingTable:
    """The vectors of a parquet or npz file, looked up by `key`: (n,) keys → (n, size) float32.

    key: smiles (canonicalised on both sides), inchikey (made from a component's SMILES), name or gene. sha256: of the
    file; null takes it as it is. A run stores it (`with_sha256`), so that it is never rebuilt on another table.
    Raises FileNotFoundError, and InvalidEmbeddings naming the first five keys and the fix.
    """

    def __init__(self, path: str | Path, key: str = "smiles", sha256: str | None = None) -> None:
        self.path, self.key = Path(path), key
        if key not in KEYS:
            raise self._error(f"key={key!r} is unknown; a table is keyed by one of {list(KEYS)}")
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no table of embeddings {path}: correct molecules.path, or put it there.")
        if sha256 is not None and sha256 != (digest := sha256_of(self.path)):
            raise self._error(
                f"its sha256 is {digest}, but {sha256} is asked for: the table has changed. Put the right one there"
            )
        keys, vectors = self._npz() if self.path.suffix == ".npz" else self._parquet()
        keys = self._canonical(keys)
        self._check(keys, vectors)
        self.size = vectors.shape[1]
        self.needs = KEYS[key][1]
        self._vectors = vectors
        self._row = {key: row for row, key in enumerate(keys)}

    def reads(self, component: Component) -> str | None:
        return KEYS[self.key][0](component)

    def __call__(self, read: Sequence[str]) -> np.ndarray:
        missing = [key for key in read if key not in self._row]
        if missing:
            raise self._error(
                f"{len(missing)} of {len(read)} needed keys are missing: {_first(missing)}. Add a row for each, or "
                "leave those perturbations out"
            )
        return self._vectors[[self._row[key] for key in read]]

    def _error(self, message: str) -> InvalidEmbeddings:
        return InvalidEmbeddings(f"embeddings {self.path} (key {self.key!r}): {message}.")

    def _npz(self) -> tuple[list[str], np.ndarray]:
        shape = "save keys=np.array(list_of_text) and embeddings, one (n, d) array of numbers"
        try:
            with np.load(self.path, allow_pickle=False) as file:
                keys, vectors = file["keys"], file["embeddings"]
        except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise self._error(f"cannot be read ({error}); {shape}") from error
        paired = keys.ndim == 1 and vectors.ndim == 2 and len(keys) == len(vectors)
        if not paired or keys.dtype.kind != "U" or vectors.dtype.kind not in "fiu":
            arrays = f"keys {keys.dtype} {keys.shape} and embeddings {vectors.dtype} {vectors.shape}"
            raise self._error(f"has {arrays}; {shape}")
        with np.errstate(over="ignore"):  # infinite in float32 is refused below
            return keys.tolist(), vectors.astype(np.float32)

    def _parquet(self) -> tuple[list[str], np.ndarray]:
        try:
            table = pl.read_parquet(self.path)
        except pl.exceptions.PolarsError as error:
            raise self._error(f"cannot be read as parquet ({error}); write parquet or npz") from error
        if self.key not in table.columns:
            raise self._error(f"has no column {self.key!r}; it has {table.columns[:12]}. Rename its key column")
        keys = table[self.key].cast(pl.String).fill_null("")
        if "__index_level_0__" in table.columns:  # it would be one more, huge dimension
            raise self._error("holds the row numbers of pandas as a column; write it by to_parquet(…, index=False)")
        rest = table.drop(self.key)
        lists = [name for name, dtype in rest.schema.items() if dtype.is_nested()]
        numbers = [name for name, dtype in rest.schema.items() if dtype.is_numeric()]
        if len(lists) + bool(numbers) != 1:
            raise self._error(
                f"the vector is one list column or numeric columns, but {len(lists)} list column(s) {lists[:5]} and "
                f"{len(numbers)} numeric one(s) {numbers[:5]} were found; keep those of the vector"
            )
        if numbers:
            return keys.to_list(), rest.select(pl.col(numbers).cast(pl.Float32).fill_null(np.nan)).to_numpy()
        return keys.to_list(), self._stacked(rest[lists[0]], keys)

    def _stacked(self, column: pl.Series, keys: pl.Series) -> np.ndarray:
        if not isinstance(column.dtype, pl.List | pl.Array) or not column.dtype.inner.is_numeric():
            raise self._error(f"column {column.name!r} holds {column.dtype}, not lists of numbers")
        rows = column.cast(pl.List(pl.Float32))
        length = rows.list.len().fill_null(0).to_numpy()
        usual = int(np.bincount(length, minlength=1).argmax())
        ragged = keys.filter(length != usual)
        if len(ragged):
            raise self._error(f"most vectors have {usual} numbers, but not those of {_first(ragged.to_list())}")
        return rows.list.explode(empty_as_null=False).fill_null(np.nan).to_numpy().reshape(len(keys), usual)

    def _canonical(self, keys: list[str]) -> list[str]:
        """Canonicalise SMILES; refuse those that are none, and keys that are empty or occur twice."""
        empty = [row for row, key in enumerate(keys) if not key]
        if empty:
            raise self._error(f"the key is empty in row(s) {_first(empty)}. Give each row its key")
        normal = [canonical_smiles(key) for key in keys] if self.key == "smiles" else keys
        bad = [key for key, text in zip(keys, normal, strict=True) if text is None]
        if bad:
            raise self._error(f"{len(bad)} SMILES cannot be parsed: {_first(bad)}. Correct them")
        count = Counter(normal)
        twice = [key for key, text in zip(keys, normal, strict=True) if count[text] > 1]
        if twice:
            raise self._error(
                f"{len(twice)} rows share a key{' (once canonical)' if self.key == 'smiles' else ''}: {_first(twice)}. "
                "Keep one row for each"
            )
        return [text for text in normal if text is not None]

    def _check(self, keys: list[str], vectors: np.ndarray) -> None:
        if vectors.size == 0:
            raise self._error(f"is empty: {len(keys)} keys with vectors of {vectors.shape[1]} numbers")
        for wrong, what in (
            (~np.isfinite(vectors).all(axis=1), "are NaN, infinite or empty (in float32)"),
            (~vectors.any(axis=1), 'are all zero, which means "no structure"'),
        ):
            if wrong.any():
                bad = [keys[i] for i in np.flatnonzero(wrong)]
                raise self._error(f"{len(bad)} vectors {what}: {_first(bad)}. Correct or drop these rows")


def _first(offenders: Sequence[object]) -> str:
    return some([repr(key) for key in offenders])


def with_sha256(config: Any) -> Any:
    """Fill in `sha256` of each EmbeddingTable in a resolved config, so that the run that stores it names its tables."""
    if isinstance(config, list):
        return [with_sha256(item) for item in config]
    if not isinstance(config, dict):
        return config
    filled = {key: with_sha256(value) for key, value in config.items()}
    if str(filled.get("_target_")).rpartition(".")[2] == EmbeddingTable.__name__:  # by its public path or its own
        filled["sha256"] = filled.get("sha256") or sha256_of(Path(filled["path"]))
    return filled
