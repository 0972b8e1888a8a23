"""Images between how they are stored (integers, or float32 vectors) and what a network sees (float32); augmentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from virtassay.data.dataset.joined import JoinedDataset
from virtassay.data.dataset.store import Dataset

_LEVELS = {torch.uint8: 255, torch.uint16: 65535}


@dataclass(frozen=True)
class Normalisation:
    """model = (u − mean) / spread for each channel, with u = 2 · stored / max − 1 in [−1, 1]; float32: u = stored.

    Mean 0 and spread 1 is the published x / 127.5 − 1. Fluorescence is mostly dark background, u ≈ −0.8 ± 0.2, which
    unit noise drowns until t ≈ 0.8: standardised on the training images, a flow spends its times where cells take
    shape. The features of a profile have each their own units: standardised, they weigh the same in the loss.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def identity(cls, channels: int) -> Self:
        """Keep [−1, 1], as published; keep vectors as they are stored."""
        return cls((0.0,) * channels, (1.0,) * channels)

    @classmethod
    def of(cls, images: np.ndarray) -> Self:
        """Standardise by the mean and standard deviation of each channel of stored images (n, c, h, w).

        Raises ValueError with the numbers of constant channels.
        """
        constant = images.max((0, 2, 3)) == images.min((0, 2, 3))  # a computed spread of them may be 1e-17
        if constant.any():
            raise ValueError(f"channel(s) {np.flatnonzero(constant).tolist()} are constant in the training images.")
        scaled = images.astype(np.float64)
        if images.dtype.kind != "f":
            scaled = scaled * (2 / np.iinfo(images.dtype).max) - 1
        return cls(tuple(scaled.mean((0, 2, 3)).tolist()), tuple(scaled.std((0, 2, 3)).tolist()))

    def take(self, stain: Tensor | None) -> "Normalisation":
        """Return that of the channels that `stain` (n, c) names, the same ones for all n images; None: of all."""
        if stain is None:
            return self
        chosen = stain[0].tolist()
        return Normalisation(tuple(self.mean[i] for i in chosen), tuple(self.spread[i] for i in chosen))

    def to_model(self, images: Tensor) -> Tensor:
        """Scale stored images (n, c, h, w) to what the network sees."""
        if images.dtype not in (*_LEVELS, torch.float32):
            raise ValueError(f"stored images are uint8, uint16 or float32, got {images.dtype}.")
        scaled = images.float()
        if images.dtype in _LEVELS:
            scaled = scaled * (2 / _LEVELS[images.dtype]) - 1
        return (scaled - _channels(self.mean, scaled)) / _channels(self.spread, scaled)

    def to_stored(self, images: Tensor, dtype: torch.dtype = torch.uint8) -> Tensor:
        """Undo `to_model`; to integers by rounding and clamping what lies outside, to float32 as it is."""
        scaled = images.float() * _channels(self.spread, images) + _channels(self.mean, images)
        if dtype == torch.float32:
            return scaled
        levels = _LEVELS[dtype]
        return ((scaled + 1) * (levels / 2)).round().clamp(0, levels).to(dtype)

    def dequantise(self, images: Tensor, width: float) -> Tensor:
        """Add U(0, width) on the [−1, 1] scale, so that the steps of 8 bits are no spikes. Jones 2026 uses 1/128.

        float32 has no such steps: vectors are trained with width 0.
        """
        return images + width * torch.rand_like(images) / _channels(self.spread, images) if width else images


def measured(images: Dataset | JoinedDataset, seed: int, most: int = 4096) -> Normalisation:
    """Standardise each channel by its mean and spread over `most` images of each folder that shows it.

    Where several folders show a channel, μ = Σ wₖ μₖ and σ² = Σ wₖ (σₖ² + μₖ²) − μ², weighted by their numbers of
    images. Raises ValueError naming constant channels.
    """
    if isinstance(images, Dataset):
        rows = np.random.default_rng(seed).permutation(len(images))[:most]
        return Normalisation.of(images.images(np.sort(rows)))
    moments = np.zeros((3, len(images.info.channels)))  # Σ n, Σ n μ, Σ n (σ² + μ²)
    for part in images.by_folder():
        try:
            own = measured(part, seed, most)
        except ValueError as error:
            raise ValueError(f"{part.root}: {error}") from error
        mean, spread = np.array(own.mean), np.array(own.spread)
        added = np.stack([np.ones_like(mean), mean, spread**2 + mean**2])
        moments[:, [images.info.channels.index(name) for name in part.info.channels]] += len(part) * added
    mean, square = moments[1:] / moments[0]
    return Normalisation(tuple(mean.tolist()), tuple(np.sqrt(square - mean**2).tolist()))


def flip(images: Tensor) -> Tensor:
    """Mirror each image (n, c, h, w) left-right and up-down, each with probability ½: a well has no "up".

    Of a set of vectors (n, c, k, 1) this turns the order of the k, which means nothing.
    """
    for axis in (2, 3):
        chosen = torch.rand(len(images), device=images.device) < 0.5
        images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    return images


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None, None]
