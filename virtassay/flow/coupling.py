"""Couplings: which source goes with which target, as the permutation of the **source**, `x0 = x0[index]`.

A coupling permutes inside a group (batch, treatment) only, so that a target never loses its condition.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Coupling(Protocol):
    """Map sources and targets (n, ...) and groups (n,) to the index (n,) that permutes the sources."""

    def __call__(self, x0: Tensor, x1: Tensor, group: Tensor) -> Tensor: ...


def independent(
    x0: Float[Tensor, "n *shape"], x1: Float[Tensor, "n *shape"], group: Int[Tensor, " n"]
) -> Int[Tensor, " n"]:
    """π(x0, x1) = p(x0) p(x1): leave the sources as they were drawn. Source: Lipman et al. 2023 (arXiv 2210.02747)."""
    return torch.arange(len(x0), device=x0.device)
