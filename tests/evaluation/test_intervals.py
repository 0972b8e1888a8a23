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
