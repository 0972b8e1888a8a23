"""Bootstraps: unbiased resamples, whole clusters, and coverage."""

import numpy as np
import pytest

from virtassay.evaluation import intervals
from virtassay.evaluation.metrics import distance


def test_energy_of_sides_is_the_energy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(15, 4)), rng.normal(1, 1, size=(12, 4))
    value, _ = intervals.energy_samples(intervals.side(x, 10, 0), intervals.side(y, 10, 1))
    assert value == pytest.approx(distance.energy(x, y), rel=1e-9)


def test_resampled_energies_stay_unbiased():
    rng = np.random.default_rng(1)
    gaps = []
    for i in range(60):
        x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 3))
        value, samples = intervals.energy_samples(intervals.side(x, 400, 2 * i), intervals.side(y, 400, 2 * i + 1))
        gaps.append(samples.mean() - value)
    assert abs(np.mean(gaps)) < 0.02  # with an image paired to its own copy the gap would be near 0.5


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = 0
    for i in range(200):
        x = rng.normal(0.5, 1, 30)
        low, high = intervals.percentiles(intervals.ratio_samples(x, np.ones(30), np.arange(30), 300, i))
        hits += low < 0.5 < high
    assert 0.86 < hits / 200 < 0.99


def test_doses_of_one_perturbation_are_drawn_together():
    above = np.repeat(np.random.default_rng(3).normal(size=8), 5)
    cluster = np.repeat(np.arange(8), 5)
    together = np.std(intervals.ratio_samples(above, np.ones(40), cluster, 2000, 0))
    apart = np.std(intervals.ratio_samples(above, np.ones(40), np.arange(40), 2000, 0))
    assert together == pytest.approx(apart * np.sqrt(5), rel=0.15)


def test_no_finite_sample_gives_no_interval():
    assert np.isnan(intervals.percentiles(np.full(4, np.nan))).all()


def test_percentiles_by_hand():
    assert intervals.percentiles(np.arange(1001.0)) == pytest.approx((25, 975))
    one_of_forty, two_of_forty = np.arange(40.0), np.arange(40.0)
    one_of_forty[0] = two_of_forty[:2] = np.nan
    assert intervals.percentiles(one_of_forty) == pytest.approx((1 + 0.025 * 38, 1 + 0.975 * 38))
    assert np.isnan(intervals.percentiles(two_of_forty)).all() and np.isnan(intervals.percentiles(np.zeros(0))).all()


def test_the_jackknifes_error_of_a_mean_is_that_of_the_textbook():
    x = np.array([1.0, 2.0, 3.0, 6.0])  # mean 3, variance 14/3 (n − 1), so that the mean's error is √(14/12)
    score = intervals.jackknifed(3.0, (x.sum() - x) / 3, (7, 9), 50, 0)
    reach = 1.96 * np.sqrt(14 / 12)
    assert (score.value, score.lower, score.upper) == pytest.approx((3, 3 - reach, 3 + reach))
    assert (score.n_real, score.n_generated) == (7, 9) and len(score.samples) == 50
    two = intervals.jackknifed(1.0, np.array([2.0, 0.0]), (1, 1), 5, 0)  # the mean of 0 and 2: its error is √2 / √2
    assert (two.lower, two.upper) == pytest.approx((1 - 1.96, 1 + 1.96)) and len(two.samples) == 5
    alone = intervals.jackknifed(3.0, np.array([2.0]), (1, 1), 50, 0)
    assert alone.value == 3 and np.isnan([alone.lower, alone.upper]).all() and len(alone.samples) == 0


def test_jackknife_samples_of_a_mean_are_its_bootstrap_a_little_wider():
    # θ_(k) = (Σx − x_k) / (g − 1), so θ* = x̄ + √(g/(g − 1)) (x̄* − x̄) with x̄* the mean of the resample
    x = np.random.default_rng(4).exponential(size=6)
    drawn = intervals.multinomial(6, 400, 5) @ x / 6
    samples = intervals.jackknife_samples(x.mean(), (x.sum() - x) / 5, 400, 5)
    assert samples == pytest.approx(x.mean() + np.sqrt(6 / 5) * (drawn - x.mean()), rel=1e-12)


def test_a_score_over_perturbations_by_hand():
    above, below = np.array([1.0, 3.0, 2.0, np.nan]), np.array([1.0, 1.0, 2.0, 1.0])
    score = intervals.over_perturbations(above, below, ["a", "a", "b", "c"], (4, 5), 400, 0, unit="µm")
    assert score.value == 6 / 4 and (score.n_real, score.n_generated) == (4, 5)
    assert set(score.samples) == {4 / 2, 6 / 4, 2 / 2}, "a twice, both, b twice; c is no number"
    assert (score.lower, score.upper) == (1, 2)
    assert score.detail == {"interval": "bootstrap over 2 perturbations", "n": 3, "unit": "µm"}
    alone = intervals.over_perturbations(above[:2], below[:2], ["a", "a"], (4, 5), 400, 0)
    assert alone.value == 2 and len(alone.samples) == 0 and np.isnan([alone.lower, alone.upper]).all()
    nothing = intervals.over_perturbations(above, 0 * below, ["a", "a", "b", "c"], (4, 5), 400, 0, unit="µm")
    assert np.isnan([nothing.value, nothing.lower, nothing.upper]).all() and len(nothing.samples) == 0
    assert nothing.detail == {"interval": "none", "n": 3, "unit": "µm"}


def test_a_resample_without_weight_is_no_number_and_a_small_weight_is_one():
    samples = intervals.ratio_samples(np.array([0.5, 0.0]), np.array([0.25, 0.0]), np.arange(2), 200, 0)
    assert set(samples[np.isfinite(samples)]) == {2} and 20 < np.isnan(samples).sum() < 80  # a quarter draws b twice
    assert intervals.over_perturbations(np.array([0.5]), np.array([0.25]), ["a"], (1, 1), 9, 0).value == 2


def test_a_resample_of_two_images_that_draws_one_twice_has_no_inner_distance():
    samples = intervals.side(np.array([[0.0], [3.0]]), 200, 0).within_samples
    assert set(samples[np.isfinite(samples)]) == {3} and 70 < np.isnan(samples).sum() < 130


def test_a_scores_samples_are_not_part_of_what_it_says():
    one, other = (intervals.jackknifed(1.0, np.array([2.0, 0.0]), (1, 1), 5, seed) for seed in (0, 1))
    assert one == other and "samples" not in repr(one)
    assert one.detail == {"repeats": 1, "interval": "± 1.96 jackknife standard errors over perturbations"}


def test_resamples_of_a_jackknife_have_its_variance():
    left_out = np.random.default_rng(1).normal(size=12)
    samples = intervals.jackknife_samples(3.0, left_out, 20000, 0)
    assert samples.mean() == pytest.approx(3.0, abs=0.05)
    assert samples.var() == pytest.approx(11 * left_out.var(), rel=0.05)
    assert len(intervals.jackknife_samples(3.0, left_out[:1], 10, 0)) == 0


def test_the_mean_has_its_own_bootstrap_to_first_order():
    x = np.random.default_rng(2).normal(size=30)
    left_out = np.array([np.delete(x, i).mean() for i in range(30)])
    linear = intervals.jackknife_samples(x.mean(), left_out, 50, 3)
    exact = intervals.ratio_samples(x, np.ones(30), np.arange(30), 50, 3)
    assert (linear - x.mean()) == pytest.approx((exact - x.mean()) * np.sqrt(30 / 29), abs=1e-12)
