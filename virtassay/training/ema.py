"""Exponential moving averages of the weights, through Lightning's weight averaging."""

from collections.abc import Sequence

import numpy as np
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn


def power_function_exponent(relative_width: float) -> float:
    """Solve σ_rel = (γ + 1)^½ (γ + 2)⁻¹ (γ + 3)^−½ for γ. Source: Karras et al. 2023 (arXiv 2312.02696), eq. 126."""
    if not 0 < relative_width < 0.2886:  # γ = 0, the plain mean of all steps, has width 12^-½
        raise ValueError(f"ema.relative_width must lie between 0 and 0.288, got {relative_width}.")
    inverse = relative_width**-2
    roots = np.roots([1, 7, 16 - inverse, 12 - inverse])
    return float(roots.real[np.isreal(roots)].max())


class EMA(WeightAveraging):
    """w̄ ← β w̄ + (1 − β) w after every step; validation, samples and model.safetensors use w̄.

    Give `relative_width` for the power-function profile, β_t = (1 − 1/t)^(γ+1) (Karras et al. 2023, arXiv 2312.02696,
    eq. 127), or `decay` for a constant β; the constant is warmed up as min(β, (1 + t)/(10 + t)), or a short run would
    average its random beginning.
    """

    def __init__(self, relative_width: float | None = None, decay: float | None = None) -> None:
        if (relative_width is None) == (decay is None):
            raise ValueError("ema takes either relative_width (power function) or decay (constant), and not both.")
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"ema.decay must lie in [0, 1), got {decay}.")
        self.exponent = None if relative_width is None else power_function_exponent(relative_width)
        self.decay = decay
        super().__init__(multi_avg_fn=self._average)

    def beta(self, step: int) -> float:
        """Return β after `step` ≥ 1 steps."""
        if self.exponent is not None:
            return (1 - 1 / step) ** (self.exponent + 1)
        assert self.decay is not None  # the constructor takes one of the two
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def _average(self, averaged: Sequence[Tensor], current: Sequence[Tensor], n_averaged: Tensor | int) -> None:
        weight = 1 - self.beta(int(n_averaged) + 1)
        floats = [(a, c) for a, c in zip(averaged, current, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]  # as torch's own averages do
            [a for a, _ in floats], [c for _, c in floats], weight
        )

    def network_state(self) -> dict[str, Tensor]:
        """Return the averaged weights of the module's `network`."""
        model = self._average_model
        if model is None:
            raise RuntimeError("the average exists only while fitting.")
        network: nn.Module = model.module.network  # pyright: ignore[reportAssignmentType]
        return {name: value.detach().contiguous() for name, value in network.state_dict().items()}
