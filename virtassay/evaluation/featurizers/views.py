"""Views: how an image of any number of channels is shown to a network that takes three.

A view maps (n, C, H, W) in [0, 1] to one or more (n, C′, H, W); the network's features of each stand side by side. Its
name goes into the fingerprint.
"""

from collections.abc import Callable

import torch
from torch import Tensor

View = Callable[[Tensor], list[Tensor]]
CELLFLUX_ROWS = ((0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))


def rgb_or_grey(x: Tensor) -> list[Tensor]:
    """Three channels as red, green and blue; with any other number each channel as grey: C views."""
    if x.shape[1] == 3:
        return [x]
    return [x[:, i : i + 1].expand(-1, 3, -1, -1) for i in range(x.shape[1])]


def cellflux_rgb(x: Tensor) -> list[Tensor]:
    """The one RGB view that CellFlux's FID sees: 3 channels as they are, the first 3 of 5, and 6 mixed.

    Six channels become B, G, R, ½(G+B), ½(R+B), ½(R+G); the published code sums and clamps intensities v = 2x − 1, so
    that r = clamp(Σ w x − ½, 0, 1), rounded down to 8 bits: what is dimmer than a quarter in all channels is black.
    Source: Zhang et al. 2025 (arXiv 2502.09775), `convert_6ch_to_3ch` and `eval_loop` of the published code.
    Raises ValueError for any other number of channels.
    """
    channels = x.shape[1]
    if channels not in (3, 5, 6):
        raise ValueError(f"images have {channels} channels; CellFlux's mapping to RGB knows 3, 5 and 6 only.")
    if channels < 6:
        return [x[:, :3]]
    rows = torch.tensor(CELLFLUX_ROWS, dtype=x.dtype, device=x.device)
    mixed = (torch.einsum("nchw,ck->nkhw", x, rows) - 0.5).clamp(0, 1)
    return [(255 * mixed + 1e-3).floor() / 255]  # 1e-3: a grey level that was exact stays itself in float32


def unchanged(x: Tensor) -> list[Tensor]:
    """All channels at once, for a network of as many."""
    return [x]
