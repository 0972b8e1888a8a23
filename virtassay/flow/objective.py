"""The objective: what training minimises."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from virtassay.flow.path import Path
from virtassay.flow.velocity import Velocity


@dataclass(frozen=True)
class FlowMatching:
    """L_i = mean over pixels of (v(x_t, t, c) − u_t)², in float32: conditional flow matching.

    Source: Lipman et al. 2023 (arXiv 2210.02747), eq. 9.
    """

    path: Path

    def __call__(
        self,
        velocity: Velocity,
        x0: Float[Tensor, "n *shape"],
        x1: Float[Tensor, "n *shape"],
        t: Float[Tensor, " n"],
        condition: Any,
    ) -> Float[Tensor, " n"]:
        """Return the loss of each image."""
        point = self.path(x0, x1, t)
        return self.error(velocity(point.x_t, t, condition), point.velocity)

    def error(self, predicted: Float[Tensor, "n *shape"], wanted: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:
        """Return the mean squared error of each image, in float32 whatever the network computed in."""
        return (predicted.float() - wanted.float()).square().flatten(1).mean(1)
