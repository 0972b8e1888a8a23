"""Layers that more than one network uses: the time embedding and FiLM, the way a condition steers a block."""

import math

import torch
from einops import rearrange
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    """Embed t in [0, 1] by cos and sin at 128 frequencies, then a two-layer MLP: (n,) → (n, width).

    Source: Vaswani et al. 2017 (arXiv 1706.03762); scaled as in Peebles & Xie 2023 (arXiv 2212.09748).
    """

    def __init__(self, width: int, frequencies: int = 128) -> None:
        super().__init__()
        self.rates: Tensor
        # t lies in [0, 1] where DiT's lies in [0, 1000]: the factor keeps its range of wavelengths
        rates = 1000 * torch.exp(-math.log(10_000) * torch.arange(frequencies) / frequencies)
        self.register_buffer("rates", rates, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        angle = t.float()[:, None] * self.rates
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1))


class FiLM(nn.Module):
    """Map a condition vector to `n_outputs` modulations of `channels` each, all zero at the start (adaLN-Zero).

    Source: Perez et al. 2018 (arXiv 1709.07871); zero start: Peebles & Xie 2023 (arXiv 2212.09748).
    """

    def __init__(self, width: int, channels: int, n_outputs: int) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.linear = nn.Linear(width, n_outputs * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, vector: Tensor) -> tuple[Tensor, ...]:  # n_outputs × (n, channels)
        return self.linear(nn.functional.silu(vector)).chunk(self.n_outputs, dim=-1)


def modulate_tokens(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift on tokens (n, tokens, d), with shift and scale (n, d)."""
    return x * (1 + scale[:, None]) + shift[:, None]


def modulate_maps(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift on maps (n, d, h, w), with shift and scale (n, d)."""
    return x * (1 + rearrange(scale, "n d -> n d 1 1")) + rearrange(shift, "n d -> n d 1 1")


class PixelHead(nn.Module):
    """Turn coarse maps (n, inputs, h, w) and the image they describe (n, c, h·patch, w·patch) into a picture like it.

    `refine` = 0: each coarse pixel is mapped to its own patch, as in DiT. `refine` > 0: to that many maps at full size,
    which 3×3 convolutions with the image beside them turn into pixels; patches then overlap and no grid shows. Its last
    layer starts at zero, so that an untrained network returns exactly 0.
    """

    def __init__(self, inputs: int, channels: int, patch: int, refine: int) -> None:
        super().__init__()
        self.patch = patch
        self.unfold = nn.Conv2d(inputs, (refine or channels) * patch**2, 1)
        self.mix = nn.Conv2d(refine + channels, refine, 3, padding=1) if refine else None
        self.paint = nn.Conv2d(refine, channels, 3, padding=1) if refine else None
        last = self.unfold if self.paint is None else self.paint
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, maps: Tensor, image: Tensor) -> Tensor:
        fine = nn.functional.pixel_shuffle(self.unfold(maps), self.patch)
        if self.mix is None or self.paint is None:
            return fine
        mixed = self.mix(torch.cat([fine, image.to(fine)], dim=1))
        return self.paint(nn.functional.silu(mixed))
