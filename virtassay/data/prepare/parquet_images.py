"""Images that lie as encoded bytes in the rows of parquet files, as Hugging Face gives them out: one row a channel."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import imagecodecs
import numpy as np
import polars as pl
import pyarrow.parquet as pq

from virtassay.data.prepare.sources import UnreadableImage, fill, stacked

GROUPS = 32  # row groups held at once: the channels of an image lie side by side, mostly in one of them


@dataclass(frozen=True)
class ParquetImages:
    """One row a channel, found by the text in column `key`; column `image` holds JPEG 2000 bytes, or a struct of them.

    pattern: the key of a channel, filled from a row of the table, with {channel}; channels: what that stands for, in
    the order of the dataset's channels. Only keys and a few row groups are held: about 40 bytes for each key.
    """

    files: Sequence[str]
    pattern: str
    channels: Sequence[str]
    key: str = "__key__"
    image: str = "jp2"

    def absent(self, keys: pl.Series) -> pl.Series:
        """Say which of the keys are in none of the files."""
        return ~keys.is_in(pl.Series(self._keys[0].astype(str)).implode())

    def read(self, row: dict[str, Any]) -> np.ndarray:
        keys = [fill(self.pattern, {**row, "channel": channel}) for channel in self.channels]
        return stacked([self._plane(key) for key in keys], keys, keys[0])

    def name(self, row: dict[str, Any]) -> str:
        return fill(self.pattern, {**row, "channel": "*"})

    def _plane(self, key: str) -> np.ndarray:
        known, rows = self._keys
        place = int(np.searchsorted(known, key.encode()))
        if place == len(known) or known[place] != key.encode():
            raise UnreadableImage(f"the image {key} is in none of {len(self.files)} parquet files.")
        number = int(rows[place])
        group = int(np.searchsorted(self._ends, number, side="right"))
        value = self._group(group)[number - (int(self._ends[group - 1]) if group else 0)].as_py()
        try:
            return imagecodecs.jpeg2k_decode(value["bytes"] if isinstance(value, dict) else value)
        except Exception as error:  # of another class in each codec; all mean that this image is not to be had
            raise UnreadableImage(f"the image {key} cannot be decoded: {error}.") from error

    @cached_property
    def _open(self) -> list[pq.ParquetFile]:
        return [pq.ParquetFile(path) for path in self.files]

    @cached_property
    def _groups(self) -> list[tuple[int, int]]:
        return [(i, g) for i, file in enumerate(self._open) for g in range(file.num_row_groups)]

    @cached_property
    def _ends(self) -> np.ndarray:
        """For each row group, the number of rows up to its end, over all files."""
        return np.cumsum([self._open[i].metadata.row_group(g).num_rows for i, g in self._groups])

    @cached_property
    def _keys(self) -> tuple[np.ndarray, np.ndarray]:
        """The keys of all rows, sorted, and the rows' numbers over all files."""
        for path, file in zip(self.files, self._open, strict=True):
            lacking = {self.key, self.image} - set(file.schema_arrow.names)
            if lacking:
                raise UnreadableImage(f"{path} lacks column(s) {sorted(lacking)}; it has {file.schema_arrow.names}.")
        columns = (pl.read_parquet(path, columns=[self.key])[self.key] for path in self.files)
        keys = np.concatenate([np.array(column, "S") for column in columns])
        order = np.argsort(keys, kind="stable")
        return keys[order], order.astype(np.int64)

    @cached_property
    def _group(self):
        @lru_cache(GROUPS)
        def read(number: int) -> Any:
            file, group = self._groups[number]
            return self._open[file].read_row_group(group, columns=[self.image]).column(0)

        return read
