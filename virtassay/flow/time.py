"""Time: the laws that training draws t from, the weights of the loss in t, and the grids that solvers step along.

t = 1 is data. For a source of noise on the linear path the noise level of EDM is σ = (1 − t) / t.
"""

import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class TimeLaw(Protocol):
    """Draw n times in [0, 1)."""

    def __call__(self, n: int, device: torch.device | str = "cpu") -> Tensor: ...


@runtime_checkable
class Weighting(Protocol):
    """Weigh the loss at times (n,)."""

    def __call__(self, t: Tensor) -> Tensor: ...


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


def logit_normal(
    n: int, device: torch.device | str = "cpu", *, mean: float = 0.0, std: float = 1.0
) -> Float[Tensor, " n"]:
    """logit(t) ~ N(mean, std²), stratified: the middle of the path most often.

    Source: Esser et al. 2024 (arXiv 2403.03206), eq. 19, with t reversed. As log σ = −logit(t), EDM's log σ ~ N(−1.2,
    1.2²) is mean 1.2, std 1.2 here (Karras et al. 2022, arXiv 2206.00364, table 1), which CellFlux uses.
    """
    if std <= 0:
        raise ValueError(f"time_law.std is the spread of logit(t) and must be above 0, got {std}.")
    quantile = uniform(n, device).clamp(min=torch.finfo(torch.float32).eps)
    t = torch.sigmoid(mean + std * math.sqrt(2) * torch.erfinv(2 * quantile - 1))
    return t.clamp(max=1 - torch.finfo(torch.float32).eps)


def shifted(n: int, device: torch.device | str = "cpu", *, factor: float) -> Float[Tensor, " n"]:
    """Uniform times moved towards noise by `factor`, see `shift`."""
    return shift(uniform(n, device), factor)


def shift(t: Float[Tensor, " n"], factor: float) -> Float[Tensor, " n"]:
    """1 − t → f (1 − t) / (1 + (f − 1) (1 − t)), towards noise for f > 1; f = 1 changes nothing.

    An image of f² times the pixels takes f times the noise σ = (1 − t) / t to hide as much of it, so that f = edge /
    edge' carries a law from images of edge' px to those of edge px. Raises ValueError unless f > 0.
    Source: Esser et al. 2024 (arXiv 2403.03206), eq. 23.
    """
    if factor <= 0:
        raise ValueError(f"a shift in time has a factor above 0 (1 changes nothing), got {factor}.")
    noise = 1 - t
    return 1 - factor * noise / (1 + (factor - 1) * noise)


def flat(t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """w = 1: the loss of the velocity as it is."""
    return torch.ones_like(t)


def edm_weight(t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """w = (1 − t)² + t²: EDM's λ(σ) = (σ² + 1) / σ² on the denoiser's error, for data of unit variance.

    The denoiser x + (1 − t) v errs by (1 − t) times the velocity's error, so w = (1 − t)² λ with σ = (1 − t) / t.
    Source: Karras et al. 2022 (arXiv 2206.00364), table 1.
    """
    return (1 - t).square() + t.square()


def cosmap(t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """w = 2 / (π (1 − 2t + 2t²)): under uniform t the weight that the cosine schedule gives, most in the middle.

    Source: Esser et al. 2024 (arXiv 2403.03206), eq. 21. Its mean over uniform t is 1.
    """
    return 2 / (math.pi * (1 - 2 * t + 2 * t.square()))


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


def edm_grid(
    steps: int, *, rho: float = 7.0, sigma_min: float = 0.002, sigma_max: float = 80.0
) -> Float[Tensor, " steps_and_one"]:
    """t_k = 1 / (1 + σ_k), σ_k = (σ_max^(1/ρ) + k/(steps−1) (σ_min^(1/ρ) − σ_max^(1/ρ)))^ρ and a last σ = 0.

    The first time, 1/81 there, is 0 here: the source is all noise. Source: Karras et al. 2022 (arXiv 2206.00364), eq. 5
    """
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    place = uniform_grid(steps)[:-1] * (steps / max(steps - 1, 1))  # 0 … 1 in `steps` places
    times = 1 / (1 + (high + place * (low - high)) ** rho)
    times[0] = 0
    return torch.cat([times, torch.ones(1)])


def shifted_grid(steps: int, *, factor: float) -> Float[Tensor, " steps_and_one"]:
    """Equal steps, shifted: shorter near the source for factor > 1, see `shift`."""
    return shift(uniform_grid(steps), factor)
