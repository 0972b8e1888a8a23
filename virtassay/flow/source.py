"""The source x0, where a flow begins at t = 0.

A source turns standard normal noise, a uniform number and (if it wants one) a control image into x0. Randomness comes
in from outside, so that the same object serves training, where a step's seed draws it, and sampling, where each image
has its own seed.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from virtassay.flow.velocity import expand_time


@runtime_checkable
class Source(Protocol):
    """Map noise ~ N(0, I) and controls of the same batch, both (n, ...), and `chance` ~ U[0, 1), (n,), to x0."""

    needs_control: ClassVar[bool]

    def __call__(self, noise: Tensor, control: Tensor | None, chance: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Noise:
    """x0 = ε, ε ~ N(0, I): noise → data. Source: Lipman et al. 2023 (arXiv 2210.02747)."""

    needs_control: ClassVar[bool] = False

    def __call__(
        self, noise: Float[Tensor, "n *shape"], control: Float[Tensor, "n *shape"] | None, chance: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        return noise


@dataclass(frozen=True)
class Control:
    """x0 = a control image of the same batch: control → perturbed. Source: Zhang et al. 2025 (arXiv 2502.09775)."""

    needs_control: ClassVar[bool] = True

    def __call__(
        self, noise: Float[Tensor, "n *shape"], control: Float[Tensor, "n *shape"] | None, chance: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        return _required(control)


@dataclass(frozen=True)
class NoisyControl:
    """x0 = control + σ ε with probability p, else the control: the noise fills the space between the control images.

    sigma: in units of the network's input. Source: CellFlux, Zhang et al. 2025 (arXiv 2502.09775), σ = 1, p = ½.
    """

    sigma: float = 1.0
    probability: float = 0.5
    needs_control: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or self.sigma < 0:
            raise ValueError(
                f"a noisy control has sigma ≥ 0 and a probability in [0, 1], got {self.sigma} and {self.probability}."
            )

    def __call__(
        self, noise: Float[Tensor, "n *shape"], control: Float[Tensor, "n *shape"] | None, chance: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        return _required(control) + self.sigma * expand_time((chance < self.probability).to(noise), noise) * noise


def _required(control: Tensor | None) -> Tensor:
    if control is None:
        raise ValueError("this source begins at control images, and none were given.")
    return control


class SeededRandom:
    """Random numbers for n images, each image's from a generator of its own, whatever else is in the minibatch.

    Drawn on the CPU, because generators differ between devices: an image is named by its seed alone.
    """

    def __init__(self, seeds: Int[Tensor, " n"]) -> None:
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def normal(self, shape: tuple[int, ...]) -> Float[Tensor, "n *shape"]:
        """Draw ε_i ~ N(0, I) of `shape` for each image."""
        draws = [torch.randn(shape, generator=generator) for generator in self.generators]
        return torch.stack(draws) if draws else torch.empty(0, *shape)

    def uniform(self) -> Float[Tensor, " n"]:
        """Draw U[0, 1) for each image."""
        return torch.tensor([torch.rand((), generator=generator).item() for generator in self.generators])
