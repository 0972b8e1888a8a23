"""How far plates and batches differ where nothing was done to the cells: control wells, as stored and centred."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Array = NDArray[np.float64]
SEED = 0
LEAST = 1e-9  # s.d. of a feature: less is rounding


@dataclass(frozen=True)
class BatchEffect:
    """Share of the variance among control wells that a factor explains; None where too few wells can tell."""

    factor: str  # plate, batch
    levels: int
    stored: float | None
    less_batch: float | None  # less the mean of other control wells of the batch
    less_plate: float | None  # and of the plate


@dataclass(frozen=True)
class ControlWells:
    """Means over the images of each control well that was measured; `index` has a row a well: plate, well, batch."""

    index: pl.DataFrame
    stored: Array  # (w, d) features, each in units of its s.d. over control wells
    half: NDArray[np.int64]  # (w,) 0 or 1: each half is centred on the other

    def centred(self, on: str) -> Array:
        """Features less the mean of the control wells of the same plate or batch; NaN where the other half has none.

        The wells that give the mean are never those that it is taken from: of them nothing would be left, whatever
        the batch effect in new wells.
        """
        level = self.index[on].to_numpy()
        centred = np.full_like(self.stored, np.nan)
        for name in np.unique(level):
            for half in (0, 1):
                own, other = ((level == name) & (self.half == h) for h in (half, 1 - half))
                if other.any():
                    centred[own] = self.stored[own] - self.stored[other].mean(0)
        return centred


def control_wells(index: pl.DataFrame, features: Array) -> ControlWells | None:
    """Average the measured images of each control well; None if there are none, or nothing varies.

    index (n rows): plate, well, batch, is_control; features (n, d).
    """
    control = index["is_control"].to_numpy()
    wells = index.filter(control).select("plate", "well", "batch")
    if wells.is_empty():
        return None
    first = wells.unique(["plate", "well"], maintain_order=True).with_row_index("_well")
    number = wells.join(first, on=["plate", "well"], how="left", maintain_order="left")["_well"].to_numpy()
    sums = np.zeros((first.height, features.shape[1]))
    np.add.at(sums, number, features[control])
    mean = sums / np.bincount(number)[:, None]
    varies = (spread := mean.std(0)) > LEAST * np.abs(mean).max(0).clip(min=1e-12)
    if not varies.any():
        return None
    order = first.with_columns(_random=pl.int_range(pl.len()).shuffle(SEED))
    half = order.select(pl.col("_random").rank("ordinal").over("plate") % 2)["_random"].to_numpy().astype(np.int64)
    return ControlWells(first.drop("_well"), (mean[:, varies] - mean[:, varies].mean(0)) / spread[varies], half)


def batch_effects(wells: ControlWells) -> list[BatchEffect]:
    """Variance among control wells that plate and batch explain: as stored, and less the controls of batch or plate.

    Well means of the features, so that the many images of a well do not count as replicates. Taking off the controls of
    the plate is the usual first correction of batch effects: Caicedo et al. 2017 (doi 10.1038/nmeth.4397). Half of the
    wells are taken off the other half; a mean of few wells is noisy, and its noise counts as a difference that is left.
    """
    centred = (wells.centred("batch"), wells.centred("plate"))
    effects: list[BatchEffect] = []
    for factor in ("plate", "batch"):
        label = wells.index[factor].to_numpy()
        stored = variance_explained(wells.stored, label)
        left = [_left(x, label, wells.half) for x in centred]
        effects.append(BatchEffect(factor, len(np.unique(label)), stored, *left))
    return effects


def _left(x: Array, label: NDArray[np.object_], half: NDArray[np.int64]) -> float | None:
    """The mean over halves: within one, wells were centred on the same others."""
    known = np.isfinite(x).all(1)
    shares = [variance_explained(x[known & (half == h)], label[known & (half == h)]) for h in (0, 1)]
    measured = [share for share in shares if share is not None]
    return float(np.mean(measured)) if measured else None


def variance_explained(x: Array, label: NDArray[np.object_]) -> float | None:
    """ε² = 1 − (SS_within/(n − k))/(SS_total/(n − 1)), averaged over features: 1 all, 0 none, below it chance.

    Unlike η² it is 0 on average where labels mean nothing, however few observations each has. Source: Kelley 1935.
    x (n, d), label (n,) of k levels; None for one level, or fewer than two observations a level.
    """
    levels, number = np.unique(label, return_inverse=True)
    n, k = len(x), len(levels)
    if k < 2 or n < 2 * k:
        return None
    total = np.square(x - x.mean(0)).sum(0)
    mean = np.stack([x[number == i].mean(0) for i in range(k)])
    within = np.square(x - mean[number]).sum(0)
    varies = total > LEAST * n
    return float(np.mean(1 - (within[varies] / (n - k)) / (total[varies] / (n - 1)))) if varies.any() else None
