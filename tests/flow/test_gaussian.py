"""The closed forms in one dimension, by hand; tests/flow/test_path.py holds them against every path and solver."""

import math

import pytest
import torch

from virtassay.flow.gaussian import GaussianPair
from virtassay.flow.path import SineSquared

M, S = 2.0, 0.25  # N(0, 1) → N(2, ¼) along the linear path


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


WORLD = GaussianPair(numbers(0), numbers(1)[None], numbers(M), numbers(S)[None])


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_the_velocity_in_one_dimension(t: float):
    x = numbers(-1, 0, 3)[:, None]
    slope = (t * S - (1 - t)) / ((1 - t) ** 2 + t**2 * S)
    assert torch.allclose(WORLD.velocity(x, numbers(t, t, t)), M + slope * (x - t * M))


def test_what_no_network_can_know_is_the_variance_of_the_other_end():
    assert WORLD.irreducible_loss(numbers(0, 1)).tolist() == pytest.approx([S, 1])


def test_along_common_axes_each_direction_is_a_world_of_one_dimension():
    # the axes are turned by the angle of the triangle 3, 4, 5; at t = ¼ of x_t with κ = 0.8, in numbers:
    a, b, c, rate_c = 0.75, 0.25, 0.4, 0.8 * math.pi  # c = 0.8 sin²(π/4), c' = 0.8 π sin(π/2), a' = −1, b' = 1
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    m0, m1, s0, s1 = numbers(1, -1), numbers(3, 2), numbers(1, 4), numbers(2, 0.5)
    world = GaussianPair(
        turn @ m0, turn @ s0.diag() @ turn.T, turn @ m1, turn @ s1.diag() @ turn.T, SineSquared(kappa=0.8)
    )
    x = torch.tensor([[0.0, 1.0], [2.0, -1.0], [5.0, 3.0]], dtype=torch.float64)
    variance = a**2 * s0 + b**2 * s1 + c**2
    shared = -a * s0 + b * s1 + rate_c * c
    velocity = m1 - m0 + shared / variance * (x - a * m0 - b * m1)
    assert torch.allclose(world.velocity(x @ turn.T, numbers(0.25, 0.25, 0.25)), velocity @ turn.T)
    left = s0 + s1 + rate_c**2 - shared**2 / variance
    assert world.irreducible_loss(numbers(0.25)).tolist() == pytest.approx([left.mean().item()])
