"""Shards: the work of a stage in pieces, each written whole or not at all, so that a killed screen goes on.

stages/1/compounds.npy    the numbers of the compounds that the stage sees, in order
stages/1/reference.npz    the reference effects that it measures with
stages/1/000000.parquet   scores of the first `size` of them …
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay import files
from virtassay.screening.library import Library, rows_of

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Shards:
    """The shards of one stage in their folder."""

    folder: Path
    size: int

    @property
    def reference(self) -> Path:
        """The file of the reference effects that the stage measures with."""
        return self.folder / "reference.npz"

    @property
    def compounds(self) -> Numbers:
        """The numbers of the compounds that the stage sees, in order, read from the disk as they are needed."""
        return np.load(self.folder / "compounds.npy", mmap_mode="r", allow_pickle=False)

    @property
    def count(self) -> int:
        """How many shards there are."""
        return -(-len(self.compounds) // self.size)

    def begin(self, compounds: Numbers) -> None:
        """Write down which compounds the stage sees, unless that is done."""
        if not (self.folder / "compounds.npy").is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            with durable(self.folder / "compounds.npy") as file:
                np.save(file, compounds)

    def missing(self, numbers: Sequence[int] | None = None) -> list[int]:
        """Numbers of the shards that are not finished, of these or of all."""
        files = set(os.listdir(self.folder))  # a shared folder answers one question sooner than thousands
        return [n for n in (range(self.count) if numbers is None else numbers) if self.file(n).name not in files]

    def file(self, number: int) -> Path:
        """The file of one shard's scores."""
        return self.folder / f"{number:06d}.parquet"

    def rows(self, number: int, library: Library) -> pl.DataFrame:
        """The compounds of one shard, as the library has them."""
        return rows_of(library, self.compounds[number * self.size : (number + 1) * self.size])

    def write(self, number: int, scores: pl.DataFrame) -> None:
        """Finish a shard. Raises OSError where it cannot be written, and leaves nothing of it."""
        buffer = BytesIO()  # polars' own writing of files would not say that the disk is full
        scores.write_parquet(buffer)
        with durable(self.file(number)) as file:
            file.write(buffer.getvalue())

    def scores(self, columns: Sequence[str], only: Numbers | None = None) -> pl.DataFrame:
        """Scores of a finished stage in the order of the library, of all compounds or of some (sorted numbers)."""
        parts: list[pl.DataFrame] = []
        for number in range(self.count):
            compounds = self.compounds[number * self.size : (number + 1) * self.size]
            chosen = None if only is None else np.isin(compounds, only, assume_unique=True)
            if chosen is None or chosen.any():
                part = pl.read_parquet(self.file(number), columns=list(columns))
                parts.append(part if chosen is None else part.filter(chosen))
        return pl.concat(parts)

    def best(self, keep: int) -> Numbers:
        """The numbers of the compounds with the highest scores, in the order of the library; ties go by number."""
        scores = self.scores(["compound", "score"]).filter(pl.col("score").is_finite())
        return np.sort(scores.sort(["score", "compound"], descending=[True, False])["compound"].head(keep).to_numpy())

    def tidy(self) -> None:
        """Remove what killed processes have left half written. Only of a finished stage: nobody writes there."""
        for partial in self.folder.glob(".*.partial"):
            partial.unlink(missing_ok=True)


@contextmanager
def durable(path: Path) -> Iterator[IO[bytes]]:
    """Write a whole file and rename it once it is on the disk: it is there whole, or not at all.

    Raises OSError saying what failed, with nothing left behind.
    """
    try:
        with files.whole(path) as partial, partial.open("wb") as file:
            yield file
    except OSError as error:
        raise OSError(
            error.errno or errno.EIO,
            f"writing {path} failed: {files.reason(error)}. Nothing half written is left, and what was finished is "
            "kept: when that is mended, the same command goes on.",
        ) from error


def share(shard: str | None, count: int) -> list[int]:
    """The shards that fall to part k of n, "k/n" with k from 0, or all of them. Raises ValueError for another text."""
    if shard is None:
        return list(range(count))
    part, _, parts = str(shard).partition("/")
    if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
        raise ValueError(f"shard={shard!r}: write k/n with k from 0 to n − 1, e.g. shard=0/8.")
    return list(range(int(part), count, int(parts)))
