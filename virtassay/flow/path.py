"""Paths: how x_t goes from the source x0 (t = 0) to the target x1 (t = 1), and the velocity to learn on the way.

Every path is a mix x_t = a(t) x0 + b(t) x1 + c(t) ε with ε ~ N(0, I), and its velocity is u = a' x0 + b' x1 + c' ε.
Source of this form: stochastic interpolants, Albergo et al. 2023 (arXiv 2303.08797).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from virtassay.flow.velocity import expand_time


class Mix(NamedTuple):
    """The factors of x0, x1 and ε at times (n,), or their derivatives."""

    x0: Tensor
    x1: Tensor
    noise: Tensor


class PathSample(NamedTuple):
    """A point of a path: the network's input `x_t` and the `velocity` it shall predict, both shaped like x1."""

    x_t: Tensor
    velocity: Tensor


@runtime_checkable
class Path(Protocol):
    """a, b, c at times (n,) in [0, 1], and their derivatives; `needs_noise` where c is not 0.

    `linear = True` beside it says that a = 1 − t, b = t and c = 0, which some solvers need (`from_noise`).
    """

    needs_noise: ClassVar[bool]

    def mix(self, t: Tensor) -> Mix: ...
    def rate(self, t: Tensor) -> Mix: ...


@dataclass(frozen=True)
class Linear:
    """x_t = (1 − t) x0 + t x1, u = x1 − x0.

    Source: Liu et al. 2023 (arXiv 2209.03003), Lipman et al. 2023 (arXiv 2210.02747), eq. 22 with σ_min = 0.
    """

    needs_noise: ClassVar[bool] = False
    linear: ClassVar[bool] = True

    def mix(self, t: Float[Tensor, " n"]) -> Mix:
        return Mix(1 - t, t, torch.zeros_like(t))

    def rate(self, t: Float[Tensor, " n"]) -> Mix:
        ones = torch.ones_like(t)
        return Mix(-ones, ones, torch.zeros_like(t))


@dataclass(frozen=True)
class Trigonometric:
    """x_t = cos(πt/2) x0 + sin(πt/2) x1: variance-preserving where x0 and x1 are independent and of unit variance.

    Source: Albergo & Vanden-Eijnden 2023 (arXiv 2209.15571), eq. 5.
    """

    needs_noise: ClassVar[bool] = False

    def mix(self, t: Float[Tensor, " n"]) -> Mix:
        angle = t * (math.pi / 2)
        return Mix(angle.cos(), angle.sin(), torch.zeros_like(t))

    def rate(self, t: Float[Tensor, " n"]) -> Mix:
        angle = t * (math.pi / 2)
        return Mix(-angle.sin() * (math.pi / 2), angle.cos() * (math.pi / 2), torch.zeros_like(t))


@dataclass(frozen=True)
class BrownianBridge:
    """x_t = (1 − t) x0 + t x1 + κ √(t (1 − t)) ε.

    u = x1 − x0 + κ (1 − 2t) / (2 √(t (1 − t))) ε grows without bound at both ends, and so does the loss: times are
    kept `margin` away from them. Source: Tong et al. 2024 (arXiv 2307.03672), eq. 8, σ there is κ here.
    """

    kappa: float = 0.5
    margin: float = 0.01
    needs_noise: ClassVar[bool] = True

    def mix(self, t: Float[Tensor, " n"]) -> Mix:
        t = self._inside(t)
        return Mix(1 - t, t, self.kappa * (t * (1 - t)).sqrt())

    def rate(self, t: Float[Tensor, " n"]) -> Mix:
        t = self._inside(t)
        ones = torch.ones_like(t)
        return Mix(-ones, ones, self.kappa * (1 - 2 * t) / (2 * (t * (1 - t)).sqrt()))

    def _inside(self, t: Tensor) -> Tensor:
        return t.clamp(self.margin, 1 - self.margin)


@dataclass(frozen=True)
class SineSquared:
    """x_t = (1 − t) x0 + t x1 + κ sin²(πt) ε, u = x1 − x0 + κ π sin(2πt) ε: noise in the middle, smooth at both ends.

    Source: CellFluxV2 (κ = 1), after the interpolants of Albergo et al. 2023 (arXiv 2303.08797).
    """

    kappa: float = 1.0
    needs_noise: ClassVar[bool] = True

    def mix(self, t: Float[Tensor, " n"]) -> Mix:
        return Mix(1 - t, t, self.kappa * (math.pi * t).sin().square())

    def rate(self, t: Float[Tensor, " n"]) -> Mix:
        ones = torch.ones_like(t)
        return Mix(-ones, ones, self.kappa * math.pi * (2 * math.pi * t).sin())


def interpolate(
    path: Path,
    x0: Float[Tensor, "n *shape"],
    x1: Float[Tensor, "n *shape"],
    t: Float[Tensor, " n"],
    noise: Float[Tensor, "n *shape"] | None = None,
) -> PathSample:
    """Return the points at t of the paths from x0 to x1; `noise` is ε, drawn here where it is needed and not given."""
    if path.needs_noise and noise is None:
        noise = torch.randn_like(x1)

    def mixed(mix: Mix) -> Tensor:
        sum_ = expand_time(mix.x0, x1) * x0 + expand_time(mix.x1, x1) * x1
        return sum_ if noise is None else sum_ + expand_time(mix.noise, x1) * noise

    return PathSample(mixed(path.mix(t)), mixed(path.rate(t)))
