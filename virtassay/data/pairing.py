"""Pairing: which images make a minibatch, and which control of the same batch goes with each of them.

All of it is a function of (seed, step): a run that is killed and resumed, or spread over more devices, sees the same
global minibatches in the same order.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from virtassay.schema import require_controls


@dataclass(frozen=True)
class Controls:
    """The control rows of each batch in compressed rows: batch b owns rows[start[b]:start[b + 1]]. O(1) look-up."""

    rows: np.ndarray
    start: np.ndarray
    batch: np.ndarray  # (n,) number of the batch of each row of the index

    @classmethod
    def of(cls, index: pl.DataFrame, source: str) -> "Controls":
        """Group the controls of an index; raises InvalidIndex naming batches that have none."""
        require_controls(index, source)
        batch = index["batch"].rank("dense").to_numpy().astype(np.int64) - 1
        rows = np.flatnonzero(index["is_control"].to_numpy())
        rows = rows[np.argsort(batch[rows], kind="stable")]
        start = np.searchsorted(batch[rows], np.arange(batch.max() + 2))
        return cls(rows=rows, start=start, batch=batch)

    def draw(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draw a random control of the same batch for each of `rows`."""
        first, after = self.start[self.batch[rows]], self.start[self.batch[rows] + 1]
        return self.rows[first + (random.random(len(rows)) * (after - first)).astype(np.int64)]


@dataclass(frozen=True)
class MinibatchOrder:
    """Which of n images each step sees: a new permutation each epoch, so that an epoch sees each image once.

    The global minibatch of a step is cut into `parts` equal parts (devices × gradient accumulation).
    """

    n: int
    minibatch_size: int
    parts: int
    seed: int

    def __post_init__(self) -> None:
        if self.minibatch_size % self.parts:
            raise ValueError(
                f"a global minibatch of {self.minibatch_size} images cannot be shared equally by {self.parts} parts "
                "(devices × accumulation): choose a multiple."
            )

    def rows(self, step: int, part: int) -> np.ndarray:
        """Return the rows that `part` sees in `step`."""
        size = self.minibatch_size // self.parts
        positions = step * self.minibatch_size + part * size + np.arange(size)
        epochs, places = np.divmod(positions, self.n)
        rows = np.empty(size, np.int64)
        for epoch in np.unique(epochs):  # a minibatch may end one epoch and begin the next
            here = epochs == epoch
            rows[here] = _permutation(self.n, self.seed, int(epoch))[places[here]]
        return rows


@lru_cache(maxsize=2)  # a minibatch touches two epochs at most, unless the data set is tiny
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(n)
