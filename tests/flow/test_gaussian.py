"""The closed forms in one dimension, by hand; tests/flow/test_path.py holds them against every path and solver."""

import pytest
import torch

from virtassay.flow.gaussian import GaussianPair

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
