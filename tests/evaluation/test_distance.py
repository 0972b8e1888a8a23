"""Distances against independent oracles, and the properties that any distance must have."""

import dcor
import numpy as np
import pytest
import torch
from torchmetrics.image.fid import _compute_fid

from virtassay.evaluation import distance

rng = np.random.default_rng(0)


def sets(n, m, d, shift=0.3):
    mix = rng.normal(size=(d, d)) / np.sqrt(d)
    return rng.normal(size=(n, d)) @ mix, 1.3 * rng.normal(size=(m, d)) + shift


def fid_oracle(x, y):
    def moments(a):
        return torch.from_numpy(a.mean(0)), torch.from_numpy(np.cov(a.T))

    return float(_compute_fid(*moments(x), *moments(y)))


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 20), (30, 25, 40), (30, 100, 40), (41, 40, 40)])
def test_fd_agrees_with_torchmetrics_in_float64(n, m, d):
    x, y = sets(n, m, d)
    assert distance.fd(x, y) == pytest.approx(fid_oracle(x, y), rel=1e-6)


def test_fd_of_gaussians_with_known_moments():
    x, y = sets(50, 60, 1, shift=2.0)
    known = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert distance.fd(x, y) == pytest.approx(known, rel=1e-10)


def test_fd_survives_a_constant_feature_and_is_zero_for_equal_sets():
    x, y = sets(100, 90, 5)
    x0, y0 = np.c_[x, np.ones(100)], np.c_[y, np.ones(90)]
    assert distance.fd(x0, y0) == pytest.approx(distance.fd(x, y), rel=1e-6)
    assert distance.fd(x, x) == pytest.approx(0, abs=1e-9)
    assert distance.fd(x[:4], x[:4]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [12, 100])
def test_fd_scales_with_the_square_of_the_unit_and_is_symmetric(n):
    x, y = sets(n, n, 20)
    assert distance.fd(3 * x, 3 * y) == pytest.approx(9 * distance.fd(x, y), rel=1e-9)
    assert distance.fd(y, x) == pytest.approx(distance.fd(x, y), rel=1e-9)


def kd_oracle(x, y):
    """torch-fidelity's polynomial MMD² (unbiased), written out pair by pair."""
    d, n, m = x.shape[1], len(x), len(y)

    def k(a, b):
        return (a @ b / d + 1) ** 3

    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def energy_oracle(x, y):
    def mean(a, b, same):
        pairs = [np.linalg.norm(p - q) for i, p in enumerate(a) for j, q in enumerate(b) if not (same and i == j)]
        return np.mean(pairs)

    return 2 * mean(x, y, False) - mean(x, x, True) - mean(y, y, True)


@pytest.mark.parametrize("block", [3, 2048])
def test_kd_and_energy_agree_with_brute_force(monkeypatch, block):
    monkeypatch.setattr(distance, "BLOCK", block)
    x, y = sets(13, 11, 6)
    assert distance.kd(x, y) == pytest.approx(kd_oracle(x, y), rel=1e-10)
    assert distance.energy(x, y) == pytest.approx(energy_oracle(x, y), rel=1e-10)


def test_kernel_sums_of_clusters_add_up_to_kd():
    x, y = sets(12, 9, 4)
    sums = distance.kernel_sums(x, y, np.arange(12) % 3, np.arange(9) % 3, 3)
    assert distance.kd_of_sums(*sums) == pytest.approx(distance.kd(x, y), rel=1e-12)


def test_energy_agrees_with_dcor_up_to_the_known_bias():
    x, y = sets(40, 30, 5)
    n, m = len(x), len(y)
    within_x, within_y = distance.mean_within(x), distance.mean_within(y)
    biased = distance.energy(x, y) + within_x / n + within_y / m  # dcor's V-statistic counts an image with itself
    assert biased == pytest.approx(float(dcor.energy_distance(x, y)), rel=1e-8)


@pytest.mark.parametrize("measure", [distance.fd, distance.kd, distance.energy])
def test_distances_ignore_order_and_side(measure):
    x, y = sets(20, 25, 4)
    value = measure(x, y)
    assert measure(rng.permutation(x), rng.permutation(y)) == pytest.approx(value, rel=1e-9)
    assert measure(y, x) == pytest.approx(value, rel=1e-9)
    assert measure(x, y + 10) > value


@pytest.mark.parametrize("measure", [distance.kd, distance.energy])
def test_unbiased_distances_of_equal_distributions_average_to_zero(measure):
    local = np.random.default_rng(1)
    values = [measure(local.normal(size=(6, 3)), local.normal(size=(8, 3))) for _ in range(2000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
    assert np.min(values) < 0


def test_effect_explained_is_one_for_the_truth_and_zero_for_the_control():
    local = np.random.default_rng(2)
    real, again = local.normal(2, 1, (400, 3)), local.normal(2, 1, (400, 3))
    control, copy = local.normal(0, 1, (400, 3)), local.normal(0, 1, (400, 3))
    assert distance.effect_explained(real, again, control) == pytest.approx(1, abs=0.02)
    assert distance.effect_explained(real, copy, control) == pytest.approx(0, abs=0.1)
    assert distance.effect_explained(real, local.normal(-2, 1, (400, 3)), control) < -0.5


def test_effect_explained_says_when_there_is_no_effect():
    x = np.array([[0.0], [1.0], [2.0], [3.0]])
    with pytest.warns(RuntimeWarning, match="no effect"):
        assert np.isnan(distance.effect_explained(x, x, x))


@pytest.mark.parametrize(
    ("x", "y", "match"),
    [(np.zeros((3, 2)), np.zeros((3, 4)), "same d"), (np.zeros((1, 2)), np.zeros((3, 2)), "two or")],
)
def test_wrong_shapes_are_named(x, y, match):
    for measure in (distance.fd, distance.kd, distance.energy):
        with pytest.raises(ValueError, match=match):
            measure(x, y)
