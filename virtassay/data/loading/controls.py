"""Pairing: which controls of the same batch go with each image, as a function of (seed, step) or of its own seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from virtassay.data.dataset.rows import Rows
from virtassay.data.dataset.store import Dataset
from virtassay.schema import InvalidIndex, require_controls


@dataclass(frozen=True)
class Controls:
    """The control rows of each batch in compressed rows: batch b owns rows[start[b]:start[b + 1]]. O(1) look-up."""

    rows: np.ndarray
    start: np.ndarray
    batch: np.ndarray  # (n,) number of the batch of each row of the index
    place: np.ndarray  # (n,) where a control stands in `rows`; −1 for the treated

    @classmethod
    def of(cls, index: Rows, source: str) -> "Controls":
        """Group the controls of an index; raises InvalidIndex naming batches that have none."""
        require_controls(index.shared, source)
        batch = (index.shared["batch"].rank("dense").to_numpy().astype(np.int64) - 1)[index.number]
        rows = np.flatnonzero(index.shared["is_control"].to_numpy()[index.number])
        rows = rows[np.argsort(batch[rows], kind="stable")]
        start = np.searchsorted(batch[rows], np.arange(batch.max() + 2))
        place = np.full(len(index), -1)
        place[rows] = np.arange(len(rows))
        return cls(rows=rows, start=start, batch=batch, place=place)

    def draw(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draw a random control of the same batch for each of `rows` (any shape).

        A control gets another one than itself, unless it is the only one: it would tell the answer.
        """
        first, after = self.start[self.batch[rows]], self.start[self.batch[rows] + 1]
        own = self.place[rows]
        spare = (own >= 0) & (after - first > 1)
        drawn = first + (random.random(rows.shape) * (after - first - spare)).astype(np.int64)
        return self.rows[drawn + (spare & (drawn >= own))]


@dataclass(frozen=True)
class ControlPool:
    """The control images of a dataset folder (or a split of one) that generated images may begin at."""

    controls: Dataset
    source: str

    @classmethod
    def of(cls, dataset: Dataset, split: str | None = None) -> "ControlPool":
        """Take the controls of a split of `dataset`, or of all of it. Raises BrokenDataset where the split is empty."""
        part = dataset if split is None else dataset.split(split)
        return cls(part.where(pl.col("is_control")), f"{dataset.root}{'' if split is None else f' ({split} split)'}")

    def draw(self, batches: Sequence[str], seeds: np.ndarray, m: int) -> np.ndarray:
        """Draw m control rows (n, m) of each image's batch from its own seed, different ones while there are enough.

        Raises InvalidIndex naming the batches that have no control here.
        """
        numbers = self.controls.rows.select("batch").with_row_index("_row").group_by("batch").agg("_row")
        of = {batch: np.sort(rows) for batch, rows in numbers.iter_rows()}
        lonely = sorted(set(batches) - set(of))
        if lonely:
            raise InvalidIndex(
                f"{self.source}: no control images of batch(es) {lonely[:5]}, which this model needs. There are "
                f"some of {sorted(of)[:12]}: ask for these by batch=…, or take others, dataset=… controls=…."
            )
        drawn = np.empty((len(seeds), m), np.int64)
        for i, (batch, seed) in enumerate(zip(batches, seeds, strict=True)):
            rows = of[batch]
            drawn[i] = rows[_different(len(rows), m, np.random.default_rng(int(seed)))]
        return drawn


def _different(n: int, m: int, random: np.random.Generator) -> np.ndarray:
    """Draw m different numbers below n, the first of them whatever m is; repeated from the first where n < m."""
    chosen: dict[int, None] = {}
    while len(chosen) < min(n, m):
        chosen.setdefault(int(random.integers(n)))
    return np.resize(list(chosen), m)
