"""Couplings: which source goes with which target, as the permutation of the **source**, `x0 = x0[index]`.

A coupling permutes inside a group (batch, treatment), so that a target never loses its condition and each condition
keeps all of the source's law. Across conditions the plain optimum would pair sources with the treatments they happen
to resemble, which sampling cannot repeat; `conditional` alone crosses them, at a price.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from torch import Tensor

from virtassay.flow.traits import having

Embedding = Callable[[Tensor], Tensor]  # (n, ...) → (n, d), between whose rows the cost is measured


@runtime_checkable
class Coupling(Protocol):
    """Map sources and targets (n, ...), groups (n,) and conditions to the index (n,) that permutes the sources."""

    def __call__(self, x0: Tensor, x1: Tensor, group: Tensor, condition: Any) -> Tensor: ...


@runtime_checkable
class Comparable(Protocol):
    """A condition that knows its batch (n,) and how far apart two treatments are, (n, n)."""

    @property
    def batch(self) -> Tensor: ...

    def distance(self) -> Tensor: ...


def pixels(x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n d"]:
    """Compare pixel by pixel."""
    return x.flatten(1)


def pooled(x: Float[Tensor, "n c h w"], factor: int = 4) -> Float[Tensor, "n d"]:
    """Compare means of `factor` × `factor` pixels: a sixteenth of the work, and blind to grain."""
    return torch.nn.functional.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False).flatten(1)


def quantiles(x: Float[Tensor, "n c h w"], n: int = 16) -> Float[Tensor, "n d"]:
    """Compare the intensities of each channel, wherever they are: the same cell turned or moved costs nothing."""
    levels = torch.linspace(0, 1, n, device=x.device, dtype=x.dtype)
    return x.flatten(2).quantile(levels, dim=2).movedim(0, 2).flatten(1)


def squared_distances(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """‖a_i − b_j‖² by one matrix product (Gram), in float32 at least."""
    a, b = a.to(torch.promote_types(a.dtype, torch.float32)), b.to(torch.promote_types(b.dtype, torch.float32))
    middle = b.mean(0)  # the difference of large squares would lose the small distances
    a, b = a - middle, b - middle
    return (a.square().sum(1)[:, None] - 2 * a @ b.T + b.square().sum(1)).clamp(min=0)


def independent(
    x0: Float[Tensor, "n *shape"], x1: Float[Tensor, "n *shape"], group: Int[Tensor, " n"], condition: Any = None
) -> Int[Tensor, " n"]:
    """π(x0, x1) = p(x0) p(x1): leave the sources as they were drawn. Source: Lipman et al. 2023 (arXiv 2210.02747)."""
    return torch.arange(len(x0), device=x0.device)


@having(needs_groups=True)
def exact(
    x0: Float[Tensor, "n *shape"],
    x1: Float[Tensor, "n *shape"],
    group: Int[Tensor, " n"],
    condition: Any = None,
    *,
    embed: Embedding = pixels,
) -> Int[Tensor, " n"]:
    """argmin over permutations of Σ ‖x1_i − x0_π(i)‖² inside each group: minibatch optimal transport.

    Source: Tong et al. 2024 (arXiv 2302.00482), Pooladian et al. 2023 (arXiv 2304.14772).
    """
    cost = squared_distances(embed(x1), embed(x0))
    return _within(group, lambda rows: _assign(cost[rows][:, rows]))


@having(needs_groups=True)
def entropic(
    x0: Float[Tensor, "n *shape"],
    x1: Float[Tensor, "n *shape"],
    group: Int[Tensor, " n"],
    condition: Any = None,
    *,
    epsilon: float = 0.05,
    embed: Embedding = pixels,
) -> Int[Tensor, " n"]:
    """Draw a permutation whose pairs follow the plan of entropic transport, min ⟨P, C⟩ − ε H(P), inside each group.

    P_ij ∝ exp((f_i + g_j − C_ij) / ε) (Sinkhorn; Cuturi 2013, arXiv 1306.0895). Its permutations are drawn by
    perturb-and-MAP: the best assignment for −C/ε plus Gumbel noise, in which f and g cancel, so that they need not be
    found (Mena et al. 2018, arXiv 1802.08665). Pairs then have P's frequencies to within a few per cent. epsilon: in
    units of the group's mean cost; 0 is `exact`, ∞ a random permutation.
    """
    if epsilon <= 0:
        raise ValueError(
            f"coupling.epsilon is the entropy's weight and must be above 0, got {epsilon}: use coupling=ot."
        )
    cost = squared_distances(embed(x1), embed(x0))

    def drawn(rows: Tensor) -> Tensor:
        own = cost[rows][:, rows]
        gumbel = -torch.empty_like(own).exponential_().log()
        return _assign(own / (epsilon * own.mean()) - gumbel)

    return _within(group, drawn)


@having(needs_groups=True)
def conditional(
    x0: Float[Tensor, "n *shape"],
    x1: Float[Tensor, "n *shape"],
    group: Int[Tensor, " n"],
    condition: Comparable,
    *,
    weight: float = 1.0,
    embed: Embedding = pixels,
) -> Int[Tensor, " n"]:
    """argmin over permutations of Σ ‖x1_i − x0_π(i)‖² / mean + w d(c_i, c_π(i)) / mean inside each batch: C²OT.

    Each source has the condition it was drawn with, so that pairs of unlike treatments cost: w → ∞ is `exact` inside
    treatments, w = 0 transport that forgets them. Source: Cheng & Schwing 2025 (arXiv 2503.10636), eq. 8.
    """
    if weight < 0:
        raise ValueError(f"coupling.weight of the conditions' distance is 0 or more, got {weight}.")
    cost, apart = squared_distances(embed(x1), embed(x0)), condition.distance()

    def assigned(rows: Tensor) -> Tensor:
        image, treatment = cost[rows][:, rows], apart[rows][:, rows].to(cost)
        return _assign(image / image.mean().clamp(min=1e-30) + weight * treatment / treatment.mean().clamp(min=1e-30))

    return _within(condition.batch, assigned)


def transport_ratio(
    x0: Float[Tensor, "n *shape"], x1: Float[Tensor, "n *shape"], index: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Σ‖x1 − x0[index]‖² / Σ‖x1 − x0‖²: the cost of a coupling, relative to that of the pairs as drawn."""
    return (x1 - x0[index]).square().sum() / (x1 - x0).square().sum()


def _assign(cost: Tensor) -> Tensor:
    """Return for each row the column of the cheapest assignment."""
    columns = linear_sum_assignment(cost.detach().cpu().numpy())[1]  # pyright: ignore[reportUnknownVariableType]
    return torch.as_tensor(columns, device=cost.device)


def _within(group: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
    """Permute inside each group by `choose`, which maps the rows of one to the order of them."""
    index = torch.arange(len(group), device=group.device)
    for rows in _groups(group):
        index[rows] = rows[choose(rows)]
    return index


def _groups(group: Tensor) -> Iterator[Tensor]:
    members: dict[int, list[int]] = {}
    for row, number in enumerate(group.cpu().numpy().astype(int)):
        members.setdefault(int(number), []).append(row)
    for rows in members.values():
        if len(rows) > 1:
            yield torch.tensor(rows, device=group.device)
