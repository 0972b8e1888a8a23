"""A velocity field: v(x, t, condition) = dx/dt.

A network, a guided network and a closed form all have this one signature, so that every solver, objective and test
takes any of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Velocity(Protocol):
    """Map images `x` (n, ...), times `t` (n,) in [0, 1] and conditions of n images to dx/dt, shaped like `x`."""

    def __call__(self, x: Tensor, t: Tensor, condition: Any, /) -> Tensor: ...


@runtime_checkable
class MeanVelocity(Protocol):
    """A velocity that also takes a `step` (n,) of time: the mean of dx/dt over [t, t + step], dx/dt itself at 0."""

    def __call__(self, x: Tensor, t: Tensor, condition: Any, step: Tensor, /) -> Tensor: ...


@dataclass
class Counted:
    """A velocity that counts its calls: NFE, the number of network calls for each image, guidance included."""

    velocity: Callable[..., Tensor]  # of either kind, as in all that wraps a velocity
    calls: int = 0

    def __call__(self, x: Tensor, t: Tensor, condition: Any, *step: Tensor) -> Tensor:
        self.calls += 1
        return self.velocity(x, t, condition, *step)


def expand_time(t: Tensor, like: Tensor) -> Tensor:
    """Reshape times (n,) to (n, 1, ..., 1), so that they broadcast over images shaped like `like`."""
    return t.reshape(-1, *[1] * (like.ndim - 1))


def curvature(
    velocity: Velocity, x0: Float[Tensor, "n *shape"], condition: Any, times: Float[Tensor, " k"]
) -> Float[Tensor, ""]:
    """∫ E‖v(x_t, t) − (x_1 − x_0)‖² dt / E‖x_1 − x_0‖² along Euler's solution: 0 where every trajectory is straight.

    Source: Liu et al. 2023 (arXiv 2209.03003), eq. 7, made relative to the way that is gone.
    """
    x = x0
    slopes: list[tuple[Tensor, Tensor]] = []
    for t, after in pairwise(times.to(x0)):
        slope = velocity(x, t.expand(len(x)), condition).to(x)
        slopes.append((after - t, slope))
        x = x + (after - t) * slope
    way = x - x0
    bent = torch.stack([h * (slope - way).square().mean() for h, slope in slopes]).sum()
    return bent / way.square().mean()
