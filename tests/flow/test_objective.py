"""Few-step generation: the loss is zero at the true mean velocity, and training on it reaches the flow in one call."""

import math

import pytest
import torch
from torch import nn

from tests.flow.worlds import pair
from virtassay.flow.gaussian import GaussianPair
from virtassay.flow.objective import FlowMatching, Objective, SelfDistilled, squared_error
from virtassay.flow.path import Linear, Trigonometric
from virtassay.flow.solver import jump, rk4
from virtassay.flow.time import uniform, uniform_grid
from virtassay.flow.traits import trait


class Numbers:
    """A condition that can be taken in part, as a Condition can."""

    def __getitem__(self, rows: torch.Tensor) -> "Numbers":
        return self


def test_a_deterministic_flow_has_no_loss_at_its_mean_velocity():
    # x1 = x0 + 3: the velocity and every mean of it are 3; an error in the target's arithmetic would show
    torch.manual_seed(0)
    x0 = torch.randn(64, 2)
    objective = SelfDistilled(Linear(), share=0.5)
    loss = objective(lambda x, t, c, step: torch.full_like(x, 3.0), x0, x0 + 3, uniform(64), Numbers())
    assert loss.max() < 1e-10
    growing = objective(lambda x, t, c, step: 3.0 + step[:, None].expand_as(x), x0, x0 + 3, uniform(64), Numbers())
    assert growing.max() > 1e-3


def test_the_true_mean_velocity_of_a_curved_flow_has_no_loss():
    """x_t = cos(πt/2) x0 towards x1 = 0: u(x, t, h) = x (cos(π(t + h)/2) / cos(πt/2) − 1) / h, at h = 0 its limit."""
    torch.manual_seed(0)
    x0 = torch.randn(400, 1, dtype=torch.float64)
    t = 0.9 * uniform(400).double()

    def mean(x, t, c, step):
        begin, end = t * (math.pi / 2), (t + step) * (math.pi / 2)
        ratio = (end.cos() / begin.cos() - 1) / step.clamp(min=1e-9)
        return torch.where(step > 0, ratio, -math.pi / 2 * begin.tan())[:, None] * x

    def loss(velocity) -> float:
        return SelfDistilled(Trigonometric(), share=0.5)(velocity, x0, 0 * x0, t, Numbers()).max().item()

    assert loss(mean) < 1e-20
    assert loss(lambda x, t, c, step: mean(x, t, c, 0 * step)) > 1e-2, "the velocity is not its own mean"


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2])
def test_an_impossible_share_is_refused(share: float):
    with pytest.raises(ValueError, match=r"objective\.share"):
        SelfDistilled(Linear(), share=share)


def test_trained_on_a_gaussian_one_call_does_what_the_flow_does():
    torch.manual_seed(0)
    world = pair(d=2)
    world = GaussianPair(world.m0.float(), world.S0.float(), world.m1.float(), world.S1.float())
    net = nn.Sequential(nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))

    def velocity(x, t, c, *step):
        h = step[0] if step else torch.zeros_like(t)
        return net(torch.cat([x, t[:, None], h[:, None]], 1))

    roots = [torch.linalg.cholesky(S) for S in (world.S0, world.S1)]
    objective = SelfDistilled(Linear(), share=0.5)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    steps = 1500
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 - k / steps)
    for _ in range(steps):
        x0, x1 = (m + torch.randn(512, 2) @ root.T for m, root in zip((world.m0, world.m1), roots, strict=True))
        optimizer.zero_grad()
        objective(velocity, x0, x1, uniform(512), Numbers()).mean().backward()
        optimizer.step()
        schedule.step()
    x0 = world.m0 + torch.randn(2000, 2) @ roots[0].T
    with torch.no_grad():
        wanted = rk4(world.velocity, x0, None, uniform_grid(20))
        once = jump(velocity, x0, None, uniform_grid(1))
        euler = x0 + velocity(x0, torch.zeros(2000), None)
    miss, naive = ((x - wanted).square().mean().sqrt().item() for x in (once, euler))
    assert miss < 0.2 and naive > 3 * miss, (miss, naive)


def test_the_loss_is_a_weighted_mean_over_pixels_by_hand():
    # v = 0, u = x1 − x0 = 2 in half of the pixels: w(t) · (4 + 0) / 2
    x0, t = torch.zeros(3, 2, 2, 2), torch.tensor([0.25, 0.5, 0.75])
    x1 = x0.clone()
    x1[:, 0] = 2
    for objective in (FlowMatching(Linear(), weighting=lambda t: t), FlowMatching(Linear())):
        loss = objective(lambda x, t, c: 0 * x, x0, x1, t, None)
        assert loss.tolist() == ([2, 2, 2] if objective == FlowMatching(Linear()) else [0.5, 1, 1.5])
    assert squared_error(x1.half(), x0.half()).dtype == torch.float32


def test_a_share_of_the_images_is_distilled_over_steps_that_end_by_one():
    steps = []

    def velocity(x, t, c, step):
        steps.append((t, step))
        return torch.full_like(x, 3.0)

    t = torch.linspace(0, 0.99, 400)
    x0 = torch.zeros(400, 1)
    loss = SelfDistilled(Linear(), weighting=lambda t: 2 * t)(velocity, x0, x0 + 2, t, Numbers())
    (_, half), _, (_, step) = steps  # two half steps of the target, then the network's own
    assert len(half) == 100 == (step > 0).sum(), "a quarter"
    assert (t + step <= 1).all() and (step / (1 - t))[step > 0].mean().item() == pytest.approx(0.5, abs=0.1)
    # distilled images see the velocity's own mean, 3, the others x1 − x0 = 2
    assert torch.allclose(loss, torch.where(step > 0, 0.0, 2 * t))
    steps.clear()
    SelfDistilled(Linear(), share=0.1)(velocity, x0[:2], x0[:2] + 2, t[:2], Numbers())
    assert len(steps[0][1]) == 1, "one of the images at least"
    assert trait(SelfDistilled(Linear()), "mean_velocity") and not trait(FlowMatching(Linear()), "mean_velocity")


def test_the_target_of_a_distilled_image_by_hand():
    # u(x, t, h) = x + t + 8h at x0 = x1 = 1 and t = 0: for a step of h the halves are u₁ = 1 + 4h and, from
    # x' = 1 + h/2 u₁ and t' = h/2, u₂ = x' + h/2 + 4h: the loss is ((u₁ + u₂)/2 − (1 + 8h))²
    seen = []

    def velocity(x, t, c, step):
        seen.append(step)
        return x + t[:, None] + 8 * step[:, None]

    x = torch.ones(1, 1, dtype=torch.float64)
    loss = SelfDistilled(Linear())(velocity, x, x, torch.zeros(1, dtype=torch.float64), Numbers())
    h = seen[-1].item()
    first = 1 + 4 * h
    second = 1 + h / 2 * first + h / 2 + 4 * h
    assert h > 0 and seen[0].item() == pytest.approx(h / 2)
    assert loss.item() == pytest.approx(((first + second) / 2 - (1 + 8 * h)) ** 2, rel=1e-5)


def test_objectives_are_what_their_protocol_says():
    for objective in (FlowMatching(Linear()), SelfDistilled(Linear())):
        assert isinstance(objective, Objective) and isinstance(objective.path, Linear)
    assert not isinstance(squared_error, Objective), "it has no path"
