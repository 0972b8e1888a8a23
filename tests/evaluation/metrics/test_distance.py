"""Distances against independent oracles, and the properties that any distance must have."""

import tracemalloc

import dcor
import numpy as np
import pytest

from virtassay.evaluation.metrics import distance

rng = np.random.default_rng(0)


def sets(n, m, d, shift=0.3):
    mix = rng.normal(size=(d, d)) / np.sqrt(d)
    return rng.normal(size=(n, d)) @ mix, 1.3 * rng.normal(size=(m, d)) + shift


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


@pytest.mark.parametrize("block", [3, 2048])
def test_kernel_sums_hold_every_pair_of_its_clusters(monkeypatch, block):
    monkeypatch.setattr(distance, "BLOCK", block)
    x, y = sets(11, 8, 4)
    of_x, of_y = np.arange(11) % 3, np.arange(8) % 2  # no image of y is in the third
    xx, yy, xy, n_xx, n_yy, n_xy = distance.kernel_sums(x, y, of_x, of_y, 3)
    kernel = {("x", "x"): x @ x.T, ("y", "y"): y @ y.T, ("x", "y"): x @ y.T}
    of = {"x": of_x, "y": of_y}
    for (a, b), total, number in ((("x", "x"), xx, n_xx), (("y", "y"), yy, n_yy), (("x", "y"), xy, n_xy)):
        values = (kernel[a, b] / 4 + 1) ** 3
        counted = np.ones_like(values) - (np.eye(len(values)) if a == b else 0)
        for i in range(3):
            for j in range(3):
                chosen = np.outer(of[a] == i, of[b] == j) * counted
                assert total[i, j] == pytest.approx((values * chosen).sum(), rel=1e-10, abs=1e-10)
                assert number[i, j] == chosen.sum()


def test_kd_subsets_of_all_images_are_kd_each_time():
    x, y = sets(30, 30, 4)
    whole = distance.kd_subsets(x, y, subsets=3, size=30)
    assert whole.mean == pytest.approx(distance.kd(x, y), rel=1e-9)
    assert whole.sd == pytest.approx(0, abs=1e-9)


def test_kd_subsets_is_unbiased_and_seeded():
    x, y = sets(300, 300, 4)
    many = distance.kd_subsets(x, y, subsets=400, size=20)
    assert many.mean == pytest.approx(distance.kd(x, y), abs=4 * many.sd / 20)
    assert distance.kd_subsets(x, y, 5, 20, seed=1) == distance.kd_subsets(x, y, 5, 20, seed=1)
    assert distance.kd_subsets(x, y, 5, 20, seed=1) != distance.kd_subsets(x, y, 5, 20, seed=2)


@pytest.mark.parametrize(("subsets", "size"), [(0, 5), (3, 1), (3, 31)])
def test_kd_subsets_that_cannot_be_drawn_are_named(subsets, size):
    with pytest.raises(ValueError, match=f"{subsets} subsets of {size} images of 40 and 30"):
        distance.kd_subsets(*sets(40, 30, 3), subsets=subsets, size=size)


ALL = [distance.fd, distance.fd_inf, distance.kd, distance.energy, lambda x, y: distance.kd_subsets(x, y, 30, 20).mean]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("measure", ALL)
def test_features_that_are_no_numbers_give_none(measure, value):
    for n, d in ((40, 3), (24, 50)):
        x, y = sets(n, n, d)
        assert np.isfinite(measure(x, y))
        y[5, 1] = value
        assert np.isnan(measure(x, y)) or measure == ALL[-1]
        y[:, 1] = value  # whichever images are drawn
        assert np.isnan(measure(x, y))
        assert np.isnan(measure(y, x))


def test_pairwise_keeps_what_is_no_number():
    x = np.array([[0.0, 1.0], [np.nan, 1.0], [3.0, 5.0]])
    between = distance.pairwise(x, np.array([[0.0, 1.0], [3.0, 5.0]]))
    assert np.isnan(between[1]).all()
    assert between[[0, 2]] == pytest.approx(np.array([[0, 5], [5, 0]]))


@pytest.mark.parametrize("measure", [distance.fd, distance.kd, distance.energy])
def test_memory_does_not_grow_with_the_square_of_the_images(monkeypatch, measure):
    monkeypatch.setattr(distance, "BLOCK", 256)
    x, y = sets(4000, 4000, 8)
    tracemalloc.start()
    measure(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6  # one 4000 × 4000 matrix has 128 MB


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


def test_the_usual_subsets_are_the_published_ones():
    local = np.random.default_rng(3)
    x, y = local.normal(size=(120, 2)), local.normal(size=(110, 2)) + 0.2
    draw = np.random.RandomState(2020)
    values = [
        distance.kd(x[draw.choice(120, 100, replace=False)], y[draw.choice(110, 100, replace=False)])
        for _ in range(100)
    ]
    assert distance.kd_subsets(x, y) == distance.Subsets(np.mean(values), np.std(values))
    assert distance.kd_subsets(x[:2], y[:2], 1, 2).mean == pytest.approx(distance.kd(x[:2], y[:2]))


def test_distances_of_two_images_by_hand():
    x, y = np.array([[0.0], [2.0]]), np.array([[1.0], [4.0]])
    # between 1, 4, 1, 2: mean 2; within 2 and 3
    assert distance.energy(x, y) == pytest.approx(2 * 2 - 2 - 3)
    # k = (xy + 1)³: k(0, 2) = 1, k(1, 4) = 125, between 1, 1, 27, 729
    assert distance.kd(x, y) == pytest.approx(1 + 125 - 2 * (1 + 1 + 27 + 729) / 4)
    # variances 2 and 4.5, means 1 and 2.5
    assert distance.fd(x, y) == pytest.approx(1.5**2 + (np.sqrt(4.5) - np.sqrt(2)) ** 2)


def test_fd_inf_needs_twenty_images_on_either_side():
    local = np.random.default_rng(0)
    x, y = local.normal(size=(20, 1)), local.normal(size=(25, 1))
    assert np.isfinite(distance.fd_inf(x, y)) and distance.fd_inf(x, y) == distance.fd_inf(x, y, seed=0)
    for sides in ((x[:19], y), (y, x[:19])):
        with pytest.raises(ValueError, match="20 or more"):
            distance.fd_inf(*sides)
