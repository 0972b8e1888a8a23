"""Muon: steps of equal size in all directions of a weight matrix."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan et al.: steepest at 0, at the price of ending anywhere near 1
ITERATIONS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Map G = U S Vᵀ to about U Vᵀ, every singular value to between 0.7 and 1.2, by five Newton–Schulz iterations.

    X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X, in bf16. Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon.
    matrices: (n, rows, columns), each on its own.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """W ← (1 − η λ) W − 0.2 η √max(rows, columns) · orthogonalise(μ m + (1 − μ) g), m ← μ m + (1 − μ) g.

    A convolution's kernel is the matrix (outputs, inputs · height · width). Vectors, and the weights whose name begins
    with one of `others` (the first and the last layer, embeddings), take AdamW steps; the factor 0.2 √max gives both
    kinds steps of like size, so one learning rate serves both. `torch.optim.Muon` takes no convolutions.
    Source: Jordan et al. 2024; the factor: Liu et al. 2025 (arXiv 2502.16982), eq. 4.

    params: named parameters. Raises ValueError where none is left for Muon.
    """

    def __init__(
        self,
        params: Iterable[tuple[str, Tensor]],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        others: Sequence[str] = (),
    ) -> None:
        matrices: list[tuple[str, Tensor]] = []
        rest: list[tuple[str, Tensor]] = []
        for name, parameter in params:
            orthogonal = parameter.ndim >= 2 and not name.startswith(tuple(others))
            (matrices if orthogonal else rest).append((name, parameter))
        if not matrices:
            raise ValueError(f"Muon has no weight matrix left: every name begins with one of others={list(others)}.")
        groups = [{"params": matrices, "matrices": True}]
        if rest:
            groups.append({"params": rest, "matrices": False})
        defaults = {"lr": lr, "momentum": momentum, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            (self._step_matrices if group["matrices"] else self._step_others)(moved, group)
        return loss

    def _step_matrices(self, moved: list[Tensor], group: dict[str, Any]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        same: dict[tuple[int, int], list[Tensor]] = defaultdict(list)  # equal shapes go through together
        for p in moved:
            same[len(p), p[0].numel()].append(p)
        for (rows, columns), alike in same.items():
            updates: list[Tensor] = []
            for p in alike:
                assert p.grad is not None
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                mean: Tensor = state["momentum"]
                mean.lerp_(p.grad, 1 - momentum)
                updates.append(p.grad.lerp(mean, momentum).flatten(1))
            size = 0.2 * rate * max(rows, columns) ** 0.5
            for p, update in zip(alike, orthogonalise(torch.stack(updates)), strict=True):
                p.mul_(1 - rate * group["weight_decay"]).add_(update.view_as(p), alpha=-size)

    def _step_others(self, moved: list[Tensor], group: dict[str, Any]) -> None:
        states = [self.state[p] for p in moved]
        for p, state in zip(moved, states, strict=True):
            if not state:
                state |= {"step": torch.zeros(()), "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        adamw(
            moved,
            [p.grad for p in moved if p.grad is not None],
            [s["mean"] for s in states],
            [s["square"] for s in states],
            [],
            [s["step"] for s in states],
            foreach=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
