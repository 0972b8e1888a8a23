"""A coupling is a permutation, inside groups, never costlier than identity, and equal to sorting in one dimension."""

import itertools
from dataclasses import dataclass
from functools import partial

import pytest
import torch

from virtassay.flow.coupling import (
    Comparable,
    Coupling,
    conditional,
    entropic,
    exact,
    independent,
    pixels,
    pooled,
    quantiles,
    squared_distances,
    transport_ratio,
)
from virtassay.flow.traits import trait


@dataclass(frozen=True)
class Treatments:
    """One number a treatment."""

    value: torch.Tensor
    batch: torch.Tensor

    def distance(self) -> torch.Tensor:
        return (self.value[:, None] - self.value[None]).square()


def screen(n: int = 48, groups: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Treatments]:
    torch.manual_seed(0)
    group = torch.randint(0, groups, (n,))
    x0, x1 = torch.randn(2, n, 2, 8, 8)
    return x0, x1 + group[:, None, None, None], group, Treatments(group.double(), group // 2)


COUPLINGS = [
    independent, exact, partial(exact, embed=pooled), partial(exact, embed=quantiles), entropic,
    partial(conditional, weight=0.0), conditional,
]  # fmt: skip


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_a_coupling_is_a_permutation_inside_its_groups(coupling):
    x0, x1, group, condition = screen()
    index = coupling(x0, x1, group, condition)
    assert index.sort().values.tolist() == list(range(len(x0)))
    within = condition.batch if getattr(coupling, "func", coupling) is conditional else group
    assert torch.equal(within[index], within)


def test_the_exact_coupling_is_sorting_in_one_dimension():
    torch.manual_seed(0)
    x0, x1 = torch.randn(2, 40, 1)
    index = exact(x0, x1, torch.zeros(40, dtype=torch.long))
    assert torch.equal(x0[index].argsort(0), x1.argsort(0))


def test_the_cost_is_not_transposed():
    # sources 10, 0, 1 for targets 0, 1, 10: the permutation of the sources is (1, 2, 0), that of the targets (2, 0, 1)
    x0, x1 = torch.tensor([[10.0], [0.0], [1.0]]), torch.tensor([[0.0], [1.0], [10.0]])
    index = exact(x0, x1, torch.zeros(3, dtype=torch.long))
    assert index.tolist() == [1, 2, 0] and torch.equal(x0[index], x1)


def test_the_exact_coupling_costs_what_pots_does():
    ot = pytest.importorskip("ot")
    x0, x1, _, _ = screen()
    index = exact(x0, x1, torch.zeros(len(x0), dtype=torch.long))
    cost = squared_distances(pixels(x1), pixels(x0)).double().numpy()
    weights = [1 / len(x0)] * len(x0)
    assert (x1 - x0[index]).square().flatten(1).sum(1).mean().item() == pytest.approx(
        ot.emd2(weights, weights, cost), rel=1e-5
    )


@pytest.mark.parametrize("epsilon", [0.03, 0.2, 1.0])
def test_entropic_pairs_have_the_frequencies_of_sinkhorns_plan(epsilon: float):
    ot = pytest.importorskip("ot")
    torch.manual_seed(1)
    n, draws = 8, 1500
    x0, x1 = torch.randn(n, 3), torch.randn(n, 3) + 1
    cost = squared_distances(x1, x0).double()
    cost = cost / cost.mean()
    plan = torch.from_numpy(ot.sinkhorn([1 / n] * n, [1 / n] * n, cost.numpy(), epsilon, numItermax=20_000)) * n
    seen, group = torch.zeros(n, n), torch.zeros(n, dtype=torch.long)
    for _ in range(draws):
        seen[torch.arange(n), entropic(x0, x1, group, epsilon=epsilon)] += 1 / draws
    off = (seen - plan).abs().sum().item() / 2 / n
    assert off < 0.08, "total variation, a permutation is not the plan"
    assert (cost * seen).sum().item() == pytest.approx((cost * plan).sum().item(), rel=0.05)
    assert off < 0.25 * (plan - 1 / n).abs().sum().item() / 2 / n or epsilon == 1.0, "and far from random pairs"


def test_the_price_of_unlike_conditions_leads_from_transport_to_transport_inside_them():
    x0, x1, group, condition = screen()
    free = partial(conditional, weight=0.0)(x0, x1, group, condition)
    dear = partial(conditional, weight=1e6)(x0, x1, group, condition)
    assert (group[free] != group).any()
    assert torch.equal(group[dear], group)
    assert transport_ratio(x0, x1, free) < transport_ratio(x0, x1, dear) <= 1
    within = transport_ratio(x0, x1, exact(x0, x1, group))
    assert transport_ratio(x0, x1, dear).item() == pytest.approx(within.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("coupling", "message"),
    [(partial(entropic, epsilon=0.0), "coupling.epsilon"), (partial(conditional, weight=-1.0), "coupling.weight")],
)
def test_impossible_couplings_are_refused(coupling, message: str):
    x0, x1, group, condition = screen()
    with pytest.raises(ValueError, match=message):
        coupling(x0, x1, group, condition)


def test_what_embeddings_see():
    x = torch.rand(3, 2, 8, 8)
    assert torch.allclose(quantiles(x), quantiles(x.flip(3))) and not torch.allclose(pixels(x), pixels(x.flip(3)))
    assert torch.allclose(pooled(x)[:, 0], x[:, 0, :4, :4].mean((1, 2)))
    a, b = torch.randn(5, 7) + 100, torch.randn(4, 7) + 100
    assert torch.allclose(squared_distances(a, b), torch.cdist(a.double(), b.double()).square().float(), rtol=1e-3)


def test_the_exact_coupling_of_gaussians_has_the_straight_paths_of_the_closed_form():
    """Minibatch transport between N(0, 1) and N(m, s²) tends to x1 = m + s x0 as the minibatch grows."""
    torch.manual_seed(0)
    x0, x1 = torch.randn(1000, 1), 2 + 0.5 * torch.randn(1000, 1)
    index = exact(x0, x1, torch.zeros(1000, dtype=torch.long))
    assert (x1 - (2 + 0.5 * x0[index])).abs().mean() < 0.05


@pytest.mark.parametrize("image", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("treatment", [0.1, 1.0, 100.0])
def test_the_price_of_a_condition_is_in_units_of_the_means_by_hand(image: float, treatment: float):
    # sources (a, 0) for targets (0, a): kept as drawn, the images cost 2a² / (a²/2) = 4 and the conditions 0;
    # exchanged, the images cost 0 and the conditions w · 2b² / (b²/2) = 4w: w = 1 is the border, whatever a and b
    x0, x1 = image * torch.tensor([[1.0], [0.0]]), image * torch.tensor([[0.0], [1.0]])
    condition = Treatments(treatment * torch.tensor([0.0, 1.0]), torch.zeros(2, dtype=torch.long))
    for weight, index in ((0.9, [1, 0]), (1.1, [0, 1])):
        assert conditional(x0, x1, torch.tensor([0, 1]), condition, weight=weight).tolist() == index


def test_the_conditional_coupling_has_no_unit_but_its_weight():
    x0, x1, group, condition = screen()
    index = conditional(x0, x1, group, condition)
    far = Treatments(10 * condition.value, condition.batch)  # 100 times the squared distance
    assert torch.equal(conditional(10 * x0, 10 * x1, group, condition), index)
    assert torch.equal(conditional(x0, x1, group, far), index)
    assert not torch.equal(conditional(x0, x1, group, condition, weight=0.01), index)


def test_the_sizes_of_what_embeddings_return():
    x = torch.arange(36.0).reshape(1, 1, 6, 6)  # 6 = 4 + 2: the second window holds the two columns that are left
    assert pooled(x).tolist() == [[10.5, 13.5, 28.5, 31.5]]
    assert pooled(x, 3).tolist() == [[7.0, 10.0, 25.0, 28.0]]
    assert quantiles(x).shape == (1, 16) and torch.allclose(quantiles(x, 3), torch.tensor([[0, 17.5, 35]]))


def test_no_squared_distance_is_negative():
    a = torch.randn(300, 8) + 10
    assert (squared_distances(a, a) >= 0).all()
    assert squared_distances(a, a).diagonal().max() < 1e-3
    half = squared_distances(torch.tensor([[1000.0], [0.0]]).half(), torch.tensor([[0.0]]).half())
    assert half.dtype == torch.float32 and half.tolist() == [[1e6], [0]], "1000² is no float16"


def test_conditions_or_images_that_are_all_alike_price_nothing():
    x0, x1, group, condition = screen()
    same = Treatments(0 * condition.value, condition.batch)
    assert torch.equal(conditional(x0, x1, group, same), exact(x0, x1, condition.batch))
    index = conditional(0 * x0, 0 * x1, group, condition)
    assert torch.equal(group[index], group)


def test_the_usual_weight_by_hand():
    # kept as drawn, images cost 1.81 of a mean of 0.455; exchanged 0.01, and conditions 2w of a mean of ½: w = 0.99
    condition = Treatments(torch.tensor([0.0, 1.0]), torch.zeros(2, dtype=torch.long))
    x0, x1, group = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.1], [1.0]]), torch.tensor([0, 1])
    assert conditional(x0, x1, group, condition).tolist() == [0, 1]
    assert conditional(x0, x1, group, condition, weight=0.98).tolist() == [1, 0]
    # images 2 of a mean of 4/9, or 0 and conditions 2w of 2 (1 + ¼ + 2¼)/9: the border is w = 1.75
    condition = Treatments(torch.tensor([0.0, 1.0, -0.5]), torch.zeros(3, dtype=torch.long))
    x0, x1, group = torch.tensor([[1.0], [0.0], [1.0]]), torch.tensor([[0.0], [1.0], [1.0]]), torch.tensor([0, 1, 2])
    assert conditional(x0, x1, group, condition).tolist() == [1, 0, 2]
    assert conditional(x0, x1, group, condition, weight=1.76).tolist() == [0, 1, 2]


def test_the_usual_epsilon():
    x0, x1, group, _ = screen()

    def drawn(**epsilon: float) -> torch.Tensor:
        torch.manual_seed(2)
        return entropic(x0, x1, group, **epsilon)  # pyright: ignore[reportArgumentType]

    assert torch.equal(drawn(), drawn(epsilon=0.05)) and not torch.equal(drawn(), drawn(epsilon=1.05))


def test_couplings_and_conditions_are_what_their_protocols_say():
    assert all(isinstance(coupling, Coupling) for coupling in COUPLINGS) and not isinstance(3, Coupling)
    condition = screen()[3]
    assert isinstance(condition, Comparable) and not isinstance(condition.batch, Comparable)
    assert [trait(coupling, "needs_groups") for coupling in (independent, exact, entropic, conditional)] == [
        False, True, True, True
    ]  # fmt: skip


def test_quantiles_stand_channel_by_channel():
    x = torch.arange(36.0).reshape(1, 1, 6, 6)
    assert quantiles(torch.cat([x, x + 100], 1), 3).tolist() == [[0, 17.5, 35, 100, 117.5, 135]]


@pytest.mark.parametrize("epsilon", [0.5, 1e9])
def test_entropic_pairs_are_the_best_for_gumbel_noise_by_trying_all(epsilon: float):
    # Gumbel noise is −log E of exponential E: the least Σ C/(ε C̄) − G is the least Π exp(C/(ε C̄)) E
    x0, x1 = torch.tensor([[0.0], [1.0], [3.0], [4.0]]), torch.tensor([[2.0], [0.0], [5.0], [1.0]])
    cost = torch.tensor([[4.0, 1, 1, 4], [0, 1, 9, 16], [25, 16, 4, 1], [1, 0, 4, 9]])  # (x1_i − x0_j)², mean 6
    orders = list(itertools.permutations(range(4)))
    for seed in range(12):
        torch.manual_seed(seed)
        weight = (cost / (6 * epsilon)).exp() * torch.empty(4, 4).exponential_()
        products = [weight[range(4), order].prod().item() for order in orders]
        torch.manual_seed(seed)
        index = entropic(x0, x1, torch.zeros(4, dtype=torch.long), epsilon=epsilon)
        assert index.tolist() == list(orders[products.index(min(products))])
