"""Closed forms for x0 ~ N(m0, S0) and x1 ~ N(m1, S1), independent, on any path: what the tests compare with.

With x_t = a x0 + b x1 + c ε and u = a' x0 + b' x1 + c' ε: m_t = a m0 + b m1, S = a² S0 + b² S1 + c² I and
C = a a' S0 + b b' S1 + c c' I give the marginal velocity v_t(x) = a' m0 + b' m1 + C S⁻¹ (x − m_t), and the loss that no
network can go below, tr(a'² S0 + b'² S1 + c'² I − C S⁻¹ Cᵀ).
Source: Gaussian conditioning of (u, x_t); see Albergo et al. 2023 (arXiv 2303.08797).
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from virtassay.flow.path import Linear, Mix, Path


@dataclass(frozen=True)
class GaussianPair:
    """The two Gaussians, in d dimensions, and the path between them."""

    m0: Float[Tensor, " d"]
    S0: Float[Tensor, "d d"]
    m1: Float[Tensor, " d"]
    S1: Float[Tensor, "d d"]
    path: Path = field(default_factory=Linear)

    def velocity(self, x: Float[Tensor, "n d"], t: Float[Tensor, " n"], condition: Any = None) -> Float[Tensor, "n d"]:
        """Return v_t(x), the velocity whose flow carries N(m0, S0) into N(m1, S1); `condition` is ignored."""
        gain = self._gain(t)  # (n, d, d)
        centred = x - self._mean(self.path.mix(t))
        return self._mean(self.path.rate(t)) + (gain @ centred[..., None])[..., 0]

    def irreducible_loss(self, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return E‖u − v_t(x_t)‖² / d at each time: the loss of the perfect network."""
        rate = self.path.rate(t)
        left = self._covariance(rate, rate) - self._gain(t) @ self._covariance(rate, self.path.mix(t)).mT
        return left.diagonal(dim1=-2, dim2=-1).mean(-1)

    def _mean(self, mix: Mix) -> Tensor:
        return mix.x0[:, None] * self.m0 + mix.x1[:, None] * self.m1

    def _covariance(self, first: Mix, second: Mix) -> Tensor:
        parts = ((first.x0 * second.x0, self.S0), (first.x1 * second.x1, self.S1))
        noise = (first.noise * second.noise)[:, None, None] * torch.eye(len(self.m0)).to(self.m0)
        return sum((factor[:, None, None] * S for factor, S in parts), noise)

    def _gain(self, t: Tensor) -> Tensor:
        mix, rate = self.path.mix(t), self.path.rate(t)
        inverse: Tensor = torch.inverse(self._covariance(mix, mix))
        return self._covariance(rate, mix) @ inverse
