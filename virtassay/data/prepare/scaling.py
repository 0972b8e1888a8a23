"""Scaling: raw intensities → the stored integers, one range for each channel of the whole data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Scaling(Protocol):
    """Choose the limits (c, 2) that become 0 and the largest stored integer, from control images (n, c, h, w)."""

    def limits(self, controls: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Percentile:
    """From the `low` to the `high` percentile of each channel over the training split's controls, times `headroom`.

    Controls, so that a bright treatment does not change its own scale; the training split, so that nothing is learned
    from the images that judge. The headroom keeps treated cells that are brighter than any control from being clipped.
    """

    low: float = 0.1
    high: float = 99.9
    headroom: float = 1.5

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise ValueError(f"percentiles need 0 ≤ low < high ≤ 100, got low={self.low}, high={self.high}.")
        if self.headroom < 1:
            raise ValueError(f"headroom={self.headroom} would clip the controls: give 1 or more.")

    def limits(self, controls: np.ndarray) -> np.ndarray:
        if np.issubdtype(controls.dtype, np.floating):
            raise ValueError(
                f"the images are {controls.dtype}, whose range is unknown: give one by scaling={{_target_: "
                "virtassay.data.prepare.Fixed, low: [...], high: [...]} (a value for each channel)."
            )
        limits = np.percentile(controls, [self.low, self.high], axis=(0, 2, 3)).T
        flat = np.flatnonzero(limits[:, 1] <= limits[:, 0])
        if len(flat):
            raise ValueError(f"channel(s) {flat.tolist()} are constant in the training controls: is a stain missing?")
        return np.stack([limits[:, 0], limits[:, 0] + self.headroom * (limits[:, 1] - limits[:, 0])], axis=1)


@dataclass(frozen=True)
class Fixed:
    """Given limits, one pair for each channel (or one for all): low becomes 0, high the largest stored integer."""

    low: float | Sequence[float]
    high: float | Sequence[float]

    def limits(self, controls: np.ndarray) -> np.ndarray:
        n, limits = controls.shape[1], f"low={self.low}, high={self.high}"
        try:
            low, high = (np.broadcast_to(np.asarray(value, float), (n,)) for value in (self.low, self.high))
        except ValueError:
            raise ValueError(f"scaling gives {limits} for {n} channels: one value each.") from None
        if not (low < high).all():
            raise ValueError(f"scaling needs low < high in each channel, got {limits}.")
        return np.stack([low, high], axis=1)


def rescale(images: np.ndarray, limits: np.ndarray, dtype: str) -> np.ndarray:
    """Map limits (c, 2) to 0 … max of `dtype`, clip what lies outside and round: (n, c, h, w) stored integers."""
    levels = np.iinfo(dtype).max
    low, high = (limits[:, i][None, :, None, None] for i in (0, 1))
    return (((images - low) / (high - low)).clip(0, 1) * levels).round().astype(dtype)
