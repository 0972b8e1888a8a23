"""Guidance is affine in its scale, field by field, on every channel; every network call is counted."""

from dataclasses import dataclass, replace

import pytest
import torch

from virtassay.flow.gaussian import GaussianPair
from virtassay.flow.guidance import Guidance, Guided
from virtassay.flow.solver import heun
from virtassay.flow.time import uniform_grid
from virtassay.flow.velocity import Counted


@dataclass(frozen=True)
class Label:
    perturbation: float
    batch: float = 0.0

    def without(self, field: str) -> "Label":
        return replace(self, **{field: 0.0})


def field(x: torch.Tensor, t: torch.Tensor, condition: Label) -> torch.Tensor:
    channels = torch.arange(1.0, x.shape[1] + 1).reshape(1, -1, 1, 1)
    return (condition.perturbation + condition.batch) * channels.expand_as(x) + 0.1 * x


def test_guidance_is_null_at_0_conditional_at_1_and_affine_on_every_channel():
    x, t, c = torch.randn(2, 6, 3, 3), torch.zeros(2), Label(2.0)
    null, conditional = field(x, t, Label(0.0)), field(x, t, c)
    assert torch.allclose(Guidance(0.0)(field)(x, t, c), null, atol=1e-6)
    assert torch.equal(Guidance(1.0)(field)(x, t, c), conditional)
    for scale in (0.5, 2.0, 3.5):
        assert torch.allclose(Guidance(scale)(field)(x, t, c), null + scale * (conditional - null), atol=1e-5)


def test_outside_its_interval_guidance_changes_nothing_image_by_image():
    x, t, c = torch.randn(4, 2, 3, 3), torch.tensor([0.1, 0.3, 0.6, 0.9]), Label(2.0)
    plain, everywhere = field(x, t, c), Guidance(3.0)(field)(x, t, c)
    within = Guidance(3.0, interval=(0.3, 0.6))(field)(x, t, c)
    assert torch.equal(within[[0, 3]], plain[[0, 3]])
    assert torch.equal(within[[1, 2]], everywhere[[1, 2]])


def test_autoguidance_of_gaussians_extrapolates_from_the_guides_mean_through_the_models():
    """v is affine in m1, so guiding N(m, S) against N(m', S) is the exact flow to N(m + (s − 1)(m − m'), S)."""
    here, spread = torch.zeros(2), torch.tensor([[0.5, 0.2], [0.2, 0.3]])
    model, guide = torch.tensor([1.0, -2.0]), torch.tensor([0.5, -1.0])

    def flow(mean: torch.Tensor) -> GaussianPair:
        return GaussianPair(here, torch.eye(2), mean, spread)

    guided = Guidance(3.0, against="guide")(flow(model).velocity, flow(guide).velocity)
    x, t = torch.randn(64, 2), torch.rand(64)
    further = flow(model + 2 * (model - guide))
    assert torch.allclose(guided(x, t, None), further.velocity(x, t), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"against": "zero"}, "guidance.against"),
        ({"interval": (0.6, 0.2)}, "guidance.interval"),
        ({"interval": (0.0, 1.5)}, "guidance.interval"),
        ({"scale": {"batch": 2.0}, "against": "guide"}, "another model"),
    ],
)
def test_impossible_guidance_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Guidance(**{"scale": 2.0} | arguments)


def test_autoguidance_without_a_guide_says_how_to_get_one():
    with pytest.raises(ValueError, match="guide_at"):
        Guidance(2.0, against="guide")(field)


def test_network_calls_are_counted_guidance_included():
    def calls(guidance: Guidance) -> int:
        counted = Counted(field)
        heun(guidance(counted), torch.zeros(2, 1, 2, 2), Label(1.0), uniform_grid(5))
        return counted.calls

    assert calls(Guidance()) == 10  # two a step
    assert calls(Guidance(2.0)) == 20  # and twice that with the null
    assert calls(Guidance(2.0, interval=(0.0, 0.5))) == 10 + 5  # at 0, .2, .2, .4, .4


def test_each_field_has_its_own_scale():
    x, t, c = torch.randn(2, 6, 3, 3), torch.zeros(2), Label(2.0, batch=1.0)
    guided = Guidance({"perturbation": 3.0, "batch": 0.0, "cell_type": 1.0})(field)(x, t, c)
    # v is additive in the fields: each is multiplied by its own scale
    assert torch.allclose(guided, field(x, t, Label(6.0, batch=0.0)), atol=1e-5)
    assert Guidance({"batch": 1.0})(field) is field, "a scale of 1 is no guidance"


def test_a_mean_velocity_is_guided_over_its_own_step():
    def mean(x: torch.Tensor, t: torch.Tensor, condition: Label, step: torch.Tensor) -> torch.Tensor:
        return condition.perturbation * step[:, None].expand_as(x)

    x, t, step = torch.zeros(3, 1), torch.zeros(3), torch.tensor([0.1, 0.5, 1.0])
    assert torch.allclose(Guidance(2.0)(mean)(x, t, Label(1.0), step), 2 * step[:, None])


@pytest.mark.parametrize(
    ("guidance", "null", "guide"),
    [
        (Guidance(1.0), False, False),
        (Guidance(1.0, against="guide"), False, False),
        (Guidance(2.0), True, False),
        (Guidance({"batch": 0.0}), True, False),
        (Guidance(2.0, against="guide"), False, True),
    ],
)
def test_what_guidance_needs_of_a_model(guidance: Guidance, null: bool, guide: bool):
    assert guidance.needs_null is null and guidance.needs_guide is guide


def test_an_interval_may_be_one_moment_but_not_begin_before_the_source():
    assert Guidance(2.0, interval=(0.3, 0.3)).interval == (0.3, 0.3)
    for interval in ((-0.5, 0.5), (0.5,), (0.1, 0.2, 0.3)):
        with pytest.raises(ValueError, match=r"guidance\.interval"):
            Guidance(2.0, interval=interval)


def test_a_guided_velocity_is_guided_from_the_first_moment_to_the_last():
    x, t = torch.zeros(3, 1), torch.tensor([0.0, 0.5, 1.0])
    guided = Guided(lambda x, t, c: x + 1, [(lambda x, t, c: x, 3.0)])
    assert torch.equal(guided(x, t, None), torch.full((3, 1), 3.0))  # 0 + 3 (1 − 0)
