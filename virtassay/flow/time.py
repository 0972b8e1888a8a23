"""Time: the laws that training draws t from, and the grids that solvers step along."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class TimeLaw(Protocol):
    """Draw n times in [0, 1)."""

    def __call__(self, n: int, device: torch.device | str = "cpu") -> Tensor: ...


@runtime_checkable
class TimeGrid(Protocol):
    """Return steps + 1 times that ascend from 0 to 1."""

    def __call__(self, steps: int) -> Tensor: ...


def uniform(n: int, device: torch.device | str = "cpu") -> Float[Tensor, " n"]:
    """t ~ U[0, 1), stratified: one draw in each of n equal slices, in random order.

    The slices lower the variance of the loss without changing its mean. Source: Kingma et al. 2021 (arXiv 2107.00630),
    appendix I.1.
    """
    slices = (torch.arange(n, device=device) + torch.rand(n, device=device)) / n
    # rand() + the largest slice may round to 1 in float32
    return slices[torch.randperm(n, device=device)].clamp(max=1 - torch.finfo(torch.float32).eps)


def uniform_grid(steps: int) -> Float[Tensor, " steps_and_one"]:
    """t_k = k / steps for k = 0 … steps: equal steps from the source to the target."""
    if steps < 1:
        raise ValueError(f"a solver needs at least 1 step, got steps={steps}.")
    return torch.linspace(0, 1, steps + 1)


def cosine_grid(steps: int) -> Float[Tensor, " steps_and_one"]:
    """t_k = (1 − cos(π k / steps)) / 2: short steps at both ends, where the velocity bends most.

    The last step removes what noise is left: a long one leaves a haze that shows in dark backgrounds. These are the
    extreme points of the Chebyshev polynomial of degree `steps`.
    """
    return (1 - torch.cos(torch.pi * uniform_grid(steps))) / 2
