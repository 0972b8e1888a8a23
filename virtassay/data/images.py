"""Images between how they are stored (uint8, uint16) and what a network sees (float32); augmentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

_LEVELS = {torch.uint8: 255, torch.uint16: 65535}


@dataclass(frozen=True)
class Normalisation:
    """model = (u − mean) / spread for each channel, with u = 2 · stored / max − 1 in [−1, 1].

    Mean 0 and spread 1 is the published x / 127.5 − 1. Fluorescence is mostly dark background, u ≈ −0.8 ± 0.2, which
    unit noise drowns until t ≈ 0.8: standardised on the training images, a flow spends its times where cells take
    shape.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def identity(cls, channels: int) -> Self:
        """Keep [−1, 1], as published."""
        return cls((0.0,) * channels, (1.0,) * channels)

    @classmethod
    def of(cls, images: np.ndarray) -> Self:
        """Standardise by the mean and standard deviation of each channel of stored images (n, c, h, w)."""
        scaled = images.astype(np.float64) * (2 / np.iinfo(images.dtype).max) - 1
        spread = scaled.std((0, 2, 3))
        if not (spread > 0).all():
            raise ValueError(f"channel(s) {np.flatnonzero(spread == 0).tolist()} are constant in the training images.")
        return cls(tuple(scaled.mean((0, 2, 3)).tolist()), tuple(spread.tolist()))

    def to_model(self, images: Tensor) -> Tensor:
        """Scale stored integers (n, c, h, w) to what the network sees."""
        if images.dtype not in _LEVELS:
            raise ValueError(f"stored images are uint8 or uint16, got {images.dtype}.")
        scaled = images.float() * (2 / _LEVELS[images.dtype]) - 1
        return (scaled - _channels(self.mean, scaled)) / _channels(self.spread, scaled)

    def to_stored(self, images: Tensor, dtype: torch.dtype = torch.uint8) -> Tensor:
        """Round what the network made to stored integers, clamping what lies outside: the inverse of `to_model`."""
        levels = _LEVELS[dtype]
        scaled = images.float() * _channels(self.spread, images) + _channels(self.mean, images)
        return ((scaled + 1) * (levels / 2)).round().clamp(0, levels).to(dtype)

    def dequantise(self, images: Tensor, width: float) -> Tensor:
        """Add U(0, width) on the [−1, 1] scale, so that the steps of 8 bits are no spikes. Jones 2026 uses 1/128."""
        return images + width * torch.rand_like(images) / _channels(self.spread, images) if width else images


def flip(images: Tensor) -> Tensor:
    """Mirror each image (n, c, h, w) left-right and up-down, each with probability ½: a well has no "up"."""
    for axis in (2, 3):
        chosen = torch.rand(len(images), device=images.device) < 0.5
        images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    return images


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None, None]
