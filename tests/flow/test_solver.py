"""Solvers: order of convergence, the flow and its way back, agreement with torchdiffeq, noise that keeps the law."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torchdiffeq import odeint

from tests.flow.worlds import draw, from_noise, pair
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import (
    MeanSolver,
    Solver,
    ab2,
    dopri5,
    euler,
    heun,
    jump,
    midpoint,
    rk4,
    stochastic,
)
from virtassay.flow.time import cosine_grid, uniform_grid
from virtassay.flow.traits import trait
from virtassay.flow.velocity import Counted, MeanVelocity, Velocity

M = torch.tensor([[0.3, -1.2], [0.9, -0.4]], dtype=torch.float64)
X0 = torch.tensor([[1.0, -0.5]], dtype=torch.float64)


def linear(x: torch.Tensor, t: torch.Tensor, condition: None) -> torch.Tensor:
    return x @ M.T


@pytest.mark.parametrize(
    ("solver", "order", "calls"), [(euler, 1, 1), (midpoint, 2, 2), (heun, 2, 2), (ab2, 2, 1), (rk4, 4, 4)]
)
def test_order_of_convergence_and_calls_a_step(solver, order: int, calls: int):
    truth = X0 @ torch.linalg.matrix_exp(M).T
    errors = []
    for steps in (20, 40):
        counted = Counted(linear)
        errors.append((solver(counted, X0, None, uniform_grid(steps).double()) - truth).norm().item())
        assert counted.calls == calls * steps
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


def test_two_step_adams_bashforth_keeps_its_order_on_unequal_steps():
    truth = X0 @ torch.linalg.matrix_exp(M).T
    errors = [(ab2(linear, X0, None, cosine_grid(n).double()) - truth).norm().item() for n in (20, 40)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("solver", [euler, midpoint, heun, rk4, ab2, dopri5, stochastic])
def test_solvers_pass_the_time_of_each_call(solver):
    # dx/dt = 2t, from 0 to 1
    x1 = solver(lambda x, t, c: 2 * t[:, None] * torch.ones_like(x), torch.zeros(1, 1), None, uniform_grid(200))
    near = {euler: 0.006, ab2: 1e-4, stochastic: 4}.get(solver, 1e-5)  # stochastic: fresh noise, the same mean
    assert x1.item() == pytest.approx(1.0, abs=near)


@pytest.mark.parametrize("solver", [midpoint, heun, rk4, ab2, dopri5])
def test_descending_times_lead_back_to_the_source(solver):
    world = pair()
    x0 = draw(world.m0, world.S0, 50)
    times = uniform_grid(400).double()
    x1 = solver(world.velocity, x0, None, times)
    assert (solver(world.velocity, x1, None, times.flip(0)) - x0).abs().max() < 2e-3


def test_dopri5_is_torchdiffeqs_and_keeps_its_tolerance_for_each_image():
    world = pair()
    x0 = draw(world.m0, world.S0, 20)
    times = uniform_grid(1).double()
    reference: Any = odeint(lambda t, x: world.velocity(x, t.expand(len(x))), x0, times, rtol=1e-11, atol=1e-11)
    assert (dopri5(world.velocity, x0, None, times, rtol=1e-7, atol=1e-7) - reference[-1]).abs().max() < 1e-5
    counted = Counted(world.velocity)
    dopri5(counted, x0, None, times)
    assert 20 < counted.calls < 200
    assert dopri5(world.velocity, x0[:0], None, times).shape == (0, 3)


def test_images_that_err_little_do_not_hide_one_that_errs_much():
    def velocity(x: torch.Tensor, t: torch.Tensor, condition: None) -> torch.Tensor:
        return x * (20 * torch.cos(20 * t))[:, None]  # x(1) = x(0) exp(sin 20)

    x0 = torch.zeros(1000, 1, dtype=torch.float64)
    x0[0] = 1
    x1 = dopri5(velocity, x0, None, uniform_grid(1).double(), rtol=1e-6, atol=1e-6)
    assert x1[0].item() == pytest.approx(math.exp(math.sin(20)), abs=2e-5)


def test_dopri5_agrees_with_flow_matchings_solver():
    solver = pytest.importorskip("flow_matching.solver")
    world = pair()
    x0 = draw(world.m0, world.S0, 20)

    class Field(torch.nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return world.velocity(x, t.expand(len(x)))

    theirs = solver.ODESolver(Field()).sample(x_init=x0, step_size=None, method="dopri5", atol=1e-8, rtol=1e-8)
    assert (
        dopri5(world.velocity, x0, None, uniform_grid(1).double(), rtol=1e-8, atol=1e-8) - theirs
    ).abs().max() < 1e-6


@pytest.mark.parametrize("churn", [0.0, 0.5, 2.0])
def test_fresh_noise_keeps_the_law_of_the_flow(churn: float):
    torch.manual_seed(3)
    world = from_noise()
    x0 = draw(world.m0, world.S0, 30_000)
    x1 = partial(stochastic, churn=churn)(world.velocity, x0, None, uniform_grid(60).double())
    assert torch.allclose(x1.mean(0), world.m1, atol=0.03)
    assert torch.allclose(x1.T.cov(), world.S1, atol=0.04)
    straight = midpoint(world.velocity, x0, None, uniform_grid(60).double())
    assert torch.allclose(x1, straight) == (churn == 0), "and is another image than without"


def test_what_the_stochastic_solver_cannot_do():
    with pytest.raises(ValueError, match="go back"):
        stochastic(linear, X0, None, uniform_grid(3).flip(0))
    with pytest.raises(ValueError, match=r"solver\.churn"):
        stochastic(linear, X0, None, uniform_grid(3), churn=-1.0)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_jump_with_the_true_mean_velocity_is_exact(steps: int):
    def mean(x: torch.Tensor, t: torch.Tensor, condition: None, step: torch.Tensor) -> torch.Tensor:
        ahead = torch.linalg.matrix_exp(M * step[0])
        return (x @ ahead.T - x) / step[:, None]

    x1 = jump(mean, X0, None, uniform_grid(steps).double())
    assert (x1 - X0 @ torch.linalg.matrix_exp(M).T).abs().max() < 1e-12


def test_two_step_adams_bashforth_is_exact_where_the_velocity_is_linear_in_time():
    # dx/dt = 2t: the first step, Euler's, loses h₁²; the later ones lose nothing, whatever their lengths. (Order of
    # convergence cannot tell h_k / h_(k−1) from its inverse: the difference telescopes to O(h²).)
    for times in ([0, 0.1, 0.4, 0.5, 1.0], [0, 0.3, 0.35, 0.9, 1.0]):
        grid = torch.tensor(times, dtype=torch.float64)
        x1 = ab2(lambda x, t, c: 2 * t[:, None] * torch.ones_like(x), torch.zeros_like(X0), None, grid)
        assert torch.allclose(x1, torch.full_like(X0, 1 - times[1] ** 2), atol=1e-12)


def test_a_two_step_adams_bashforth_step_by_hand():
    # dx/dt = x from 1: Euler's 1 + 0.2 · 1 = 1.2; then r = 0.4/0.2 = 2 and 1.2 + 0.4 (2 · 1.2 − 1 · 1) = 1.76
    start = torch.ones(1, 1, dtype=torch.float64)
    x = ab2(lambda x, t, c: x, start, None, torch.tensor([0, 0.2, 0.6], dtype=torch.float64))
    assert x.item() == pytest.approx(1.76, abs=1e-12)


def test_the_usual_numbers_of_steps():
    usual = {euler: 50, midpoint: 20, heun: 20, rk4: 10, ab2: 20, dopri5: 1, stochastic: 20, jump: 2}
    assert {solver: Sampler(solver).n_steps for solver in usual} == usual
    assert Sampler(lambda velocity, x0, condition, times: x0).n_steps == 20, "of a solver that names none"
    assert {solver for solver in usual if trait(solver, "from_noise")} == {stochastic}
    assert {solver for solver in usual if trait(solver, "controls_error")} == {dopri5}


def test_the_usual_stochastic_step_by_hand():
    # v = 0, no fresh noise: from 0.5 back by half of the step, x ← (0.25/0.5) x, and the midpoint step leaves it there
    x1 = stochastic(lambda x, t, c: 0 * x, X0, None, torch.tensor([0.5, 1.0]).double(), draw=torch.zeros_like)
    assert torch.allclose(x1, X0 / 2)
    # noise alone: √((1 − 0.25)² − (0.5 · 0.5)²) = √0.5
    x1 = stochastic(lambda x, t, c: 0 * x, 0 * X0, None, torch.tensor([0.5, 1.0]).double(), draw=torch.ones_like)
    assert torch.allclose(x1, torch.full_like(X0, math.sqrt(0.5)))
    # and v = 1: what is left after going back to t = 0.25 moves by 1 − 0.25
    x1 = stochastic(lambda x, t, c: 0 * x + 1, X0, None, torch.tensor([0.5, 1.0]).double(), draw=torch.zeros_like)
    assert torch.allclose(x1, X0 / 2 + 0.75)


def test_one_step_backwards_is_backwards():
    with pytest.raises(ValueError, match="go back"):
        stochastic(linear, X0, None, torch.tensor([1.0, 0.0]))


def test_the_usual_tolerance_of_dopri5():
    counted, x1 = Counted(linear), X0 @ torch.linalg.matrix_exp(M).T
    for name in ("rtol", "atol"):  # a loose one beside it would show: either alone bounds the step
        loose = dopri5(linear, X0, None, uniform_grid(1).double(), **{name: 1.0})
        assert (loose - x1).abs().max() > 1e-5, name
    assert (dopri5(counted, X0, None, uniform_grid(1).double()) - x1).abs().max() < 1e-5
    assert 10 < counted.calls < 100


def test_solvers_and_velocities_are_what_their_protocols_say():
    assert isinstance(euler, Solver) and isinstance(jump, MeanSolver) and isinstance(linear, Velocity)
    assert isinstance(Counted(linear), MeanVelocity)
    assert not any(isinstance(3, protocol) for protocol in (Solver, MeanSolver, Velocity, MeanVelocity))
