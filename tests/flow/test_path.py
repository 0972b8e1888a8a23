"""Every path against its closed form, its own derivative, and other people's code."""

import math

import pytest
import torch

from tests.flow.worlds import draw, pair
from virtassay.flow.objective import FlowMatching
from virtassay.flow.path import BrownianBridge, Linear, Path, SineSquared, Trigonometric, interpolate
from virtassay.flow.solver import rk4
from virtassay.flow.time import uniform, uniform_grid

PATHS: list[Path] = [Linear(), Trigonometric(), BrownianBridge(0.7, margin=0.001), SineSquared(0.8)]
name = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)


@name
def test_the_velocity_is_the_derivative_of_the_path(path: Path):
    x0, x1, noise = torch.randn(3, 9, 2, dtype=torch.float64)
    t = torch.linspace(0.05, 0.95, 9, dtype=torch.float64)
    h = 1e-5
    ahead, behind = (interpolate(path, x0, x1, t + s * h, noise).x_t for s in (1, -1))
    assert torch.allclose((ahead - behind) / (2 * h), interpolate(path, x0, x1, t, noise).velocity, atol=1e-6)


@name
def test_a_path_begins_at_the_source_and_ends_at_the_target(path: Path):
    x0, x1, noise = torch.randn(3, 4, 2, 3, 3)
    begin, end = (interpolate(path, x0, x1, torch.full((4,), t), noise).x_t for t in (0.0, 1.0))
    near = 0.1 if isinstance(path, BrownianBridge) else 1e-5  # its margin
    assert (begin - x0).abs().max() < near and (end - x1).abs().max() < near


@name
def test_the_flow_of_the_closed_form_ends_in_the_target(path: Path):
    world = pair(path)
    x0 = draw(world.m0, world.S0, 20_000)
    x1 = rk4(world.velocity, x0, None, uniform_grid(60).double())
    assert torch.allclose(x1.mean(0), world.m1, atol=0.05)
    assert torch.allclose(x1.T.cov(), world.S1, atol=0.08)


@name
def test_the_objective_at_the_closed_form_is_the_irreducible_loss(path: Path):
    # a wrong sign, direction of time, factor or path would raise it: one test for all of them
    world, n = pair(path), 200_000
    t = uniform(n).double()
    x0, x1 = draw(world.m0, world.S0, n), draw(world.m1, world.S1, n)
    objective = FlowMatching(path)
    loss = objective(world.velocity, x0, x1, t, None).mean()
    assert loss.item() == pytest.approx(world.irreducible_loss(t).mean().item(), rel=0.02)
    planted = {
        "velocity's sign": objective(lambda x, t, _: -world.velocity(x, t), x0, x1, t, None),
        "time reversed": objective(lambda x, t, _: world.velocity(x, 1 - t), x0, x1, t, None),
        "source and target exchanged": objective(world.velocity, x1, x0, t, None),
    }
    for bug, value in planted.items():
        assert value.mean() > 1.1 * loss, bug


def test_the_linear_path_ends_with_the_condition_of_its_target():
    # at t = 1 the path is at the target: the velocity must receive x == condition, the target it belongs to
    x0, x1 = torch.randn(6, 2, 4, 4), torch.randn(6, 2, 4, 4)

    def velocity(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        assert torch.equal(x, condition)
        return x1 - x0

    assert FlowMatching(Linear())(velocity, x0, x1, torch.ones(6), x1).abs().max() == 0


def test_paths_agree_with_torchcfm():
    cfm = pytest.importorskip("torchcfm.conditional_flow_matching", reason="torchcfm: pip install --no-deps torchcfm")
    x0, x1 = torch.randn(2, 64, 5)
    t = torch.linspace(0.05, 0.95, 64)
    for theirs, ours in (
        (cfm.ConditionalFlowMatcher(sigma=0.0), Linear()),
        (cfm.VariancePreservingConditionalFlowMatcher(sigma=0.0), Trigonometric()),
        (cfm.SchrodingerBridgeConditionalFlowMatcher(sigma=0.6), BrownianBridge(0.6)),
    ):
        if isinstance(ours, BrownianBridge):  # their sampler couples by itself; their path does not
            noise = torch.randn_like(x1)
            x_t = theirs.compute_mu_t(x0, x1, t) + theirs.compute_sigma_t(t)[:, None] * noise
            velocity = theirs.compute_conditional_flow(x0, x1, t, x_t)
        else:
            noise, (_, x_t, velocity) = None, theirs.sample_location_and_conditional_flow(x0, x1, t)
        point = interpolate(ours, x0, x1, t, noise)
        assert torch.allclose(point.x_t, x_t, atol=1e-6) and torch.allclose(point.velocity, velocity, atol=1e-4)


def test_paths_agree_with_flow_matching():
    path = pytest.importorskip("flow_matching.path")
    scheduler = pytest.importorskip("flow_matching.path.scheduler")
    x0, x1 = torch.randn(2, 64, 5)
    t = torch.linspace(0.05, 0.95, 64)
    for theirs, ours in ((scheduler.CondOTScheduler(), Linear()), (scheduler.CosineScheduler(), Trigonometric())):
        sample = path.AffineProbPath(theirs).sample(x_0=x0, x_1=x1, t=t)
        point = interpolate(ours, x0, x1, t)
        assert torch.allclose(point.x_t, sample.x_t, atol=1e-6)
        assert torch.allclose(point.velocity, sample.dx_t, atol=1e-5)


def test_the_usual_noise_of_a_path_by_hand():
    t = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    mix = BrownianBridge().mix(t)  # κ = 0.5 and times within [0.01, 0.99]
    assert mix.noise.tolist() == pytest.approx([0.5 * (0.01 * 0.99) ** 0.5, 0.5 * 0.1875**0.5, 0.5 * 0.0099**0.5])
    assert mix.x1.tolist() == pytest.approx([0.01, 0.25, 0.99])
    assert SineSquared().mix(t).noise.tolist() == pytest.approx([0, 0.5, 0], abs=1e-12)
    assert SineSquared().rate(t).noise[1].item() == pytest.approx(math.pi)


def test_noise_is_drawn_where_a_path_has_some_and_nowhere_else():
    x, t = torch.zeros(3, 2), torch.full((3,), 0.5)
    for path in PATHS:
        torch.manual_seed(5)
        drawn = torch.randn_like(x)
        torch.manual_seed(5)
        point, after = interpolate(path, x, x, t), torch.randn_like(x)
        assert torch.allclose(point.x_t, drawn * path.mix(t).noise[:, None])
        assert torch.equal(after, drawn) != path.needs_noise
    assert [path.needs_noise for path in PATHS] == [False, False, True, True]


def test_paths_are_what_their_protocol_says():
    assert all(isinstance(path, Path) for path in PATHS) and not isinstance(interpolate, Path)


def test_paths_are_equal_by_value():
    for kind in (Linear, Trigonometric, BrownianBridge, SineSquared):
        assert kind() == kind() and repr(kind()).startswith(kind.__name__ + "(")
    assert BrownianBridge(0.5) != BrownianBridge(0.6) and SineSquared(0.5) != SineSquared(0.6)
