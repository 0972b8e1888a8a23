"""Images between how they are stored (uint8, uint16) and what a network sees (float32 in [−1, 1]); augmentation."""

import torch
from torch import Tensor

_LEVELS = {torch.uint8: 255, torch.uint16: 65535}


def to_model(images: Tensor) -> Tensor:
    """Scale stored integers to floats: 2 x / max − 1, so that 0 … max becomes −1 … 1 (for uint8: x / 127.5 − 1)."""
    if images.dtype not in _LEVELS:
        raise ValueError(f"stored images are uint8 or uint16, got {images.dtype}.")
    return images.float() * (2 / _LEVELS[images.dtype]) - 1


def to_stored(images: Tensor, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Round floats in [−1, 1] to stored integers, clamping what lies outside: the inverse of `to_model`."""
    levels = _LEVELS[dtype]
    return ((images.float() + 1) * (levels / 2)).round().clamp(0, levels).to(dtype)


def flip(images: Tensor) -> Tensor:
    """Mirror each image (n, c, h, w) left-right and up-down, each with probability ½: a well has no "up"."""
    for axis in (2, 3):
        chosen = torch.rand(len(images), device=images.device) < 0.5
        images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    return images


def dequantise(images: Tensor, width: float) -> Tensor:
    """Add U(0, width) on the [−1, 1] scale, so that the steps of 8 bits are no spikes. Jones 2026 uses 1/128."""
    return images + width * torch.rand_like(images) if width else images
