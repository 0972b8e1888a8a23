"""Solvers: carry the source x0 along dx/dt = v(x, t, condition) to the target, over the times of a grid.

Each is one function of one signature, named after its method; `times` (steps + 1,) ascends. The state is float32
whatever the network computes in.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from virtassay.flow.velocity import Velocity

Step = Callable[[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor, Tensor], Tensor]


@runtime_checkable
class Solver(Protocol):
    """Solve for the state at times[-1] from the state x0 at times[0]."""

    def __call__(self, velocity: Velocity, x0: Tensor, condition: Any, times: Tensor) -> Tensor: ...


def euler(
    velocity: Velocity, x0: Float[Tensor, "n *shape"], condition: Any, times: Float[Tensor, " k"]
) -> Float[Tensor, "n *shape"]:
    """x ← x + h v(x, t). Order 1, one call a step."""
    return _solve(lambda v, x, t, h: x + h * v(x, t), velocity, x0, condition, times)


def midpoint(
    velocity: Velocity, x0: Float[Tensor, "n *shape"], condition: Any, times: Float[Tensor, " k"]
) -> Float[Tensor, "n *shape"]:
    """x ← x + h v(x + h/2 v(x, t), t + h/2). Order 2, two calls a step. Source: Hairer et al. 1993, II.1."""
    return _solve(lambda v, x, t, h: x + h * v(x + h / 2 * v(x, t), t + h / 2), velocity, x0, condition, times)


def heun(
    velocity: Velocity, x0: Float[Tensor, "n *shape"], condition: Any, times: Float[Tensor, " k"]
) -> Float[Tensor, "n *shape"]:
    """x ← x + h/2 (v₁ + v₂), v₁ = v(x, t), v₂ = v(x + h v₁, t + h). Order 2, two calls a step.

    Source: Karras et al. 2022 (arXiv 2206.00364), algorithm 1.
    """

    def step(v: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor, h: Tensor) -> Tensor:
        first = v(x, t)
        return x + h / 2 * (first + v(x + h * first, t + h))

    return _solve(step, velocity, x0, condition, times)


def _solve(step: Step, velocity: Velocity, x0: Tensor, condition: Any, times: Tensor) -> Tensor:
    def at(x: Tensor, t: Tensor) -> Tensor:
        return velocity(x, t.to(x).expand(len(x)), condition).to(x)

    x = x0
    for t, after in pairwise(times):
        x = step(at, x, t, (after - t).to(x))
    return x
