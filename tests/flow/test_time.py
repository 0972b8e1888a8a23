"""Laws of time against their distributions, weights against their means, grids against their ends."""

from functools import partial

import pytest
import torch

from virtassay.flow import time
from virtassay.flow.solver import midpoint
from virtassay.flow.time import (
    TimeGrid,
    TimeLaw,
    Weighting,
    cosine_grid,
    cosmap,
    edm_grid,
    edm_weight,
    logit_normal,
    shift,
    shifted,
    shifted_grid,
    uniform,
    uniform_grid,
)

GRIDS = [uniform_grid, cosine_grid, edm_grid, partial(shifted_grid, factor=3.0)]


def test_uniform_times_are_uniform_and_below_one():
    t = uniform(10_000)
    assert t.min() >= 0 and t.max() < 1
    assert t.histc(10, 0, 1).tolist() == pytest.approx([1000] * 10, abs=2)  # stratified: one in each slice
    assert abs(torch.corrcoef(torch.stack([t[:-1], t[1:]]))[0, 1]) < 0.05  # in random order


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.2, 1.2), (-0.5, 0.3)])
def test_the_logit_of_logit_normal_times_is_normal(mean: float, std: float):
    t = logit_normal(50_000, mean=mean, std=std)
    assert t.min() >= 0 and t.max() < 1
    logit = torch.logit(t.double())
    assert logit.mean().item() == pytest.approx(mean, abs=0.02) and logit.std().item() == pytest.approx(std, rel=0.02)


def test_edm_skewed_times_are_those_of_cellflux():
    torch.manual_seed(0)
    sigma = torch.exp(torch.randn(50_000) * 1.2 - 1.2)
    theirs = (1 / (1 + sigma)).clamp(1e-4, 1)
    ours = logit_normal(50_000, mean=1.2, std=1.2)
    assert torch.allclose(theirs.sort().values[::500], ours.sort().values[::500], atol=0.01)


def test_a_shift_moves_to_the_noise_level_times_its_factor():
    t = torch.linspace(0.01, 0.99, 20, dtype=torch.float64)
    sigma = (1 - t) / t
    moved = shift(t, 3.0)
    assert torch.allclose((1 - moved) / moved, 3 * sigma)
    assert torch.allclose(shift(t, 1.0), t) and torch.allclose(shift(moved, 1 / 3), t)
    assert shifted(1000, factor=3.0).mean() < 0.4


@pytest.mark.parametrize("wrong", [partial(shift, factor=0.0), partial(shift, factor=-1.0)])
def test_an_impossible_shift_is_refused(wrong):
    with pytest.raises(ValueError, match="factor above 0"):
        wrong(torch.rand(3))
    with pytest.raises(ValueError, match=r"time_law\.std"):
        logit_normal(3, std=0.0)


def test_weights_are_those_of_their_definitions():
    t = torch.linspace(0.001, 0.999, 99_801, dtype=torch.float64)
    assert cosmap(t).mean().item() == pytest.approx(1, abs=0.002)
    sigma = (1 - t) / t
    assert torch.allclose(edm_weight(t), (1 - t) ** 2 * (sigma**2 + 1) / sigma**2)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_grid_ascends_from_zero_to_one_and_needs_a_step(grid):
    for steps in (1, 2, 7, 50):
        times = grid(steps)
        assert len(times) == steps + 1 and times[0] == 0 and times[-1] == 1 and (times.diff() > 0).all()
    with pytest.raises(ValueError, match="at least 1 step"):
        grid(0)


def test_the_cosine_grid_is_short_at_both_ends():
    torch.testing.assert_close(cosine_grid(4), torch.tensor([0, 0.1464466, 0.5, 0.8535534, 1]))


def test_the_edm_grid_has_the_published_noise_levels():
    # σ_k of Karras et al. 2022, eq. 5, for 5 steps
    inner = edm_grid(5)[1:-1].double()
    high, low = 80 ** (1 / 7), 0.002 ** (1 / 7)
    wanted = torch.tensor([(high + k / 4 * (low - high)) ** 7 for k in (1, 2, 3, 4)], dtype=torch.float64)
    assert torch.allclose((1 - inner) / inner, wanted, rtol=2e-2)


def test_the_cosine_grid_errs_less_where_the_last_noise_has_to_go():
    # data N(0, s²), s small: v = x · ((1 + s²) t − 1) / ((1 − t)² + s² t²) maps noise x0 to s x0 exactly
    s, x0 = 0.03, torch.randn(200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def velocity(x, t, _):
        return x * (((1 + s**2) * t - 1) / ((1 - t) ** 2 + s**2 * t**2))[:, None]

    even, cosine = (
        (midpoint(velocity, x0, None, grid(10).double()) - s * x0).norm().item() for grid in (uniform_grid, cosine_grid)
    )
    assert cosine < even / 2


def test_no_time_is_rounded_up_to_one(monkeypatch):
    assert logit_normal(1000, mean=20.0).max() < 1  # the sigmoid of 17 is 1 in float32
    monkeypatch.setattr(torch, "rand", lambda n, device: torch.full((n,), 1 - 2**-24))  # the largest draw there is
    assert uniform(1000).max() < 1


def test_the_usual_logit_normal_times_are_those_of_the_standard_normal():
    logit = torch.logit(logit_normal(50_000).double())
    assert logit.mean().item() == pytest.approx(0, abs=0.02) and logit.std().item() == pytest.approx(1, rel=0.02)


def test_the_usual_edm_grid_by_hand():
    # σ from 80 to 0.002, ρ = 7: in three steps by way of ((80^(1/7) + 0.002^(1/7)) / 2)^7 = 2.5152…
    middle = ((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    torch.testing.assert_close(edm_grid(2), torch.tensor([0, 1 / 1.002, 1]))
    torch.testing.assert_close(edm_grid(3), torch.tensor([0, 1 / (1 + middle), 1 / 1.002, 1]), rtol=1e-5, atol=0)


def test_later_quantiles_are_later_times(monkeypatch):
    monkeypatch.setattr(time, "uniform", lambda n, device: torch.tensor([0.025, 0.5, 0.975]))
    expected = 0.3 + 2 * torch.tensor([-1.959964, 0, 1.959964])  # of the standard normal
    torch.testing.assert_close(torch.logit(logit_normal(3, mean=0.3, std=2.0)), expected, atol=1e-4, rtol=0)


def test_laws_weights_and_grids_are_what_their_protocols_say():
    for law in (uniform, logit_normal, partial(shifted, factor=2.0)):
        assert isinstance(law, TimeLaw) and law(n=3).shape == (3,)
    for weighting in (time.flat, edm_weight, cosmap):
        assert isinstance(weighting, Weighting) and weighting(t=torch.rand(3)).shape == (3,)
    for grid in GRIDS:
        assert isinstance(grid, TimeGrid) and grid(steps=2).shape == (3,)
    assert not any(isinstance(3, protocol) for protocol in (TimeLaw, Weighting, TimeGrid))
