"""The rows of an index in memory: what the images of a well have in common is kept once.

Row i of the index is row `number[i]` of `shared` beside row i of `own`. In a table of all columns a text takes 16 bytes
a row, so that ten million rows of a dozen columns take gigabytes, and what follows from a treatment would be worked
out ten million times.
"""

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from virtassay.schema import COLUMNS, REQUIRED, InvalidIndex, treatment, validate

OWN = ("image_id", "site", "x_px", "y_px", "source_file")  # of one image; the rest of COLUMNS is its well's
SHARED = (*(name for name in COLUMNS if name not in OWN), "treatment", "folder")
BLOCK = 1 << 18  # rows read at once: a row group of the files that polars writes


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of an index: `shared` (m rows, all different), `number` (n,) of them for each image, and `own` (n rows).

    columns: all of the index's, in their order.
    """

    shared: pl.DataFrame
    number: np.ndarray
    own: pl.DataFrame
    columns: tuple[str, ...]

    @classmethod
    def of(cls, table: pl.DataFrame) -> Self:
        """Keep a table as its shared and its own columns."""
        return cls._of_blocks([_separate(table)], table.columns)

    @classmethod
    def read(cls, file: Path | bytes, source: str) -> Self:
        """Read an index as a DatasetWriter writes it, in blocks: the table of all columns is never in memory.

        That each id is there once was checked when it was written. Raises InvalidIndex, in which the file is called
        `source`, for what else is wrong with it, and polars' errors where it cannot be read.
        """
        stored = pl.scan_parquet(file if isinstance(file, Path) else io.BytesIO(file))
        columns, blocks = stored.collect_schema().names(), []
        if not set(REQUIRED) <= set(columns):
            validate(stored.collect(), source)  # says what is missing
        for first in itertools.count(0, BLOCK):
            block = stored.slice(first, BLOCK).collect()
            blocks.append(_separate(block))
            if block.height < BLOCK:
                break
        try:
            return cls._of_blocks(blocks, columns)._checked()
        except (InvalidIndex, pl.exceptions.PolarsError):
            validate(stored.collect(), source)  # as a whole, so that the rows that it names are the table's
            raise

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> Self:
        """Put the rows of several indices one below the other; what one of them lacks is null there."""
        columns = dict.fromkeys(name for part in parts for name in part.columns)
        return cls._of_blocks([(part.shared, part.number, part.own) for part in parts], list(columns))

    @classmethod
    def _of_blocks(
        cls, blocks: Sequence[tuple[pl.DataFrame, np.ndarray, pl.DataFrame]], columns: Sequence[str]
    ) -> Self:
        """Number what the blocks share through."""
        parts = pl.concat([shared for shared, _, _ in blocks], how="diagonal")
        shared = parts.unique(maintain_order=True)
        numbered = shared.with_row_index("_number")
        joined = parts.join(numbered, on=shared.columns, how="left", nulls_equal=True, maintain_order="left")
        through = joined["_number"].to_numpy()
        starts = np.cumsum([0, *(part.height for part, _, _ in blocks)])
        number = [through[number + start] for (_, number, _), start in zip(blocks, starts, strict=False)]
        own = pl.concat([own for _, _, own in blocks], how="diagonal")
        return cls(shared, np.concatenate(number), own, tuple(columns))

    def _checked(self) -> Self:
        """Return the normal form, with treatments named; what is wrong is said of rows of `shared`."""
        stand_in = pl.int_range(pl.len()).cast(pl.String)
        shared = validate(self.shared.with_columns(image_id=stand_in)).drop("image_id")
        own = self.own.cast({name: COLUMNS[name] for name in OWN if name in self.own.columns})
        if own["image_id"].null_count() or (own["image_id"] == "").any():
            raise InvalidIndex("column 'image_id' has empty entries.")
        shared = shared.with_columns(treatment(shared))
        return replace(self, shared=shared, own=own, columns=(*self.columns, "treatment"))

    def __len__(self) -> int:
        return len(self.number)

    @cached_property
    def table(self) -> pl.DataFrame:
        """The index as a table of all columns."""
        return self.select(*self.columns)

    @cached_property
    def counts(self) -> np.ndarray:
        """How many images each row of `shared` has, (m,)."""
        return np.bincount(self.number, minlength=self.shared.height)

    def select(self, *columns: str) -> pl.DataFrame:
        """Return some columns of the index."""
        shared = self.shared.select(name for name in columns if name in self.shared.columns)
        own = self.own.select(name for name in columns if name in self.own.columns)
        return pl.concat([shared[self.number], own], how="horizontal").select(columns) if shared.width else own

    def with_columns(self, values: Mapping[str, pl.Series | pl.Expr]) -> Self:
        """Return the rows with some columns of their own replaced or added."""
        own = self.own.with_columns(**values)
        return replace(self, own=own, columns=tuple(dict.fromkeys([*self.columns, *values])))

    def find(self, mask: pl.Expr) -> np.ndarray:
        """Return the numbers of the rows where a condition holds."""
        read = self.select(*(dict.fromkeys(mask.meta.root_names()) or ["image_id"]))
        return read.with_row_index("_row").filter(mask)["_row"].to_numpy()

    def where(self, mask: pl.Expr | pl.Series) -> Self:
        """Return the rows that `mask` keeps."""
        return self.take(self.find(mask) if isinstance(mask, pl.Expr) else np.flatnonzero(mask.to_numpy()))

    def take(self, rows: np.ndarray) -> Self:
        """Return some rows, in the order given."""
        number = self.number[rows]
        used = np.bincount(number, minlength=self.shared.height) > 0
        number = (np.cumsum(used) - 1)[number].astype(np.uint32)
        return replace(self, shared=self.shared.filter(pl.Series(used)), number=number, own=self.own[rows])


def _separate(table: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray, pl.DataFrame]:
    """Separate a block: its shared columns once a run of equal rows, the number of each row's run, and the others.

    Images of a well mostly stand together, and neighbours are compared fast.
    """
    names = [name for name in SHARED if name in table.columns]
    shared = table.select(names)
    other = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in names)
    first = shared.lazy().select((other | (pl.int_range(pl.len()) == 0)).alias("first")).collect()["first"]
    return shared.filter(first), first.cum_sum().to_numpy().astype(np.int64) - 1, table.drop(names)
