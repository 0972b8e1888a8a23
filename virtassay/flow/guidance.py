"""Guidance: a velocity is carried further away from that of something worse, a null condition or a weaker model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from virtassay.flow.velocity import expand_time

WEAKER = ("null", "guide")
Field = Callable[..., Tensor]  # a Velocity or a MeanVelocity


@runtime_checkable
class Nullable(Protocol):
    """A condition that can drop one of its fields and keep the rest; raises ValueError for a field it lacks."""

    def without(self, field: str) -> Any: ...


@dataclass(frozen=True)
class Nulled:
    """The velocity without one field of the condition; the others stay."""

    velocity: Field
    field: str

    def __call__(self, x: Tensor, t: Tensor, condition: Nullable, *step: Tensor) -> Tensor:
        return self.velocity(x, t, condition.without(self.field), *step)


@dataclass(frozen=True)
class Guided:
    """v + Σ_k (s_k − 1) (v − v_k) at times within `interval`, v at others, on every channel; s_k = 1 takes no call.

    With one weaker velocity v_1 it is v_1 + s (v − v_1). Sources: Ho & Salimans 2022 (arXiv 2207.12598), s = 1 + w of
    their eq. 6, where `weaker` is Nulled; several fields: Liu et al. 2022 (arXiv 2206.01714); Karras et al. 2024 (arXiv
    2406.02507), where it is a worse model; the interval: Kynkäänniemi et al. 2024 (arXiv 2404.07724).
    """

    velocity: Field
    weaker: Sequence[tuple[Field, float]]
    interval: tuple[float, float] = (0.0, 1.0)

    def __call__(self, x: Tensor, t: Tensor, condition: Any, *step: Tensor) -> Tensor:
        first, last = self.interval
        inside = (t >= first) & (t <= last)
        velocity = self.velocity(x, t, condition, *step)
        if not inside.any():  # saves the weaker calls
            return velocity
        guided = velocity
        for weaker, scale in self.weaker:
            guided = guided + (scale - 1) * (velocity - weaker(x, t, condition, *step))
        return torch.where(expand_time(inside, x), guided, velocity)


@dataclass(frozen=True)
class Guidance:
    """The choice of guidance: scale 1 is none; `against` is "null" (classifier-free) or "guide" (autoguidance).

    scale: of the perturbation; or of each field, e.g. {perturbation: 1.5, batch: 1.2} (classifier-free only). A guide
    is an earlier, worse state of the same model, so what is amplified is all that the rest of the training taught.
    Raises ValueError on another name, or an interval that is not within [0, 1].
    """

    scale: float | Mapping[str, float] = 1.0
    against: str = "null"
    interval: Sequence[float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.against not in WEAKER:
            raise ValueError(f"guidance.against is one of {WEAKER}, got {self.against!r}.")
        if len(self.interval) != 2 or not 0 <= self.interval[0] <= self.interval[1] <= 1:
            raise ValueError(f"guidance.interval is two times 0 ≤ first ≤ last ≤ 1, got {list(self.interval)}.")
        if self.against == "guide" and set(self.scales) - {"perturbation"}:
            raise ValueError(
                f"a guide is another model, not another condition: guidance.scale is one number, got {self.scale}."
            )

    @property
    def scales(self) -> dict[str, float]:
        """The scale of each field that is guided."""
        scales = dict(self.scale) if isinstance(self.scale, Mapping) else {"perturbation": self.scale}
        return {field: float(scale) for field, scale in scales.items() if scale != 1}

    @property
    def needs_guide(self) -> bool:
        """Whether it asks for the weights of a guide."""
        return bool(self.scales) and self.against == "guide"

    @property
    def needs_null(self) -> bool:
        """Whether it asks for a model that was trained with a null."""
        return bool(self.scales) and self.against == "null"

    def __call__(self, velocity: Field, guide: Field | None = None) -> Field:
        """Guide `velocity`; raises ValueError where a guide is needed and none is given."""
        if not self.scales:
            return velocity
        if self.against == "null":
            weaker: list[tuple[Field, float]] = [
                (Nulled(velocity, field), scale) for field, scale in self.scales.items()
            ]
        elif guide is None:
            raise ValueError(
                "autoguidance needs a guide, and this run kept none (guide.safetensors): train with "
                "fit.guide_at=0.12 (an early moment of the run), or sample with guidance=none."
            )
        else:
            weaker = [(guide, self.scales["perturbation"])]
        return Guided(velocity, weaker, (float(self.interval[0]), float(self.interval[1])))
