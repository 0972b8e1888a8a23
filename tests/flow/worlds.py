"""Gaussian worlds, in which every answer is known."""

import torch

from virtassay.flow.gaussian import GaussianPair
from virtassay.flow.path import Linear, Path


def pair(path: Path | None = None, d: int = 3) -> GaussianPair:
    """Two correlated Gaussians in float64."""
    torch.manual_seed(0)
    a, b = torch.randn(2, d, d, dtype=torch.float64)
    eye = torch.eye(d, dtype=torch.float64)
    m0, m1 = torch.randn(2, d, dtype=torch.float64)
    return GaussianPair(m0, a @ a.T / d + 0.2 * eye, m1, b @ b.T / d + 0.2 * eye, path or Linear())


def from_noise(d: int = 3) -> GaussianPair:
    """Standard normal noise to a Gaussian, as every noise source begins."""
    world = pair(d=d)
    return GaussianPair(torch.zeros_like(world.m0), torch.eye(d, dtype=torch.float64), world.m1, world.S1)


def draw(m: torch.Tensor, s: torch.Tensor, n: int) -> torch.Tensor:
    """Draw n points of N(m, s)."""
    return m + torch.randn(n, len(m), dtype=m.dtype) @ torch.linalg.cholesky(s).T
