"""Objectives: what training minimises."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from virtassay.flow.path import Path, interpolate
from virtassay.flow.time import Weighting, flat
from virtassay.flow.velocity import MeanVelocity, Velocity, expand_time


@runtime_checkable
class Objective(Protocol):
    """Map a velocity, sources and targets (n, ...), times (n,) and conditions to the loss of each image, (n,)."""

    @property
    def path(self) -> Path: ...

    def __call__(self, velocity: Velocity, x0: Tensor, x1: Tensor, t: Tensor, condition: Any) -> Tensor: ...


def squared_error(predicted: Float[Tensor, "n *shape"], target: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:
    """Return the mean squared error of each image, in float32 whatever the network computed in."""
    return (predicted.float() - target.float()).square().flatten(1).mean(1)


@dataclass(frozen=True)
class FlowMatching:
    """L_i = w(t) · mean over pixels of (v(x_t, t, c) − u_t)², in float32: conditional flow matching.

    Source: Lipman et al. 2023 (arXiv 2210.02747), eq. 9.
    """

    path: Path
    weighting: Weighting = flat

    def __call__(
        self,
        velocity: Velocity,
        x0: Float[Tensor, "n *shape"],
        x1: Float[Tensor, "n *shape"],
        t: Float[Tensor, " n"],
        condition: Any,
    ) -> Float[Tensor, " n"]:
        """Return the loss of each image."""
        point = interpolate(self.path, x0, x1, t)
        return self.weighting(t) * squared_error(velocity(point.x_t, t, condition), point.velocity)


@dataclass(frozen=True)
class SelfDistilled:
    """Learn the mean velocity u(x, t, h) over [t, t + h], for generation in 1 to 4 calls (solver=jump).

    A share of the images asks that one step of length h equals two of half the length, whose result is no target to
    learn from but one to reach: u(x, t, h) = ½ (u(x, t, h/2) + u(x', t + h/2, h/2)), x' = x + h/2 u(x, t, h/2). The
    others are flow matching, u(x_t, t, 0) = u_t, which anchors it. h ~ U(0, 1 − t).

    Of the methods published it needs no derivative through the network (MeanFlow does: a Jacobian-vector product, which
    fused attention, autocast and several devices do not all have), no schedule (consistency does) and no teacher.
    Sources: shortcut models, Frans et al. 2024 (arXiv 2410.12557), eq. 5; for any h: progressive self-distillation,
    Boffi et al. 2025 (arXiv 2505.18825).
    """

    path: Path
    weighting: Weighting = flat
    share: float = 0.25
    mean_velocity: ClassVar[bool] = True  # of a network that takes the length of the step

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(
                f"objective.share is the part of the images that is distilled, within (0, 1): {self.share}"
            )

    def __call__(
        self,
        velocity: MeanVelocity,
        x0: Float[Tensor, "n *shape"],
        x1: Float[Tensor, "n *shape"],
        t: Float[Tensor, " n"],
        condition: Any,
    ) -> Float[Tensor, " n"]:
        """Return the loss of each image; `velocity` takes the length of the step as its fourth argument."""
        point = interpolate(self.path, x0, x1, t)
        some = torch.randperm(len(t), device=t.device)[: max(1, round(self.share * len(t)))]
        step = torch.zeros_like(t)
        step[some] = torch.rand(len(some), device=t.device) * (1 - t[some])
        target = point.velocity.clone()
        with torch.no_grad():
            half, start, x, of = step[some] / 2, t[some], point.x_t[some], condition[some]
            first = velocity(x, start, of, half).to(x)
            second = velocity(x + expand_time(half, x) * first, start + half, of, half).to(x)
            target[some] = (first + second) / 2
        return self.weighting(t) * squared_error(velocity(point.x_t, t, condition, step), target)
