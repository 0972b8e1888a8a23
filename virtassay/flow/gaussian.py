"""Closed forms for x0 ~ N(m0, S0) and x1 ~ N(m1, S1), independent, on the linear path: what the tests compare with.

With m_t = (1−t) m0 + t m1, S = (1−t)² S0 + t² S1 and C = t S1 − (1−t) S0, the marginal velocity is
v_t(x) = m1 − m0 + C S⁻¹ (x − m_t), and the loss that no network can go below is tr(S0 + S1 − C S⁻¹ Cᵀ).
Source: Gaussian conditioning of (x1 − x0, x_t); see Albergo & Vanden-Eijnden 2023 (arXiv 2303.08797).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class GaussianPair:
    """The two Gaussians, in d dimensions."""

    m0: Float[Tensor, " d"]
    S0: Float[Tensor, "d d"]
    m1: Float[Tensor, " d"]
    S1: Float[Tensor, "d d"]

    def velocity(self, x: Float[Tensor, "n d"], t: Float[Tensor, " n"], condition: Any = None) -> Float[Tensor, "n d"]:
        """Return v_t(x), the velocity whose flow carries N(m0, S0) into N(m1, S1); `condition` is ignored."""
        time = t[:, None]
        gain = self._gain(t)  # (n, d, d)
        centred = x - ((1 - time) * self.m0 + time * self.m1)
        return self.m1 - self.m0 + (gain @ centred[..., None])[..., 0]

    def irreducible_loss(self, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return E‖x1 − x0 − v_t(x_t)‖² / d at each time: the loss of the perfect network."""
        _, cross = self._covariances(t)
        explained = self._gain(t) @ cross.mT
        left = self.S0 + self.S1 - explained
        return left.diagonal(dim1=-2, dim2=-1).mean(-1)

    def _covariances(self, t: Tensor) -> tuple[Tensor, Tensor]:
        time = t[:, None, None]
        return (1 - time) ** 2 * self.S0 + time**2 * self.S1, time * self.S1 - (1 - time) * self.S0

    def _gain(self, t: Tensor) -> Tensor:
        covariance, cross = self._covariances(t)
        inverse: Tensor = torch.inverse(covariance)
        return cross @ inverse
