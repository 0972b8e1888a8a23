"""Velocities: their calls are counted, times broadcast over images, and straight flows are told from bent ones."""

import torch

from tests.flow.worlds import draw, pair
from virtassay.flow.solver import euler
from virtassay.flow.time import uniform_grid
from virtassay.flow.velocity import Counted, curvature, expand_time


def test_a_counted_velocity_passes_on_what_it_is_given():
    counted = Counted(lambda x, t, condition, *step: x + condition + sum(step))
    x, t = torch.zeros(2, 3), torch.zeros(2)
    assert (counted(x, t, 1.0) == 1).all() and (counted(x, t, 1.0, torch.tensor(2.0)) == 3).all()
    assert counted.calls == 2


def test_times_broadcast_over_images_of_any_dimension():
    t = torch.arange(4.0)
    for shape in ((4, 2), (4, 3, 5, 6)):
        assert (torch.ones(shape) * expand_time(t, torch.ones(shape))).flatten(1).amax(1).tolist() == t.tolist()


def test_one_euler_step_is_exact_on_a_deterministic_coupling():
    # x1 = A x0 + b, coupled optimally (A symmetric positive): paths are straight lines, v(x0, 0) = x1 - x0
    torch.manual_seed(1)
    root = torch.randn(3, 3, dtype=torch.float64)
    A, b = root @ root.T + torch.eye(3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    x0 = torch.randn(50, 3, dtype=torch.float64)

    def velocity(x: torch.Tensor, t: torch.Tensor, condition: None) -> torch.Tensor:
        # x_t = ((1-t) I + t A) x0 + t b, inverted for x0
        eye = torch.eye(3, dtype=torch.float64)
        mix = (1 - t)[:, None, None] * eye + t[:, None, None] * A
        start = torch.linalg.solve(mix, (x - t[:, None] * b)[..., None])[..., 0]
        return start @ (A - eye).T + b

    once = euler(velocity, x0, None, uniform_grid(1).double())
    assert (once - (x0 @ A.T + b)).abs().max() < 1e-12
    assert curvature(velocity, x0, None, uniform_grid(20).double()) < 1e-20
    # and the flow of independent pairs is not straight
    world = pair()
    assert curvature(world.velocity, draw(world.m0, world.S0, 500), None, uniform_grid(50).double()) > 0.05
