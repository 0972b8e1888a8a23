"""Layers that more than one network uses: time, FiLM (the way a condition steers a block), pixels, positions."""

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from einops import rearrange
from torch import Tensor, nn

Layer = TypeVar("Layer", bound=nn.Module)


def from_zero(layer: Layer) -> Layer:
    """Set the weights of a layer to zero, so that at the start of training it returns 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class TimeEmbedding(nn.Module):
    """Embed t in [0, 1] by cos and sin at many frequencies, then a two-layer MLP: (n,) → (n, width).

    With `average` a step h ≥ 0 is embedded by a second one and added, for networks that predict the mean velocity over
    [t, t + h]; no step counts as h = 0. Raises ValueError for a step without `average`.
    Sources: Vaswani et al. 2017 (arXiv 1706.03762); scaled as in Peebles & Xie 2023 (arXiv 2212.09748); the step: Frans
    et al. 2025 (arXiv 2410.12557), Geng et al. 2025 (arXiv 2505.13447).
    """

    def __init__(self, width: int, *, average: bool = False, frequencies: int = 128) -> None:
        super().__init__()
        self.rates: Tensor
        # t lies in [0, 1] where DiT's lies in [0, 1000]: the factor keeps its range of wavelengths
        rates = 1000 * torch.exp(-math.log(10_000) * torch.arange(frequencies) / frequencies)
        self.register_buffer("rates", rates, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.step = TimeEmbedding(width, frequencies=frequencies) if average else None

    def forward(self, t: Tensor, step: Tensor | None = None) -> Tensor:
        angle = t.float()[:, None] * self.rates
        vector = self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1))
        if self.step is not None:
            return vector + self.step(torch.zeros_like(t) if step is None else step)
        if step is not None:
            raise ValueError("this network knows no steps: train it with network.average=true.")
        return vector


class FiLM(nn.Module):
    """Map a condition vector to `n_outputs` modulations of `channels` each, all zero at the start (adaLN-Zero).

    Source: Perez et al. 2018 (arXiv 1709.07871); zero start: Peebles & Xie 2023 (arXiv 2212.09748).
    """

    def __init__(self, width: int, channels: int, n_outputs: int) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.linear = from_zero(nn.Linear(width, n_outputs * channels))

    def forward(self, vector: Tensor) -> tuple[Tensor, ...]:  # n_outputs × (n, channels)
        return self.linear(nn.functional.silu(vector)).chunk(self.n_outputs, dim=-1)


def modulate_tokens(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift on tokens (n, tokens, d), with shift and scale (n, d)."""
    return x * (1 + scale[:, None]) + shift[:, None]


def modulate_maps(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift on maps (n, d, h, w), with shift and scale (n, d)."""
    return x * (1 + rearrange(scale, "n d -> n d 1 1")) + rearrange(shift, "n d -> n d 1 1")


class SwiGLU(nn.Module):
    """W₃ (silu(W₁ x) ⊙ W₂ x), 8/3 as wide inside, so that it has the weights of a two-layer MLP that is 4 as wide.

    Source: Shazeer 2020 (arXiv 2002.05202). (..., width) → (..., width).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 8 * round(width / 3)  # a multiple of 8 suits matrix units
        self.enter = nn.Linear(width, 2 * hidden)
        self.leave = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.enter(x).chunk(2, dim=-1)
        return self.leave(nn.functional.silu(gate) * value)


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
        from_zero(self.unfold if self.paint is None else self.paint)

    def forward(self, maps: Tensor, image: Tensor) -> Tensor:
        fine = nn.functional.pixel_shuffle(self.unfold(maps), self.patch)
        if self.mix is None or self.paint is None:
            return fine
        mixed = self.mix(torch.cat([fine, image.to(fine)], dim=1))
        return self.paint(nn.functional.silu(mixed))


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Return fixed 2-D sine-cosine positions (h·w, width), half the channels for each axis.

    Source: Peebles & Xie 2023 (arXiv 2212.09748). Raises ValueError where `width` is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"positions need a sine and a cosine for each of 2 axes: network.width={width} is no 4·n.")
    rates = 1 / 10_000 ** (torch.arange(width // 4) / (width // 4))
    axes = [torch.arange(length)[:, None] * rates for length in grid]
    rows, columns = (torch.cat([axis.sin(), axis.cos()], dim=-1) for axis in axes)  # (h, width/2), (w, width/2)
    return _on_grid(rows, columns)


def rotary_positions(grid: tuple[int, int], size: int) -> Tensor:
    """Return cos and sin (2, h·w, size/2) of the angles by which `rotate` turns a head of `size` channels.

    Half the pairs of channels turn with the row, half with the column, at 1 to 1/100 radian a patch.
    Sources: Su et al. 2021 (arXiv 2104.09864); axial, with a base of 100: Heo et al. 2024 (arXiv 2403.13298), eq. 8.
    Raises ValueError where `size` is no multiple of 4.
    """
    if size % 4:
        raise ValueError(
            f"rotary positions turn pairs of channels, for each of 2 axes: network.width / network.heads = {size} is "
            "no multiple of 4. Choose other network.heads, or network.rotary=false."
        )
    rates = 1 / 100 ** (torch.arange(size // 4) / (size // 4))
    rows, columns = (torch.arange(length)[:, None] * rates for length in grid)
    angles = _on_grid(rows, columns)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn channel i of queries or keys (n, heads, tokens, d) with channel i + d/2, as a plane, by its token's angle.

    The product of a turned query and a turned key depends on the distance of their tokens alone.
    """
    cos, sin = rotation
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1).to(x.dtype)


def patch_grid(image_shape: Sequence[int], patch: int) -> tuple[int, int]:
    """Return how many patches an image (c, h, w) has along h and w; raises ValueError where pixels are left over."""
    _, height, breadth = image_shape
    if height % patch or breadth % patch:
        raise ValueError(
            f"images of {height}×{breadth} px cannot be cut into patches of {patch}×{patch}: choose "
            "network.patch so that it divides both, or prepare the images at another size."
        )
    return height // patch, breadth // patch


def head_size(width: int, heads: int) -> int:
    """Return the channels of each of `heads` heads of attention; raises ValueError where some are left over."""
    if heads < 1 or width % heads:
        raise ValueError(
            f"network.heads={heads} cannot share {width} channels of attention equally: choose heads that divide them."
        )
    return width // heads


def require_width(condition: nn.Module, width: int) -> None:
    """Raise ValueError where the condition's vectors cannot be added to the embedded time's, of `width`."""
    if condition.width != width:
        raise ValueError(
            f"condition.width={condition.width}, and this network is steered by vectors of {width}: "
            f"set condition.width={width}."
        )


def _on_grid(rows: Tensor, columns: Tensor) -> Tensor:
    """Join what belongs to each row (h, d) and to each column (w, d) for each patch: (h·w, 2d)."""
    down, across = rows[:, None].expand(-1, len(columns), -1), columns[None].expand(len(rows), -1, -1)
    return torch.cat([down, across], dim=-1).flatten(0, 1)
