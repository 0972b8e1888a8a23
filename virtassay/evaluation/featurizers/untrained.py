"""Random convolutional networks: local filters that nobody trained, so nobody trained against them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from virtassay.evaluation.featurizers.features import (
    Features,
    Images,
    check_images,
    digest,
    in_minibatches,
    way_of_looking,
)


@dataclass(frozen=True)
class UntrainedNetwork:
    """Local structure as random networks see it, one network a seed, side by side: d = 2 Σ widths · seeds.

    Three 3×3 convolutions with stride 2 (He normal weights from the seed) and ReLU; the mean and s.d. over space of
    every layer's maps. Several seeds, for what one draw of filters sees may be luck.
    Source: Ulyanov et al. 2018 (arXiv 1711.10925) on what such networks already see.
    """

    name: str = "untrained_network"
    seeds: tuple[int, ...] = (0, 1, 2)
    widths: tuple[int, ...] = (32, 64, 128)

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds are {list(self.seeds)}; give one or more, each once.")

    def fingerprint(self) -> dict[str, Any]:
        weights = [weight for seed in self.seeds for weight in self._weights(3, seed)]
        return way_of_looking(
            "all channels into the first convolution",
            "[-1, 1]",
            weights=f"seeds {list(self.seeds)}, sha256 (3 channels) {digest(weights)}",
            widths=list(self.widths),
        )

    def __call__(self, images: Images) -> Features:
        check_images(images)
        networks = [self._weights(images.shape[1], seed) for seed in self.seeds]
        return in_minibatches(images, lambda x: torch.cat([_ask(network, x) for network in networks], 1), self.name)

    def _weights(self, channels: int, seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        sizes = (channels, *self.widths)
        return [
            torch.randn(out, into, 3, 3, generator=generator) * (2 / (9 * into)) ** 0.5 for into, out in pairwise(sizes)
        ]


def _ask(weights: list[Tensor], x: Tensor) -> Tensor:
    x = 2 * x - 1
    pooled: list[Tensor] = []
    for weight in weights:
        x = functional.conv2d(x, weight.to(x.device), stride=2, padding=1).relu()
        pooled += [x.mean((2, 3)), x.std((2, 3), correction=0)]
    return torch.cat(pooled, 1)
