"""DiT: a transformer on image patches, steered by adaLN-Zero in every block, for any height, width and channels.

Source: Peebles & Xie 2023 (arXiv 2212.09748). The four switches of MiT (Jones et al. 2026, arXiv 2603.26790) are
constructor arguments: `projection_dropout`, `long_skips`, `rms_norm`, and the condition encoder itself. Three more of
later transformers: `qk_norm`, `swiglu`, `rotary`. Each is independent of the others, and off by default.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from virtassay.networks.layers import (
    FiLM,
    PixelHead,
    SwiGLU,
    TimeEmbedding,
    head_size,
    modulate_tokens,
    patch_grid,
    require_width,
    rotary_positions,
    rotate,
    sincos_positions,
)
from virtassay.schema import Condition


class HeadNorm(nn.RMSNorm):
    """RMSNorm of each query or key (n, heads, tokens, d), in float32 whatever type it comes in.

    It bounds the logits of attention, whose growth makes large transformers diverge.
    Source: Dehghani et al. 2023 (arXiv 2302.05442), with RMSNorm for LayerNorm.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class Block(nn.Module):
    """x ← x + g₁ attention(m₁(norm x)), x ← x + g₂ mlp(m₂(norm x)); shifts, scales and gates g come from FiLM.

    (n, tokens, d) tokens and (n, d) vectors → tokens; `rotation` (rotary_positions) turns queries and keys.
    Raises ValueError where `heads` do not divide `width`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        rms_norm: bool = False,
        projection_dropout: float = 0.0,
        qk_norm: bool = False,
        swiglu: bool = False,
    ) -> None:
        super().__init__()
        norm = nn.RMSNorm if rms_norm else nn.LayerNorm
        size = head_size(width, heads)
        self.heads = heads
        self.norm1 = norm(width, eps=1e-6, elementwise_affine=False)
        self.norm2 = norm(width, eps=1e-6, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = HeadNorm(size, eps=1e-6) if qk_norm else nn.Identity()
        self.k_norm = HeadNorm(size, eps=1e-6) if qk_norm else nn.Identity()
        self.project = nn.Linear(width, width)
        self.dropout = nn.Dropout(projection_dropout)
        self.mlp = SwiGLU(width) if swiglu else _mlp(width)
        self.film = FiLM(width, width, 6)

    def forward(self, x: Tensor, vector: Tensor, rotation: Tensor | None = None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.film(vector)
        x = x + gate1[:, None] * self._attend(modulate_tokens(self.norm1(x), shift1, scale1), rotation)
        return x + gate2[:, None] * self.mlp(modulate_tokens(self.norm2(x), shift2, scale2))

    def _attend(self, x: Tensor, rotation: Tensor | None) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "n t (three h d) -> three n h t d", three=3, h=self.heads)
        q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.dropout(self.project(rearrange(out, "n h t d -> n t (h d)")))


class DiT(nn.Module):
    """A Velocity: (n, c, h, w) images, (n,) times and n conditions → (n, c, h, w).

    image_shape: (c, h, w), h and w divisible by `patch`. `refine` > 0 lets neighbouring
    patches overlap in the output (PixelHead), so that no grid of patches shows in the picture. `rotary` positions are
    relative, and take the place of those added to the patches. `average`: it predicts the mean velocity over
    [t, t + step]. Raises ValueError on sizes that do not fit one another.
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
        qk_norm: bool = False,
        swiglu: bool = False,
        rotary: bool = False,
        refine: int = 0,
        average: bool = False,
    ) -> None:
        super().__init__()
        require_width(condition, width)
        channels = image_shape[0]
        self.grid = patch_grid(image_shape, patch)
        self.condition = condition
        self.mean_velocity = average
        self.time = TimeEmbedding(width, average=average)
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.position: Tensor | None
        self.rotation: Tensor | None
        rotation = rotary_positions(self.grid, head_size(width, heads)) if rotary else None
        self.register_buffer("position", None if rotary else sincos_positions(self.grid, width), persistent=False)
        self.register_buffer("rotation", rotation, persistent=False)
        self.blocks = nn.ModuleList(
            Block(
                width, heads, rms_norm=rms_norm, projection_dropout=projection_dropout, qk_norm=qk_norm, swiglu=swiglu
            )
            for _ in range(depth)
        )
        n_skips = depth // 2 if long_skips else 0
        self.skips = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(n_skips))
        self.skip_norm = nn.RMSNorm(2 * width, elementwise_affine=False)
        self.norm = (nn.RMSNorm if rms_norm else nn.LayerNorm)(width, eps=1e-6, elementwise_affine=False)
        self.film = FiLM(width, width, 2)
        self.head = PixelHead(width, channels, patch, refine)

    def forward(self, x: Tensor, t: Tensor, condition: Condition, step: Tensor | None = None) -> Tensor:
        vector = self.time(t, step) + self.condition(condition)
        tokens = rearrange(self.embed(x), "n d h w -> n (h w) d")
        if self.position is not None:
            tokens = tokens + self.position
        shallow: list[Tensor] = []
        first_skipped = len(self.blocks) - len(self.skips)
        for number, block in enumerate(self.blocks):
            if number >= first_skipped:
                joined = torch.cat([tokens, shallow.pop()], dim=-1)
                tokens = self.skips[number - first_skipped](self.skip_norm(joined))
            tokens = block(tokens, vector, self.rotation)
            if number < len(self.skips):
                shallow.append(tokens)
        shift, scale = self.film(vector)
        tokens = modulate_tokens(self.norm(tokens), shift, scale)
        return self.head(rearrange(tokens, "n (h w) d -> n d h w", h=self.grid[0]), x)


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
