"""The mathematics against closed forms: STYLE 1–4 and 6, on Gaussians where every answer is known."""

import math

import pytest
import torch

from virtassay.flow.gaussian import GaussianPair
from virtassay.flow.objective import FlowMatching
from virtassay.flow.path import Linear
from virtassay.flow.solver import euler, heun, midpoint
from virtassay.flow.time import cosine_grid, uniform, uniform_grid

torch.set_default_dtype(torch.float32)


def pair(d: int = 3) -> GaussianPair:
    torch.manual_seed(0)
    a, b = torch.randn(2, d, d, dtype=torch.float64)
    eye = torch.eye(d, dtype=torch.float64)
    m0, m1 = torch.randn(2, d, dtype=torch.float64)
    return GaussianPair(m0, a @ a.T / d + 0.2 * eye, m1, b @ b.T / d + 0.2 * eye)


def draw(m: torch.Tensor, s: torch.Tensor, n: int) -> torch.Tensor:
    return m + torch.randn(n, len(m), dtype=m.dtype) @ torch.linalg.cholesky(s).T


def test_flow_of_the_closed_form_ends_in_the_target_distribution():
    world = pair()
    x0 = draw(world.m0, world.S0, 20_000)
    x1 = heun(world.velocity, x0, None, uniform_grid(100).double())
    assert torch.allclose(x1.mean(0), world.m1, atol=0.04)
    assert torch.allclose(x1.T.cov(), world.S1, atol=0.06)


def test_objective_at_the_closed_form_equals_the_irreducible_loss():
    # a wrong sign, direction of time or path would raise it: one test for all three
    world = pair()
    n = 200_000
    t = uniform(n).double()
    x0, x1 = draw(world.m0, world.S0, n), draw(world.m1, world.S1, n)
    loss = FlowMatching(Linear())(world.velocity, x0, x1, t, None).mean()
    assert loss.item() == pytest.approx(world.irreducible_loss(t).mean().item(), rel=0.01)
    backwards = FlowMatching(Linear())(world.velocity, x1, x0, t, None).mean()
    assert backwards > 1.2 * loss


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


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (midpoint, 2), (heun, 2)])
def test_order_of_convergence_on_a_linear_equation(solver, order):
    M = torch.tensor([[0.3, -1.2], [0.9, -0.4]], dtype=torch.float64)
    x0 = torch.tensor([[1.0, -0.5]], dtype=torch.float64)
    truth = x0 @ torch.linalg.matrix_exp(M).T
    errors = [
        (solver(lambda x, t, c: x @ M.T, x0, None, uniform_grid(n).double()) - truth).norm().item() for n in (20, 40)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("solver", [euler, midpoint, heun])
def test_solvers_pass_the_time_of_each_call(solver):
    # dx/dt = 2t, from 0 to 1: midpoint and heun are exact on it, euler needs many steps
    x1 = solver(lambda x, t, c: 2 * t[:, None] * torch.ones_like(x), torch.zeros(1, 1), None, uniform_grid(200))
    assert x1.item() == pytest.approx(1.0, abs=0.006 if solver is euler else 1e-5)


def test_targets_keep_their_conditions_and_signs():
    # at t = 1 the path is at the target: the velocity must receive x == condition, the target it belongs to
    x0, x1 = torch.randn(6, 2, 4, 4), torch.randn(6, 2, 4, 4)

    def velocity(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        assert torch.equal(x, condition)
        return x1 - x0

    assert FlowMatching(Linear())(velocity, x0, x1, torch.ones(6), x1).abs().max() == 0


def test_uniform_times_are_uniform_and_below_one():
    t = uniform(10_000)
    assert t.min() >= 0 and t.max() < 1
    assert t.histc(10, 0, 1).tolist() == pytest.approx([1000] * 10, abs=2)  # stratified: one in each slice
    assert abs(torch.corrcoef(torch.stack([t[:-1], t[1:]]))[0, 1]) < 0.05  # in random order


@pytest.mark.parametrize("grid", [uniform_grid, cosine_grid])
def test_a_grid_ascends_from_zero_to_one_and_needs_a_step(grid):
    for steps in (1, 2, 7, 50):
        times = grid(steps)
        assert len(times) == steps + 1 and times[0] == 0 and times[-1] == 1 and (times.diff() > 0).all()
    with pytest.raises(ValueError, match="at least 1 step"):
        grid(0)


def test_the_cosine_grid_is_short_at_both_ends():
    torch.testing.assert_close(cosine_grid(4), torch.tensor([0, 0.1464466, 0.5, 0.8535534, 1]))


def test_the_cosine_grid_errs_less_where_the_last_noise_has_to_go():
    # data N(0, s²), s small: v = x · ((1 + s²) t − 1) / ((1 − t)² + s² t²) maps noise x0 to s x0 exactly
    s, x0 = 0.03, torch.randn(200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def velocity(x, t, _):
        return x * (((1 + s**2) * t - 1) / ((1 - t) ** 2 + s**2 * t**2))[:, None]

    even, cosine = (
        (midpoint(velocity, x0, None, grid(10).double()) - s * x0).norm().item() for grid in (uniform_grid, cosine_grid)
    )
    assert cosine < even / 2
