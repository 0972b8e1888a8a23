"""Paths: how x_t goes from the source x0 (t = 0) to the target x1 (t = 1), and the velocity to learn on the way."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from virtassay.flow.velocity import expand_time


class PathSample(NamedTuple):
    """A point of a path: the network's input `x_t` and the `velocity` it shall predict, both shaped like x1."""

    x_t: Tensor
    velocity: Tensor


@runtime_checkable
class Path(Protocol):
    """Map sources and targets (n, ...) and times (n,) to the point of the path."""

    def __call__(self, x0: Tensor, x1: Tensor, t: Tensor) -> PathSample: ...


@dataclass(frozen=True)
class Linear:
    """x_t = (1 − t) x0 + t x1, velocity u = x1 − x0.

    Source: Liu et al. 2023 (arXiv 2209.03003), Lipman et al. 2023 (arXiv 2210.02747), eq. 22 with σ_min = 0.
    """

    def __call__(
        self, x0: Float[Tensor, "n *shape"], x1: Float[Tensor, "n *shape"], t: Float[Tensor, " n"]
    ) -> PathSample:
        time = expand_time(t, x1)
        return PathSample(x_t=(1 - time) * x0 + time * x1, velocity=x1 - x0)
