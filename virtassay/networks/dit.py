"""DiT: a transformer on image patches, steered by adaLN-Zero in every block, for any height, width and channels.

Source: Peebles & Xie 2023 (arXiv 2212.09748). The four switches of MiT (Jones et al. 2026, arXiv 2603.26790) are
constructor arguments: `projection_dropout`, `long_skips`, `rms_norm`, and the condition encoder itself.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from virtassay.networks.layers import FiLM, PixelHead, TimeEmbedding, modulate_tokens
from virtassay.schema import Condition


class Block(nn.Module):
    """x ← x + g₁ attention(m₁(norm x)), x ← x + g₂ mlp(m₂(norm x)); shifts, scales and gates g come from FiLM."""

    def __init__(self, width: int, heads: int, rms_norm: bool, projection_dropout: float) -> None:
        super().__init__()
        norm = nn.RMSNorm if rms_norm else nn.LayerNorm
        self.heads = heads
        self.norm1 = norm(width, eps=1e-6, elementwise_affine=False)
        self.norm2 = norm(width, eps=1e-6, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.dropout = nn.Dropout(projection_dropout)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.film = FiLM(width, width, 6)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:  # (n, tokens, d), (n, d)
        shift1, scale1, gate1, shift2, scale2, gate2 = self.film(vector)
        x = x + gate1[:, None] * self.attend(modulate_tokens(self.norm1(x), shift1, scale1))
        return x + gate2[:, None] * self.mlp(modulate_tokens(self.norm2(x), shift2, scale2))

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "n t (three h d) -> three n h t d", three=3, h=self.heads)
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.dropout(self.project(rearrange(out, "n h t d -> n t (h d)")))


class DiT(nn.Module):
    """A Velocity: (n, c, h, w) images, (n,) times and n conditions → (n, c, h, w).

    image_shape: (c, h, w), h and w divisible by `patch`. `refine` > 0 lets neighbouring
    patches overlap in the output (PixelHead), so that no grid of patches shows in the picture.
    """

    def __init__(
        self,
        *,
        image_shape: Sequence[int],  # (c, h, w)
        condition: nn.Module,
        patch: int,
        depth: int,
        width: int,
        heads: int,
        long_skips: bool = False,
        rms_norm: bool = False,
        projection_dropout: float = 0.0,
        refine: int = 0,
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        if height % patch or breadth % patch:
            raise ValueError(
                f"images of {height}×{breadth} px cannot be cut into patches of {patch}×{patch}: choose "
                "network.patch so that it divides both, or prepare the images at another size."
            )
        self.patch, self.grid = patch, (height // patch, breadth // patch)
        self.condition = condition
        self.time = TimeEmbedding(width)
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.register_buffer("position", _sincos(self.grid, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, rms_norm, projection_dropout) for _ in range(depth))
        n_skips = depth // 2 if long_skips else 0
        self.skips = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(n_skips))
        self.skip_norm = nn.RMSNorm(2 * width, elementwise_affine=False)
        self.norm = (nn.RMSNorm if rms_norm else nn.LayerNorm)(width, eps=1e-6, elementwise_affine=False)
        self.film = FiLM(width, width, 2)
        self.head = PixelHead(width, channels, patch, refine)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        vector = self.time(t) + self.condition(condition)
        tokens = rearrange(self.embed(x), "n d h w -> n (h w) d") + self.position
        shallow: list[Tensor] = []
        first_skipped = len(self.blocks) - len(self.skips)
        for number, block in enumerate(self.blocks):
            if number >= first_skipped:
                joined = torch.cat([tokens, shallow.pop()], dim=-1)
                tokens = self.skips[number - first_skipped](self.skip_norm(joined))
            tokens = block(tokens, vector)
            if number < len(self.skips):
                shallow.append(tokens)
        shift, scale = self.film(vector)
        tokens = modulate_tokens(self.norm(tokens), shift, scale)
        return self.head(rearrange(tokens, "n (h w) d -> n d h w", h=self.grid[0]), x)


def _sincos(grid: tuple[int, int], width: int) -> Tensor:
    """Return fixed 2-D sine-cosine positions (h·w, width): half the channels for each axis."""
    rates = 1 / 10_000 ** (torch.arange(width // 4) / (width // 4))
    axes = [torch.arange(length)[:, None] * rates for length in grid]
    waves = [torch.cat([axis.sin(), axis.cos()], dim=-1) for axis in axes]  # (h, width/2), (w, width/2)
    rows = waves[0][:, None].expand(-1, grid[1], -1)
    columns = waves[1][None].expand(grid[0], -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)
