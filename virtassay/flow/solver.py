"""Solvers: carry the source x0 along dx/dt = v(x, t, condition) to the target, over the times of a grid.

Each is one function of one signature, named after its method; `times` (steps + 1,) ascends, or descends on the way
back from data to the source. The state is float32 whatever the network computes in. A grid ends the first and the last
step where it says, so that solvers differ in what they do between two times only.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torchdiffeq import odeint  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from virtassay.flow.traits import having
from virtassay.flow.velocity import MeanVelocity, Velocity

Field = Callable[[Tensor, Tensor], Tensor]  # (x, t) → dx/dt
Step = Callable[[Field, Tensor, Tensor, Tensor], Tensor]  # (field, x, t, h) → x at t + h
Draw = Callable[[Tensor], Tensor]  # x → standard normal numbers shaped like x


@runtime_checkable
class Solver(Protocol):
    """Solve for the state at times[-1] from the state x0 at times[0]."""

    def __call__(self, velocity: Velocity, x0: Tensor, condition: Any, times: Tensor) -> Tensor: ...


@runtime_checkable
class MeanSolver(Protocol):
    """A solver along mean velocities, `jump`."""

    def __call__(self, velocity: MeanVelocity, x0: Tensor, condition: Any, times: Tensor) -> Tensor: ...


@having(usual_steps=50)
def euler(
    velocity: Velocity, x0: Float[Tensor, "n *shape"], condition: Any, times: Float[Tensor, " k"]
) -> Float[Tensor, "n *shape"]:
    """x ← x + h v(x, t). Order 1, one call a step."""
    return _solve(lambda v, x, t, h: x + h * v(x, t), velocity, x0, condition, times)


@having(usual_steps=20)
def midpoint(
    velocity: Velocity, x0: Float[Tensor, "n *shape"], condition: Any, times: Float[Tensor, " k"]
) -> Float[Tensor, "n *shape"]:
    """x ← x + h v(x + h/2 v(x, t), t + h/2). Order 2, two calls a step. Source: Hairer et al. 1993, II.1."""
    return _solve(_midpoint, velocity, x0, condition, times)


@having(usual_steps=20)
def heun(
    velocity: Velocity, x0: Float[Tensor, "n *shape"], condition: Any, times: Float[Tensor, " k"]
) -> Float[Tensor, "n *shape"]:
    """x ← x + h/2 (v₁ + v₂), v₁ = v(x, t), v₂ = v(x + h v₁, t + h). Order 2, two calls a step.

    Source: Karras et al. 2022 (arXiv 2206.00364), algorithm 1.
    """

    def step(v: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
        first = v(x, t)
        return x + h / 2 * (first + v(x + h * first, t + h))

    return _solve(step, velocity, x0, condition, times)


@having(usual_steps=10)
def rk4(
    velocity: Velocity, x0: Float[Tensor, "n *shape"], condition: Any, times: Float[Tensor, " k"]
) -> Float[Tensor, "n *shape"]:
    """x ← x + h/6 (v₁ + 2 v₂ + 2 v₃ + v₄), the classical method. Order 4, four calls a step.

    Source: Hairer et al. 1993, II.1.
    """

    def step(v: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
        first = v(x, t)
        second = v(x + h / 2 * first, t + h / 2)
        third = v(x + h / 2 * second, t + h / 2)
        return x + h / 6 * (first + 2 * second + 2 * third + v(x + h * third, t + h))

    return _solve(step, velocity, x0, condition, times)


@having(usual_steps=20)
def ab2(
    velocity: Velocity, x0: Float[Tensor, "n *shape"], condition: Any, times: Float[Tensor, " k"]
) -> Float[Tensor, "n *shape"]:
    """x ← x + h ((1 + r/2) v_k − r/2 v_(k−1)), r = h_k / h_(k−1); the first step is Euler's. Order 2, one call a step.

    Two-step Adams–Bashforth for steps of unequal length. Source: Hairer et al. 1993, III.5.
    """
    before: list[tuple[Tensor, Tensor]] = []  # velocity and length of the last step

    def step(v: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
        now = v(x, t)
        slope = now
        if before:
            last, length = before.pop()
            slope = now + h / length / 2 * (now - last)
        before.append((now, h))
        return x + h * slope

    return _solve(step, velocity, x0, condition, times)


@having(usual_steps=1, controls_error=True)
def dopri5(
    velocity: Velocity,
    x0: Float[Tensor, "n *shape"],
    condition: Any,
    times: Float[Tensor, " k"],
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Float[Tensor, "n *shape"]:
    """Dormand & Prince's method of order 5 with control of the step: of `times` only the first and the last count.

    The step follows the image that errs most, so that each keeps the tolerance; images agree over minibatches to within
    it, not to the bit. The velocity must be computed in float32: rounding to bf16 looks like error to the control.
    Source: Dormand & Prince 1980, through torchdiffeq.
    """

    def worst(error: Tensor) -> Tensor:  # torchdiffeq hands over one long vector
        return error.reshape(len(x0), -1).square().mean(1).sqrt().max()

    if len(x0) == 0:
        return x0
    field = _field(velocity, condition)

    def swapped(t: Tensor, x: Tensor) -> Tensor:  # the order that torchdiffeq asks for
        return field(x, t)

    path: tuple[Tensor, ...] = odeint(  # pyright: ignore
        swapped,
        x0,
        torch.stack([times[0], times[-1]]).to(x0),
        rtol=rtol,
        atol=atol,
        method="dopri5",
        options={"norm": worst},
    )
    return path[-1]


@having(usual_steps=20, draws_noise=True, from_noise=True)
def stochastic(
    velocity: Velocity,
    x0: Float[Tensor, "n *shape"],
    condition: Any,
    times: Float[Tensor, " k"],
    *,
    churn: float = 0.5,
    draw: Draw = torch.randn_like,
) -> Float[Tensor, "n *shape"]:
    """Before each midpoint step of length h go back by churn · h, replacing as much of the noise by fresh noise.

    From t to s = t − churn · h: x ← (s/t) x + √((1 − s)² − (s/t)² (1 − t)²) ε, which has the law of x_s where x_t has
    its own; errors of earlier steps are forgotten with the noise. For the linear path from noise, forwards.
    Source: Karras et al. 2022 (arXiv 2206.00364), algorithm 2, written for σ = (1 − t)/t.
    """
    if churn < 0:
        raise ValueError(f"solver.churn is the share of a step that is gone back, 0 or more, got {churn}.")
    if times[-1] < times[0]:
        raise ValueError("the stochastic solver cannot go back from data to the source: use a deterministic one.")

    def step(v: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
        back = (t - churn * h).clamp(min=0)
        if t > back:
            keep = back / t
            x = keep * x + ((1 - back) ** 2 - (keep * (1 - t)) ** 2).clamp(min=0).sqrt() * draw(x)
        return _midpoint(v, x, back, t + h - back)

    return _solve(step, velocity, x0, condition, times)


@having(usual_steps=2, mean_velocity=True)
def jump(
    velocity: MeanVelocity, x0: Float[Tensor, "n *shape"], condition: Any, times: Float[Tensor, " k"]
) -> Float[Tensor, "n *shape"]:
    """x ← x + h u(x, t, h) with the mean velocity u over [t, t + h]: exact in one step if u is. One call a step.

    For networks trained by objective.SelfDistilled. Source: Frans et al. 2024 (arXiv 2410.12557), algorithm 2.
    """
    x = x0
    for t, after in pairwise(times.to(x0)):
        h = after - t
        x = x + h * velocity(x, t.expand(len(x)), condition, h.expand(len(x))).to(x)
    return x


def _midpoint(v: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
    return x + h * v(x + h / 2 * v(x, t), t + h / 2)


def _field(velocity: Velocity, condition: Any) -> Field:
    def field(x: Tensor, t: Tensor) -> Tensor:
        return velocity(x, t.to(x).expand(len(x)), condition).to(x)

    return field


def _solve(step: Step, velocity: Velocity, x0: Tensor, condition: Any, times: Tensor) -> Tensor:
    field = _field(velocity, condition)
    x = x0
    for t, after in pairwise(times):
        x = step(field, x, t, (after - t).to(x))
    return x
