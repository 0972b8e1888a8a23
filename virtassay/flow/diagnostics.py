"""How straight a flow is, and what a coupling saves: what decides in how few steps it can be solved."""

from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from virtassay.flow.velocity import Velocity


def transport_ratio(
    x0: Float[Tensor, "n *shape"], x1: Float[Tensor, "n *shape"], index: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Σ‖x1 − x0[index]‖² / Σ‖x1 − x0‖²: the cost of a coupling, relative to that of the pairs as drawn."""
    return (x1 - x0[index]).square().sum() / (x1 - x0).square().sum()


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
