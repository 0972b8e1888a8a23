"""Guidance is affine in its scale on every channel; seeds name images; couplings are permutations inside groups."""

from dataclasses import dataclass

import torch

from virtassay.flow.coupling import independent
from virtassay.flow.guidance import Guided
from virtassay.flow.solver import heun
from virtassay.flow.source import Noise, seeded_noise
from virtassay.flow.time import uniform_grid
from virtassay.flow.velocity import Counted


@dataclass(frozen=True)
class Label:
    value: float

    def without_perturbation(self) -> "Label":
        return Label(0.0)


def field(x: torch.Tensor, t: torch.Tensor, condition: Label) -> torch.Tensor:
    channels = torch.arange(1.0, x.shape[1] + 1).reshape(1, -1, 1, 1)
    return condition.value * channels.expand_as(x) + 0.1 * x


def test_guidance_is_null_at_0_conditional_at_1_and_affine_on_every_channel():
    x, t, c = torch.randn(2, 6, 3, 3), torch.zeros(2), Label(2.0)
    null, conditional = field(x, t, Label(0.0)), field(x, t, c)
    assert torch.equal(Guided(field, 0.0)(x, t, c), null)
    assert torch.equal(Guided(field, 1.0)(x, t, c), conditional)
    for scale in (0.5, 2.0, 3.5):
        assert torch.allclose(Guided(field, scale)(x, t, c), null + scale * (conditional - null), atol=1e-5)


def test_network_calls_are_counted_guidance_included():
    def calls(scale: float) -> int:
        counted = Counted(field)
        heun(Guided(counted, scale), torch.zeros(2, 1, 2, 2), Label(1.0), uniform_grid(5))
        return counted.calls

    assert calls(1.0) == 10  # two a step
    assert calls(2.0) == 20  # and twice that with the null


def test_noise_depends_on_its_seed_alone():
    together = seeded_noise(torch.tensor([7, 8, 9]), (3, 4, 4))
    alone = seeded_noise(torch.tensor([8]), (3, 4, 4))
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])
    assert torch.equal(Noise()(together, None), together)


def test_independent_coupling_is_the_identity_permutation():
    x = torch.randn(5, 1, 2, 2)
    assert independent(x, x, torch.zeros(5, dtype=torch.long)).tolist() == [0, 1, 2, 3, 4]
