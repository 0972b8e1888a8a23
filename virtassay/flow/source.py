"""The source x0, where a flow begins at t = 0.

A source turns standard normal noise and (if it wants one) a control image into x0. Noise comes in from outside, so
that the same object serves training, where a step's seed draws it, and sampling, where each image has its own seed.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Source(Protocol):
    """Map noise ~ N(0, I) and control images of the same batch, both (n, ...), to the source x0."""

    needs_control: ClassVar[bool]

    def __call__(self, noise: Tensor, control: Tensor | None) -> Tensor: ...


@dataclass(frozen=True)
class Noise:
    """x0 = ε, ε ~ N(0, I): noise → data. Source: Lipman et al. 2023 (arXiv 2210.02747)."""

    needs_control: ClassVar[bool] = False

    def __call__(self, noise: Float[Tensor, "n *shape"], control: Tensor | None) -> Float[Tensor, "n *shape"]:
        return noise


def seeded_noise(seeds: Int[Tensor, " n"], shape: tuple[int, ...]) -> Float[Tensor, "n *shape"]:
    """Draw ε_i ~ N(0, I) of `shape` for each image from its own seed, whatever else is in the minibatch.

    Drawn on the CPU, because generators differ between devices: an image is named by its seed alone.
    """
    draws = [torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.stack(draws) if draws else torch.empty(0, *shape)
