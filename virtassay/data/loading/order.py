"""Order: which images each step sees, as a function of (seed, step).

A run that is killed and resumed, or spread over more devices, sees the same global minibatches in the same order.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np

from virtassay.flow.coupling import Coupling
from virtassay.flow.traits import trait
from virtassay.schema import InvalidIndex

USUAL_PER_GROUP = 8  # images of a group, where a coupling permutes groups
SHARDS = 1 << 33  # sets the random numbers that order shards apart from those of any part of a step


@dataclass(frozen=True, eq=False)
class MinibatchOrder:
    """Which of n images each step sees: a new permutation each epoch, so that an epoch sees each image once.

    The global minibatch of a step is cut into `parts` equal parts (devices × gradient accumulation). With `group` (n,),
    `per_group` images of one group stand side by side, so that a coupling has something to permute.

    balance: with `treatment` (n,), an image of a treatment with m images is drawn with weight m^−balance: 0, all images
    alike; 1, all treatments alike. An epoch is still n images; each comes up as often as n × its share of the weights,
    rounded up or down at random.

    buffer: with `shard` (n,), the number of shards that are shuffled together: an epoch takes the shards in a random
    order, `buffer` at a time, and mixes the images of those. 0 mixes all of them.
    """

    n: int
    minibatch_size: int
    parts: int
    seed: int
    group: np.ndarray | None = None
    per_group: int = 1
    treatment: np.ndarray | None = None
    balance: float = 0.0
    shard: np.ndarray | None = None
    buffer: int = 0

    def __post_init__(self) -> None:
        if self.minibatch_size % self.parts:
            raise ValueError(
                f"a global minibatch of {self.minibatch_size} images cannot be shared equally by {self.parts} parts "
                "(devices × accumulation): choose a multiple."
            )
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance={self.balance} lies between 0 (all images alike) and 1 (all treatments alike).")
        if self.buffer < 0:
            raise ValueError(f"buffer_shards={self.buffer} is a number of shards, or 0 for all of them.")

    def rows(self, step: int, part: int) -> np.ndarray:
        """Return the rows that `part` sees in `step`; those of a shard side by side, to be gathered in one go."""
        size = self.minibatch_size // self.parts
        epoch, place = divmod(step * self.minibatch_size + part * size, self.n)
        rows = _epoch(self, epoch)[place : place + size].copy()  # the epoch's own are kept
        while len(rows) < size:  # a minibatch may end one epoch and begin the next
            epoch += 1
            rows = np.concatenate([rows, _epoch(self, epoch)[: size - len(rows)]])
        return rows if self.shard is None else rows[np.argsort(self.shard[rows], kind="stable")]

    def within(self, rows: np.ndarray) -> "MinibatchOrder":
        """Return the order of some rows by themselves, numbered from 0, all their shards mixed."""
        group, treatment = (None if of is None else of[rows] for of in (self.group, self.treatment))
        return replace(self, n=len(rows), group=group, treatment=treatment, shard=None, buffer=0)

    def shards(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the shards that are mixed in `step`, and those that come after them."""
        first = step * self.minibatch_size
        last = first + self.minibatch_size - 1
        now: list[np.ndarray] = []
        for epoch in range(first // self.n, last // self.n + 1):
            windows = _windows(self, epoch)
            ends = (max(first - epoch * self.n, 0), min(last - epoch * self.n, self.n - 1))
            a, b = (windows[self._shard_of(_epoch(self, epoch)[place])] for place in ends)
            now += [np.flatnonzero(windows == window) for window in range(a, b + 1)]
            after = np.flatnonzero(windows == b + 1)
        if not len(after):
            after = np.flatnonzero(_windows(self, last // self.n + 1) == 0)
        return np.unique(np.concatenate(now)), after

    def _shard_of(self, row: int) -> int:
        return 0 if self.shard is None else int(self.shard[row])


@lru_cache(maxsize=8)  # a minibatch touches two epochs at most, unless the data set is tiny; of each joined data set
def _epoch(order: MinibatchOrder, epoch: int) -> np.ndarray:
    """Return the rows of an epoch in their order, (n,)."""
    random = np.random.default_rng((order.seed, epoch))
    rows = random.permutation(order.n)
    if order.balance and order.treatment is not None:
        rows = _balanced(order.treatment, order.balance, rows, random)
    window = np.zeros(order.n, np.int64)
    if order.buffer and order.shard is not None:
        window = _windows(order, epoch)[order.shard[rows]]
        by_window = np.argsort(window, kind="stable")
        rows, window = rows[by_window], window[by_window]
    if order.group is None or order.per_group == 1:
        return rows
    by_group = np.lexsort((order.group[rows], window))
    rows, window = rows[by_group], window[by_group]
    starts = np.flatnonzero(np.r_[True, (np.diff(order.group[rows]) != 0) | (np.diff(window) != 0)])
    place = np.arange(order.n) - np.repeat(starts, np.diff(np.r_[starts, order.n]))  # within its group
    piece = np.cumsum(place % order.per_group == 0) - 1  # the number of each handful of a group
    return rows[np.lexsort((random.permutation(piece[-1] + 1)[piece], window))]


def _balanced(treatment: np.ndarray, balance: float, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw as many rows again, in proportion to weights: systematic sampling along the treatments.

    Source: Madow and Madow 1944, doi:10.1214/aoms/1177731312. A row and a treatment come up as often as expected,
    rounded up or down.
    """
    weight = np.bincount(treatment)[treatment] ** -balance
    rows = rows[np.argsort(treatment[rows], kind="stable")]
    edges = np.cumsum(weight[rows]) * (len(rows) / weight.sum())
    edges[-1] = len(rows)  # to the bit
    times = np.diff(np.floor(edges + random.random()), prepend=0).astype(np.int64)
    return random.permutation(np.repeat(rows, times))


@lru_cache(maxsize=8)
def _windows(order: MinibatchOrder, epoch: int) -> np.ndarray:
    """Return in which handful of shards each shard of the folder is mixed; −1 for shards without rows."""
    if order.shard is None:
        return np.zeros(1, np.int64)
    shards = np.unique(order.shard)
    windows = np.full(shards[-1] + 1, -1)
    random = np.random.default_rng((order.seed, epoch, SHARDS))
    windows[shards] = random.permutation(len(shards)) // (order.buffer or len(shards))
    return windows


@dataclass(frozen=True, eq=False)
class JoinedOrder:
    """Which images each step sees, all of them of one folder; as a MinibatchOrder, a function of (seed, step).

    A folder with n images has n // minibatch_size turns in an epoch (at least one), shuffled with those of the others,
    and sees each of its images once before any of them again.
    """

    orders: tuple[MinibatchOrder, ...]
    members: tuple[np.ndarray, ...]  # the rows of each folder, which its order numbers from 0
    seed: int
    parts: int

    @classmethod
    def of(cls, folder: np.ndarray, order: MinibatchOrder) -> Self:
        """Order the rows of each folder, `folder` (n,), as `order` does all of them."""
        members = tuple(np.flatnonzero(folder == number) for number in np.unique(folder))
        return cls(tuple(order.within(rows) for rows in members), members, order.seed, order.parts)

    @property
    def turns(self) -> list[int]:
        """How many minibatches of each folder an epoch has."""
        return [max(1, order.n // order.minibatch_size) for order in self.orders]

    def rows(self, step: int, part: int) -> np.ndarray:
        """Return the rows that `part` sees in `step`."""
        turns = self.turns
        epoch, place = divmod(step, sum(turns))
        drawn = np.random.default_rng((self.seed, epoch)).permutation(np.repeat(np.arange(len(turns)), turns))
        folder = drawn[place]
        earlier = epoch * turns[folder] + int((drawn[:place] == folder).sum())
        return self.members[folder][self.orders[folder].rows(earlier, part)]


def images_per_group(coupling: Coupling, per_group: int | None, group: np.ndarray, source: str) -> int:
    """Return how many images of one group (n,) stand together: `per_group`, or what is usual for the coupling.

    Raises ValueError where the coupling permutes groups and gets groups of one, and InvalidIndex where no group has two
    images.
    """
    needs_groups = trait(coupling, "needs_groups")
    if per_group is None:
        per_group = USUAL_PER_GROUP if needs_groups else 1
    if needs_groups and per_group < 2:
        raise ValueError(
            f"this coupling permutes inside groups (batch, treatment), and with loader.per_group={per_group} a "
            "minibatch has groups of one: set loader.per_group=8, or coupling=independent."
        )
    if per_group > 1 and np.unique(group, return_counts=True)[1].max() < 2:
        raise InvalidIndex(
            f"{source}: every group (batch, treatment) has one image only, so a coupling has nothing to permute: train "
            "with coupling=independent."
        )
    return per_group
