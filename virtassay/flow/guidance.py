"""Classifier-free guidance of a velocity."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from virtassay.flow.velocity import Velocity


@runtime_checkable
class Nullable(Protocol):
    """A condition that can drop its perturbation and keep the rest (batch, cell type)."""

    def without_perturbation(self) -> Any: ...


@dataclass(frozen=True)
class Guided:
    """v = v_null + s (v_cond − v_null), on every channel; s = 1 is no guidance (one call), s = 0 is the null.

    Only the perturbation is nulled. Source: Ho & Salimans 2022 (arXiv 2207.12598), with s = 1 + w of their eq. 6.
    """

    velocity: Velocity
    scale: float = 1.0

    def __call__(self, x: Tensor, t: Tensor, condition: Nullable) -> Tensor:
        if self.scale == 1:
            return self.velocity(x, t, condition)
        null = self.velocity(x, t, condition.without_perturbation())
        if self.scale == 0:
            return null
        return null + self.scale * (self.velocity(x, t, condition) - null)
