"""Guidance: a velocity is carried further away from that of something worse, a null condition or a weaker model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from virtassay.flow.velocity import Velocity, expand_time

WEAKER = ("null", "guide")


@runtime_checkable
class Nullable(Protocol):
    """A condition that can drop its perturbation and keep the rest (batch, cell type)."""

    def without_perturbation(self) -> Any: ...


@dataclass(frozen=True)
class Nulled:
    """The velocity without the perturbation; batch and cell type stay."""

    velocity: Velocity

    def __call__(self, x: Tensor, t: Tensor, condition: Nullable) -> Tensor:
        return self.velocity(x, t, condition.without_perturbation())


@dataclass(frozen=True)
class Guided:
    """v_weak + s (v − v_weak) at times within `interval`, v at others, on every channel; s = 1 is v.

    Sources: Ho & Salimans 2022 (arXiv 2207.12598), s = 1 + w of their eq. 6, where `weaker` is Nulled; Karras et al.
    2024 (arXiv 2406.02507), where it is a worse model; the interval: Kynkäänniemi et al. 2024 (arXiv 2404.07724).
    """

    velocity: Velocity
    weaker: Velocity
    scale: float
    interval: tuple[float, float] = (0.0, 1.0)

    def __call__(self, x: Tensor, t: Tensor, condition: Any) -> Tensor:
        first, last = self.interval
        inside = (t >= first) & (t <= last)
        velocity = self.velocity(x, t, condition)
        if not inside.any():  # saves the weaker call
            return velocity
        weak = self.weaker(x, t, condition)
        return torch.where(expand_time(inside, x), weak + self.scale * (velocity - weak), velocity)


@dataclass(frozen=True)
class Guidance:
    """The choice of guidance: scale 1 is none; `against` is "null" (classifier-free) or "guide" (autoguidance).

    A guide is an earlier, worse state of the same model, so what is amplified is all that the rest of the training
    taught. Raises ValueError on another name, or an interval that is not within [0, 1].
    """

    scale: float = 1.0
    against: str = "null"
    interval: Sequence[float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.against not in WEAKER:
            raise ValueError(f"guidance.against is one of {WEAKER}, got {self.against!r}.")
        if len(self.interval) != 2 or not 0 <= self.interval[0] <= self.interval[1] <= 1:
            raise ValueError(f"guidance.interval is two times 0 ≤ first ≤ last ≤ 1, got {list(self.interval)}.")

    @property
    def needs_guide(self) -> bool:
        """Whether it asks for the weights of a guide."""
        return self.scale != 1 and self.against == "guide"

    def __call__(self, velocity: Velocity, guide: Velocity | None = None) -> Velocity:
        """Guide `velocity`; raises ValueError where a guide is needed and none is given."""
        if self.scale == 1:
            return velocity
        if self.against == "null":
            weaker = Nulled(velocity)
        elif guide is None:
            raise ValueError(
                "autoguidance needs a guide, and this run kept none (guide.safetensors): train with "
                "fit.guide_at=0.12 (an early moment of the run), or sample with guidance=none."
            )
        else:
            weaker = guide
        return Guided(velocity, weaker, self.scale, (float(self.interval[0]), float(self.interval[1])))
