"""The bugs that this field's code has had, planted one by one: each check passes on ours and fails on the bug."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.flow.worlds import draw, pair
from tests.networks.toy import conditions, encoder
from virtassay.flow import coupling
from virtassay.flow.guidance import Guided, Nulled
from virtassay.flow.objective import FlowMatching
from virtassay.flow.path import Linear, Mix
from virtassay.flow.time import uniform
from virtassay.schema import NULL, Condition


@dataclass(frozen=True)
class WrongSign(Linear):
    def rate(self, t: Tensor) -> Mix:
        return Mix(*(-part for part in super().rate(t)))


@dataclass(frozen=True)
class SwappedTime(Linear):
    def mix(self, t: Tensor) -> Mix:
        return super().mix(1 - t)


def the_loss_of_the_closed_form_is_irreducible(path: Linear) -> None:
    torch.manual_seed(0)
    world, n = pair(), 50_000
    t = uniform(n).double()
    x0, x1 = draw(world.m0, world.S0, n), draw(world.m1, world.S1, n)
    loss = FlowMatching(path)(world.velocity, x0, x1, t, None).mean().item()
    assert loss == pytest.approx(world.irreducible_loss(t).mean().item(), rel=0.03)


def permuted_target(x0: Tensor, x1: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    return x0, x1[index]


def permuted_source(x0: Tensor, x1: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    return x0[index], x1


def a_target_keeps_its_condition(pairing: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    torch.manual_seed(0)
    x0, x1 = torch.randn(2, 12, 3)
    index = coupling.exact(x0, x1, torch.zeros(12, dtype=torch.long))
    seen: list[Tensor] = []

    def velocity(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        seen.append(x - condition)  # at t = 1 the path is at the target, which is what the condition says
        return x

    FlowMatching(Linear())(velocity, *pairing(x0, x1, index), torch.ones(12), x1)
    assert seen[0].abs().max() == 0


def transposed(a: Tensor, b: Tensor) -> Tensor:
    return coupling_cost(a, b).T


coupling_cost = coupling.squared_distances


def the_cheapest_pairs_are_found(cost: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coupling, "squared_distances", cost)
        x0, x1 = torch.tensor([[10.0], [0.0], [1.0]]), torch.tensor([[0.0], [1.0], [10.0]])
        assert torch.equal(x0[coupling.exact(x0, x1, torch.zeros(3, dtype=torch.long))], x1)


@dataclass(frozen=True)
class ThreeChannels(Guided):
    def __call__(self, x: Tensor, t: Tensor, condition: Any, *step: Tensor) -> Tensor:
        guided, plain = super().__call__(x, t, condition, *step), self.velocity(x, t, condition, *step)
        return torch.cat([guided[:, :3], plain[:, 3:]], dim=1)


def guidance_reaches_every_channel(guided: type[Guided]) -> None:
    def field(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return (condition.perturbation[:, 0].float() + 1)[:, None, None, None].expand_as(x)  # NULL is −1: 0

    some = conditions()
    given = replace(some, perturbation=torch.ones_like(some.perturbation))
    x, t = torch.zeros(len(given), 6, 2, 2), torch.zeros(len(given))
    assert torch.allclose(guided(field, [(Nulled(field, "perturbation"), 3.0)])(x, t, given), torch.tensor(6.0))


def drop_whole_minibatches(encode: Any, condition: Condition) -> Condition:
    return condition.without("perturbation") if torch.rand(()) < encode.dropout else condition


def a_minibatch_keeps_some_conditions_and_drops_others(drop: Callable[[Any, Condition], Condition]) -> None:
    torch.manual_seed(0)
    encode = encoder(dropout=0.5)
    many = conditions()[torch.zeros(64, dtype=torch.long)]
    shares = [(drop(encode, many).perturbation == NULL).all(1).float().mean().item() for _ in range(8)]
    assert all(0.2 < share < 0.8 for share in shares)


BUGS: dict[str, tuple[Callable[[Any], None], Any, Any]] = {  # check, ours, the bug
    "velocity of the wrong sign": (the_loss_of_the_closed_form_is_irreducible, Linear(), WrongSign()),
    "time swapped": (the_loss_of_the_closed_form_is_irreducible, Linear(), SwappedTime()),
    "permuted target": (a_target_keeps_its_condition, permuted_source, permuted_target),
    "transposed cost": (the_cheapest_pairs_are_found, coupling_cost, transposed),
    "guidance on three channels": (guidance_reaches_every_channel, Guided, ThreeChannels),
    "condition dropped per minibatch": (
        a_minibatch_keeps_some_conditions_and_drops_others, lambda encode, c: encode.drop(c), drop_whole_minibatches,
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(bug: str):
    check, ours, planted = BUGS[bug]
    check(ours)
    with pytest.raises(AssertionError):
        check(planted)


def test_training_permutes_the_source_and_keeps_each_target_with_its_condition():
    """The same as above through the real training step: each target's pixels say which perturbation it belongs to."""
    from virtassay.data.loading.normalisation import Normalisation
    from virtassay.flow.source import Noise
    from virtassay.schema import Minibatch
    from virtassay.training.module import FlowTraining

    n = 12
    number = torch.arange(n) % 3
    seen: list[tuple[Tensor, Tensor]] = []

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.condition = encoder(dropout=0.0)

        def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            seen.append((x[:, 0, 0, 0], condition.perturbation[:, 0]))
            return x

    module = FlowTraining(
        network=Network(), normalisation=Normalisation.identity(1), source=Noise(),
        coupling=partial(coupling.exact), objective=FlowMatching(Linear()),
        time_law=lambda n, device="cpu": torch.ones(n), optimizer=torch.optim.Adam,
    )  # fmt: skip
    module.log = lambda *args, **kwargs: None
    target = (number * 100).to(torch.uint8)[:, None, None, None].expand(n, 1, 4, 4)
    condition = Condition(
        perturbation=number[:, None], structure=torch.zeros(n, 1, 0), log_dose=torch.zeros(n, 1),
        batch=torch.zeros(n, dtype=torch.long), cell_type=torch.zeros(n, dtype=torch.long),
    )  # fmt: skip
    module.training_step(Minibatch(target, None, None, condition, number, torch.arange(n)), 0)
    pixels, perturbation = seen[0]
    assert torch.allclose(pixels, perturbation * 100 / 127.5 - 1, atol=1e-5)
