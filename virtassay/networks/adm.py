"""ADM's U-Net: more blocks on the way up than down, a skip from every layer, dropout, attention at chosen sizes.

Source: Dhariwal & Nichol 2021 (arXiv 2105.05233). CellFlux (Zhang et al. 2025, arXiv 2502.09775) trained it on screens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from virtassay.networks.layers import FiLM, TimeEmbedding, from_zero, modulate_maps, require_width
from virtassay.networks.unet import Attention
from virtassay.schema import Condition

GROUPS = 32  # of every GroupNorm


class ResBlock(nn.Module):
    """x ← skip(x) + conv(dropout(silu(m(norm(conv(silu(norm x))))))), then attention where there are `heads`.

    Shift and scale of m come from FiLM; the last convolution starts at zero. (n, inputs, h, w) → (n, outputs, h, w).
    """

    def __init__(self, inputs: int, outputs: int, width: int, dropout: float, heads: int | None) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.film = FiLM(width, outputs, 2)
        self.norm2 = nn.GroupNorm(GROUPS, outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = from_zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = nn.Identity() if heads is None else Attention(outputs, heads, GROUPS)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        shift, scale = self.film(vector)
        hidden = self.conv1(nn.functional.silu(self.norm1(x)))
        hidden = modulate_maps(self.norm2(hidden), shift, scale)
        hidden = self.conv2(self.dropout(nn.functional.silu(hidden)))
        return self.attention(self.skip(x) + hidden)


class ADM(nn.Module):
    """A Velocity: (n, c, h, w) images, (n,) times and n conditions → (n, c, h, w).

    channels, multipliers: level i has channels × multipliers[i], a multiple of 32, at 1/2^i of the image's size.
    blocks: residual blocks of a level on the way down; one more on the way up. attention_resolutions: the levels with
    attention, by how many times smaller they are (2: half the size); the middle always has it. `learned_resampling`:
    a convolution where maps are halved and doubled; else means and copies of pixels. The condition is
    added to the embedded time, both of `width`, by default 4 × channels. `average`: it predicts the mean velocity over
    [t, t + step]. Raises ValueError on sizes that do not fit one another.
    """

    def __init__(
        self,
        *,
        image_shape: Sequence[int],  # (c, h, w)
        condition: nn.Module,
        channels: int,
        width: int | None = None,
        multipliers: Sequence[int],
        blocks: int,
        attention_resolutions: Sequence[int],
        heads: int = 1,
        dropout: float = 0.0,
        learned_resampling: bool = True,
        average: bool = False,
    ) -> None:
        super().__init__()
        width, levels = width or 4 * channels, [channels * multiplier for multiplier in multipliers]
        require_width(condition, width)
        _check(image_shape, levels, attention_resolutions)
        self.condition = condition
        self.mean_velocity = average
        self.time = TimeEmbedding(width, average=average, frequencies=channels // 2)
        self.stem = nn.Conv2d(image_shape[0], levels[0], 3, padding=1)

        def block(inputs: int, level: int) -> ResBlock:
            attends = 2**level in attention_resolutions
            return ResBlock(inputs, levels[level], width, dropout, heads if attends else None)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        now, skips = levels[0], [levels[0]]
        for level, size in enumerate(levels):
            if level:
                self.down.append(nn.Conv2d(now, now, 3, stride=2, padding=1) if learned_resampling else nn.AvgPool2d(2))
                skips.append(now)
            for _ in range(blocks):
                self.down.append(block(now, level))
                now = size
                skips.append(now)
        middle = [ResBlock(now, now, width, dropout, heads), ResBlock(now, now, width, dropout, None)]
        self.middle = nn.ModuleList(middle)
        for level, size in reversed(list(enumerate(levels))):
            for _ in range(blocks + 1):
                self.up.append(block(now + skips.pop(), level))
                now = size
            if level:
                copies = nn.Upsample(scale_factor=2, mode="nearest")
                convolved = nn.Sequential(copies, nn.Conv2d(now, now, 3, padding=1)) if learned_resampling else copies
                self.up.append(convolved)
        self.norm = nn.GroupNorm(GROUPS, now)
        self.head = from_zero(nn.Conv2d(now, image_shape[0], 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, condition: Condition, step: Tensor | None = None) -> Tensor:
        vector = self.time(t, step) + self.condition(condition)
        x = self.stem(x)
        skips = [x]
        for layer in self.down:
            x = layer(x, vector) if isinstance(layer, ResBlock) else layer(x)
            skips.append(x)
        for layer in self.middle:
            x = layer(x, vector)
        for layer in self.up:
            x = layer(torch.cat([x, skips.pop()], dim=1), vector) if isinstance(layer, ResBlock) else layer(x)
        return self.head(nn.functional.silu(self.norm(x)))


def _check(image_shape: Sequence[int], levels: Sequence[int], attention_resolutions: Sequence[int]) -> None:
    _, height, breadth = image_shape
    factors = [2**level for level in range(len(levels))]
    if height % factors[-1] or breadth % factors[-1]:
        raise ValueError(
            f"images of {height}×{breadth} px cannot be halved {len(levels) - 1} times: their sides must be divisible "
            f"by {factors[-1]}. Use fewer network.multipliers, or prepare the images at another size."
        )
    if any(size % GROUPS for size in levels):
        raise ValueError(
            f"levels of {list(levels)} channels cannot be normalised in {GROUPS} groups: choose network.channels and "
            f"network.multipliers whose products are multiples of {GROUPS}."
        )
    if not set(attention_resolutions) <= set(factors):
        raise ValueError(
            f"network.attention_resolutions={list(attention_resolutions)} names a level that is not there: with "
            f"{len(levels)} network.multipliers, maps are {factors} times smaller than the image."
        )
