"""Few-step generation: the loss is zero at the true mean velocity, and training on it reaches the flow in one call."""

import math

import pytest
import torch
from torch import nn

from tests.flow.worlds import pair
from virtassay.flow.gaussian import GaussianPair
from virtassay.flow.objective import SelfDistilled
from virtassay.flow.path import Linear, Trigonometric
from virtassay.flow.solver import jump, rk4
from virtassay.flow.time import uniform, uniform_grid


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
