"""U-Net: residual blocks of convolutions at several resolutions, each steered by FiLM, with skips across.

Source: Dhariwal & Nichol 2021 (arXiv 2105.05233), without its class-specific parts and with zero-started gates.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from virtassay.flow.traits import trait
from virtassay.networks.layers import FiLM, PixelHead, TimeEmbedding, from_zero, head_size, modulate_maps, require_width
from virtassay.schema import Condition


class ResBlock(nn.Module):
    """x ← skip(x) + g · conv(silu(m(norm(conv(silu(norm x)))))); shift, scale and gate g come from FiLM."""

    def __init__(self, inputs: int, outputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_groups(inputs), inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(_groups(outputs), outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.film = FiLM(width, outputs, 3)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:  # (n, inputs, h, w), (n, width)
        shift, scale, gate = self.film(vector)
        hidden = self.conv1(nn.functional.silu(self.norm1(x)))
        hidden = modulate_maps(self.norm2(hidden), shift, scale)
        hidden = self.conv2(self.dropout(nn.functional.silu(hidden)))
        return self.skip(x) + rearrange(gate, "n d -> n d 1 1") * hidden


class Attention(nn.Module):
    """Self-attention over the pixels of a map (n, channels, h, w), added to it; zero at the start.

    `groups` of channels are normalised together. Raises ValueError where `heads` do not divide `channels`.
    """

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        head_size(channels, heads)
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = from_zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        height = x.shape[-2]
        q, k, v = rearrange(self.qkv(self.norm(x)), "n (three m d) h w -> three n m (h w) d", three=3, m=self.heads)
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.project(rearrange(out, "n m (h w) d -> n (m d) h w", h=height))


class AttendedBlock(nn.ModuleList):
    """A residual block, and the attention (or nothing) after it."""

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        residual, attention = self
        return attention(residual(x, vector))


class UNet(nn.Module):
    """A Velocity: (n, c, h, w) images, (n,) times and n conditions → (n, c, h, w).

    channels: of the first level; level i has channels × multipliers[i] at 1/2^i of its size. Attention at the last
    `attention_levels` levels. width: of the embedded time, by default that of the condition. `patch` > 1 works on
    overlapping patches of that many pixels (`refine` as in PixelHead): on a CPU the layers at full size are what takes
    the time. h and w must be divisible by patch · 2^(levels − 1). `average`: it predicts the mean velocity over
    [t, t + step]. Raises ValueError on sizes that do not fit one another.
    """

    def __init__(
        self,
        *,
        image_shape: Sequence[int],  # (c, h, w)
        condition: nn.Module,
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        width: int | None = None,
        attention_levels: int = 1,
        heads: int = 4,
        dropout: float = 0.0,
        patch: int = 1,
        refine: int = 0,
        average: bool = False,
    ) -> None:
        super().__init__()
        width = width or int(trait(condition, "width"))
        require_width(condition, width)
        image_channels, height, breadth = image_shape
        levels = [channels * multiplier for multiplier in multipliers]
        factor = patch * 2 ** (len(levels) - 1)
        if height % factor or breadth % factor:
            raise ValueError(
                f"images of {height}×{breadth} px cannot be cut into patches of {patch} and halved {len(levels) - 1} "
                f"times: their sides must be divisible by {factor}. Use fewer network.multipliers, or prepare the "
                "images at another size."
            )
        self.condition = condition
        self.mean_velocity = average
        self.time = TimeEmbedding(width, average=average)
        self.stem = nn.Conv2d(image_channels, levels[0], patch + 2, stride=patch, padding=1)

        def block(inputs: int, outputs: int, level: int) -> AttendedBlock:
            attend = level >= len(levels) - attention_levels
            attention = Attention(outputs, heads, _groups(outputs)) if attend else nn.Identity()
            return AttendedBlock([ResBlock(inputs, outputs, width, dropout), attention])

        self.down = nn.ModuleList()
        self.shrink = nn.ModuleList()
        now, skips = levels[0], [levels[0]]
        for level, size in enumerate(levels):
            stage = nn.ModuleList()
            for _ in range(blocks):
                stage.append(block(now, size, level))
                now = size
                skips.append(now)
            self.down.append(stage)
            last = level == len(levels) - 1
            self.shrink.append(nn.Identity() if last else nn.Conv2d(now, now, 3, stride=2, padding=1))
        self.middle = block(now, now, len(levels) - 1)
        self.up = nn.ModuleList()
        self.grow = nn.ModuleList()
        for level, size in reversed(list(enumerate(levels))):
            stage = nn.ModuleList()
            for _ in range(blocks):
                stage.append(block(now + skips.pop(), size, level))
                now = size
            self.up.append(stage)
            # convolve, then double: a quarter of the work of the usual order, and fewer channels to carry up
            self.grow.append(nn.Conv2d(now, levels[level - 1], 3, padding=1) if level else nn.Identity())
            now = levels[max(level - 1, 0)]
        self.norm = nn.GroupNorm(_groups(now + levels[0]), now + levels[0])
        self.head = PixelHead(now + levels[0], image_channels, patch, refine)

    def forward(self, x: Tensor, t: Tensor, condition: Condition, step: Tensor | None = None) -> Tensor:
        vector = self.time(t, step) + self.condition(condition)
        image, x = x, self.stem(x)
        skips = [x]
        for stage, shrink in zip(self.down, self.shrink, strict=True):
            for block in stage.children():
                x = block(x, vector)
                skips.append(x)
            x = shrink(x)
        x = self.middle(x, vector)
        for stage, grow in zip(self.up, self.grow, strict=True):
            for block in stage.children():
                x = block(torch.cat([x, skips.pop()], dim=1), vector)
            if isinstance(grow, nn.Conv2d):
                x = nn.functional.interpolate(grow(x), scale_factor=2, mode="nearest")
        x = torch.cat([x, skips.pop()], dim=1)
        return self.head(nn.functional.silu(self.norm(x)), image)


def _groups(channels: int) -> int:
    """Return the largest number of groups up to 8 that divides the channels."""
    return max(groups for groups in range(1, 9) if channels % groups == 0)
