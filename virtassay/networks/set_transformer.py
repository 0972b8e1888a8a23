"""A transformer on sets of vectors: profiles of wells, embeddings of images, expression of cells, in place of images.

Source: without positions attention treats its tokens as a set, Lee et al. 2019 (arXiv 1810.00825).
"""

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn

from virtassay.networks.dit import Block
from virtassay.networks.layers import FiLM, PixelHead, TimeEmbedding, modulate_tokens, require_width
from virtassay.schema import Condition


class SetTransformer(nn.Module):
    """A Velocity of sets: (n, c, k, 1), k vectors of c features each, (n,) times and n conditions → (n, c, k, 1).

    The vectors of a set are generated together, in no order: permuting them permutes the output. k may differ from call
    to call. `average`: it predicts the mean velocity over [t, t + step].
    Raises ValueError where `image_shape` is not (c, k, 1), or on sizes that do not fit one another.
    """

    def __init__(
        self,
        *,
        image_shape: Sequence[int],  # (c, k, 1)
        condition: nn.Module,
        depth: int,
        width: int,
        heads: int,
        projection_dropout: float = 0.0,
        average: bool = False,
    ) -> None:
        super().__init__()
        features, _, breadth = image_shape
        if breadth != 1:
            raise ValueError(
                f"image_shape={tuple(image_shape)} is that of pictures, and this network takes sets of vectors, stored "
                "as (features, vectors, 1): choose network=dit_s or network=unet_small."
            )
        require_width(condition, width)
        self.condition = condition
        self.mean_velocity = average
        self.time = TimeEmbedding(width, average=average)
        self.embed = nn.Conv2d(features, width, 1)  # of one pixel: the same linear map of each vector
        self.blocks = nn.ModuleList(Block(width, heads, projection_dropout=projection_dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.film = FiLM(width, width, 2)
        self.head = PixelHead(width, features, patch=1, refine=0)

    def forward(self, x: Tensor, t: Tensor, condition: Condition, step: Tensor | None = None) -> Tensor:
        vector = self.time(t, step) + self.condition(condition)
        tokens = rearrange(self.embed(x), "n d k 1 -> n k d")
        for block in self.blocks:
            tokens = block(tokens, vector)
        shift, scale = self.film(vector)
        tokens = modulate_tokens(self.norm(tokens), shift, scale)
        return self.head(rearrange(tokens, "n k d -> n d k 1"), x)
