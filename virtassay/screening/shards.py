"""Shards: the work of a stage in pieces, each written whole or not at all, so that a killed screen goes on.

stages/1/compounds.npy    the numbers of the compounds that the stage sees, in order
stages/1/bench.npz        what it measures with
stages/1/00000.parquet    scores of the first `size` of them …
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.screening.library import Library, rows_of

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Shards:
    """The shards of one stage in their folder."""

    folder: Path
    size: int

    @property
    def bench(self) -> Path:
        return self.folder / "bench.npz"

    @property
    def compounds(self) -> Numbers:
        return np.load(self.folder / "compounds.npy", mmap_mode="r", allow_pickle=False)

    @property
    def count(self) -> int:
        return -(-len(self.compounds) // self.size)

    def begin(self, compounds: Numbers) -> None:
        """Write down which compounds the stage sees, unless that is done."""
        if not (self.folder / "compounds.npy").is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            whole(self.folder / "compounds.npy", lambda path: np.save(path, compounds))

    def missing(self, mine: Sequence[int] | None = None) -> list[int]:
        """Numbers of the shards that are not finished, of `mine` or of all."""
        return [n for n in (range(self.count) if mine is None else mine) if not self.file(n).is_file()]

    def file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"

    def rows(self, number: int, library: Library) -> pl.DataFrame:
        """The compounds of one shard, as the library has them."""
        wanted = np.asarray(self.compounds[number * self.size : (number + 1) * self.size])
        if len(wanted) == wanted[-1] - wanted[0] + 1:
            return rows_of(library, int(wanted[0]), int(wanted[-1]) + 1)
        return pl.scan_parquet(library.table).filter(pl.col("compound").is_in(wanted.tolist())).collect()

    def write(self, number: int, scores: pl.DataFrame) -> None:
        """Finish a shard."""
        whole(self.file(number), scores.write_parquet)

    def scores(self, columns: Sequence[str]) -> pl.DataFrame:
        """All scores of a finished stage, in the order of the library."""
        files = [self.file(number) for number in range(self.count)]
        return pl.concat([pl.read_parquet(file, columns=list(columns)) for file in files])

    def best(self, keep: int) -> Numbers:
        """The numbers of the compounds with the highest scores, in the order of the library; ties go by number."""
        scores = self.scores(["compound", "score"]).filter(pl.col("score").is_finite())
        return np.sort(scores.sort(["score", "compound"], descending=[True, False])["compound"].head(keep).to_numpy())


def whole(path: Path, write) -> None:
    """Write a file under another name and rename it: it is there whole, or not at all."""
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        write(partial if partial.suffix != ".npy" else str(partial))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def share(shard: str | None, count: int) -> list[int]:
    """The shards that fall to part k of n, "k/n" with k from 0, or all of them. Raises ValueError for another text."""
    if shard is None:
        return list(range(count))
    part, _, parts = str(shard).partition("/")
    if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
        raise ValueError(f"shard={shard!r}: write k/n with k from 0 to n − 1, e.g. shard=0/8.")
    return list(range(int(part), count, int(parts)))
