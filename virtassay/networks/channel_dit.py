"""A DiT that reads and paints any of the stains it knows: each channel has patches of its own, named by their stain.

Source: ChannelViT, Bao et al. 2023 (arXiv 2309.16108): one patch embedding for all channels, a learned one for each.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from virtassay.networks.dit import Block
from virtassay.networks.layers import (
    FiLM,
    PixelHead,
    TimeEmbedding,
    modulate_tokens,
    patch_grid,
    require_width,
    sincos_positions,
)
from virtassay.schema import Condition


class ChannelDiT(nn.Module):
    """A Velocity: (n, c, h, w) images of any c stains, (n,) times and n conditions → (n, c, h, w).

    image_shape: (c, h, w) with all the stains of the vocabulary, h and w divisible by `patch`. `condition.stain` (n, c)
    says what each channel of x shows; None: all of them, in their order. Permuting channels and stains permutes the
    output. There are c·h·w / patch² tokens, so attention takes c² times the work of a DiT's. `refine` as in PixelHead.
    `average`: it predicts the mean velocity over [t, t + step].
    Raises ValueError on sizes that do not fit one another, and on channels without a stain.
    """

    any_channels: ClassVar[bool] = True

    def __init__(
        self,
        *,
        image_shape: Sequence[int],  # (c, h, w)
        condition: nn.Module,
        patch: int,
        depth: int,
        width: int,
        heads: int,
        projection_dropout: float = 0.0,
        refine: int = 0,
        average: bool = False,
    ) -> None:
        super().__init__()
        require_width(condition, width)
        self.grid = patch_grid(image_shape, patch)
        self.condition = condition
        self.mean_velocity = average
        self.time = TimeEmbedding(width, average=average)
        self.embed = nn.Conv2d(1, width, patch, stride=patch)
        self.embed_stain = nn.Embedding(image_shape[0], width)
        nn.init.normal_(self.embed_stain.weight, std=0.5**0.5)  # the size of the sines and cosines it is added to
        self.position: Tensor
        self.register_buffer("position", sincos_positions(self.grid, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, projection_dropout=projection_dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.film = FiLM(width, width, 2)
        self.head = PixelHead(width, 1, patch, refine)

    def forward(self, x: Tensor, t: Tensor, condition: Condition, step: Tensor | None = None) -> Tensor:
        n, channels = x.shape[:2]
        vector = self.time(t, step) + self.condition(condition)
        stain = self.embed_stain(self._stains(x, condition))  # (n, c, d)
        single = rearrange(x, "n c h w -> (n c) 1 h w")
        patches = rearrange(self.embed(single), "(n c) d h w -> n c (h w) d", n=n) + self.position + stain[:, :, None]
        tokens = rearrange(patches, "n c patches d -> n (c patches) d")
        for block in self.blocks:
            tokens = block(tokens, vector)
        shift, scale = self.film(vector)
        tokens = modulate_tokens(self.norm(tokens), shift, scale)
        maps = rearrange(tokens, "n (c h w) d -> (n c) d h w", c=channels, h=self.grid[0])
        return rearrange(self.head(maps, single), "(n c) 1 h w -> n c h w", n=n)

    def _stains(self, x: Tensor, condition: Condition) -> Tensor:
        known = self.embed_stain.num_embeddings
        if condition.stain is not None:
            if condition.stain.shape != x.shape[:2]:
                raise ValueError(
                    f"condition.stain is {tuple(condition.stain.shape)} for images {tuple(x.shape)}: give one row of "
                    f"the vocabulary's {known} channels for each channel of each image."
                )
            return condition.stain
        if x.shape[1] != known:
            raise ValueError(
                f"images with {x.shape[1]} of {known} channels need condition.stain, which says what each shows."
            )
        return torch.arange(known, device=x.device).expand(len(x), -1)
