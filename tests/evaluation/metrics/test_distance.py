"""Distances against oracles, closed forms and published figures, and the properties that any distance must have.

torch-fidelity and pytorch-fid import torchvision, so they are in no extra, and torchmetrics does not load beside a
torch-fidelity that has none: their figures are stored. To hold those against the packages themselves, keep them apart:
    pip install --no-deps --target apart torch-fidelity==0.4.0 pytorch-fid==0.3.0
    PYTHONPATH=.:apart pytest -rs tests/evaluation/metrics/test_distance.py
"""

import sys
import tracemalloc
from dataclasses import astuple
from importlib.util import find_spec
from typing import Any
from unittest.mock import MagicMock

import dcor
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.image.fid import _compute_fid

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


def known_sets(n, m, d, smallest):
    """Two sets whose fd follows from their spectra: covariances with the same eigenvectors, of rank n − 1 or d.

    Returns them and ‖Δμ‖² + Σ (√λ − √κ)², the eigenvalues λ and κ spread evenly in logarithm from 1 to `smallest`.
    """
    local = np.random.default_rng(1)
    axes = np.linalg.qr(local.normal(size=(d, d)))[0]
    sides, roots = [], []
    for images, shift in ((n, 0.0), (m, 0.1)):
        rank = min(images - 1, d)
        root = np.zeros(d)
        root[:rank] = np.sqrt(np.geomspace(1, smallest, rank))[:: 1 if shift else -1]
        noise = local.normal(size=(images, rank))
        noise = np.linalg.qr(noise - noise.mean(0))[0] * np.sqrt(images - 1)
        sides.append(noise * root[:rank] @ axes[:, :rank].T + shift)
        roots.append(root)
    return *sides, 0.01 * d + np.square(roots[0] - roots[1]).sum()


@pytest.mark.parametrize("smallest", [0.1, 1e-9])
@pytest.mark.parametrize(("n", "m"), [(200, 150), (40, 60), (41, 150), (60, 61), (61, 61), (62, 62), (2, 150), (2, 2)])
def test_fd_of_known_spectra_is_exact_in_every_form(n, m, smallest):
    x, y, known = known_sets(n, m, 60, smallest)
    assert distance.fd(x, y) == pytest.approx(known, rel=1e-6)
    assert distance.fd(y, x) == pytest.approx(known, rel=1e-6)


@pytest.mark.parametrize(("n", "m"), [(10, 12), (10, 100), (100, 90)])
def test_fd_of_features_that_are_there_twice_is_twice_as_large(n, m):
    x, y = sets(n, m, 20)  # 40 features of rank 20: no Cholesky factor
    assert distance.fd(np.c_[x, x], np.c_[y, y]) == pytest.approx(2 * distance.fd(x, y), rel=1e-6)
    assert distance.fd(np.c_[x, x[:, 0] + x[:, 1]], np.c_[y, y[:, 0] + y[:, 1]]) > distance.fd(x, y)


def test_fd_of_constant_sets_is_that_of_their_means():
    assert distance.fd(np.zeros((9, 3)), np.ones((8, 3))) == pytest.approx(3)
    x = sets(9, 9, 3)[0]
    assert distance.fd(x, np.zeros((8, 3))) == pytest.approx(np.square(x.mean(0)).sum() + x.var(0, ddof=1).sum())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 12), m=st.integers(2, 12), scale=st.sampled_from([0.25, 3.0]))
def test_properties_of_fd(seed, n, m, scale):
    local = np.random.default_rng(seed)
    x, y, d = local.normal(size=(n, 6)), local.normal(size=(m, 6)), 6
    value = distance.fd(x, y)
    assert value >= np.square(x.mean(0) - y.mean(0)).sum() - 1e-9
    assert distance.fd(y, x) == pytest.approx(value, rel=1e-6, abs=1e-9)
    assert distance.fd(local.permutation(x), local.permutation(y)) == pytest.approx(value, rel=1e-6, abs=1e-9)
    rotation = np.linalg.qr(local.normal(size=(d, d)))[0]
    assert distance.fd(x @ rotation + 5, y @ rotation + 5) == pytest.approx(value, rel=1e-6, abs=1e-9)
    assert distance.fd(scale * x, scale * y) == pytest.approx(scale**2 * value, rel=1e-6, abs=1e-9)


def test_fd_inf_has_the_known_answer_where_fd_is_too_large():
    known = 8 * (0.5**2 + 0.2**2)  # N(0, 1) and N(0.5, 1.2²) in 8 dimensions
    local = np.random.default_rng(3)
    pairs = [(local.normal(size=(400, 8)), local.normal(0.5, 1.2, size=(500, 8))) for _ in range(40)]
    extrapolated = np.array([distance.fd_inf(x, y) for x, y in pairs])
    plain = np.array([distance.fd(x[:200], y[:200]) for x, y in pairs])
    error = extrapolated.std() / np.sqrt(len(pairs))
    assert extrapolated.mean() == pytest.approx(known, abs=4 * error)
    assert plain.mean() > known + 4 * plain.std() / np.sqrt(len(pairs))


def test_fd_inf_of_equal_distributions_averages_to_zero_and_fd_does_not():
    local = np.random.default_rng(4)
    pairs = [local.normal(size=(2, 600, 10)) for _ in range(20)]
    extrapolated, plain = ([f(x, y) for x, y in pairs] for f in (distance.fd_inf, distance.fd))
    assert np.mean(extrapolated) == pytest.approx(0, abs=4 * np.std(extrapolated) / np.sqrt(20))
    assert abs(np.mean(extrapolated)) < 0.3 * np.mean(plain)


def test_fd_inf_is_the_intercept_of_a_line_through_fd(monkeypatch):
    monkeypatch.setattr(distance, "fd", lambda x, y: 3.0 + 7.0 / len(x) if len(x) == len(y) else None)
    x, y = sets(200, 150, 3)
    assert distance.fd_inf(x, y) == pytest.approx(3, rel=1e-12)


def test_fd_inf_is_reproducible_and_depends_on_its_seed():
    x, y = sets(60, 70, 4)
    assert distance.fd_inf(x, y, seed=1) == distance.fd_inf(x, y, seed=1)
    assert distance.fd_inf(x, y, seed=1) != distance.fd_inf(x, y, seed=2)
    assert np.isfinite(distance.fd_inf(x[:20], y[:20]))
    with pytest.raises(ValueError, match="20 or more"):
        distance.fd_inf(x[:19], y)


TORCHVISION = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
SETS = ("plain", "skewed", "few")
FD = {"plain": 2.594223868826589, "skewed": 0.09369820782295202, "few": 157.5202469686596}
KD = {  # mean and s.d. of 100 subsets of 100
    "plain": (0.18660167532700014, 0.041488483817565994),
    "skewed": (0.009897292164536253, 0.0032452045325094265),
    "few": (0.1447199198136067, 0.0037913886897871455),
}


def features(name):
    """Two sets: of plain numbers; of skewed and correlated ones; of fewer images than features."""
    local = np.random.RandomState(7)  # whose stream never changes
    n, m, d = {"plain": (300, 250, 20), "skewed": (400, 400, 60), "few": (110, 100, 160)}[name]
    x, y = local.normal(size=(n, d)), 1.2 * local.normal(size=(m, d)) + 0.2
    if name == "skewed":
        mix = local.normal(size=(d, d)) / np.sqrt(d) * np.exp(-np.arange(d) / 10)
        x, y = np.exp(0.3 * x @ mix), np.exp(0.3 * y @ mix)
    return x, y


@pytest.mark.parametrize("name", SETS)
def test_fd_has_the_published_value(name):
    digits = 1e-7 if name == "few" else 1e-11  # eigvals rounds the zeros of a singular product
    assert distance.fd(*features(name)) == pytest.approx(FD[name], rel=digits)


@pytest.mark.parametrize("name", SETS)
def test_kd_subsets_has_the_published_value(name):
    x, y = features(name)
    assert astuple(distance.kd_subsets(x, y)) == pytest.approx(KD[name], rel=1e-11)
    half = distance.kd_subsets(x.astype(np.float32), y.astype(np.float32))  # as extractors store them
    assert half.mean == pytest.approx(KD[name][0], rel=1e-5)


@pytest.fixture
def package(monkeypatch):
    """Import a package's module; where torchvision is missing, an empty one stands in, as its mathematics need none."""
    if find_spec("torchvision") is None:
        for module in TORCHVISION:
            monkeypatch.setitem(sys.modules, module, MagicMock())
    return lambda name: pytest.importorskip(name, reason="kept apart: see the top of this file", exc_type=ImportError)


@pytest.mark.parametrize("name", SETS)
def test_the_stored_figures_are_those_of_torch_fidelity(name, package):
    fid: Any = package("torch_fidelity.metric_fid")
    kid: Any = package("torch_fidelity.metric_kid")
    x, y = (torch.as_tensor(side) for side in features(name))
    value = fid.fid_statistics_to_metric(fid.fid_features_to_statistics(x), fid.fid_features_to_statistics(y), False)
    assert value["frechet_inception_distance"] == pytest.approx(FD[name], rel=1e-9)
    value = kid.kid_features_to_metric(x, y, kid_subsets=100, kid_subset_size=100, verbose=False)
    figures = (value["kernel_inception_distance_mean"], value["kernel_inception_distance_std"])
    assert figures == pytest.approx(KD[name], rel=1e-12)


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", ["plain", "skewed"])  # it moves singular covariances
def test_the_stored_figures_are_those_of_pytorch_fid(name, package):
    fid: Any = package("pytorch_fid.fid_score")
    x, y = features(name)
    value = fid.calculate_frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
    assert value == pytest.approx(FD[name], rel=1e-9)


def test_the_usual_subsets_are_the_published_ones():
    local = np.random.default_rng(3)
    x, y = local.normal(size=(120, 2)), local.normal(size=(110, 2)) + 0.2
    draw = np.random.RandomState(2020)
    values = [
        distance.kd(x[draw.choice(120, 100, replace=False)], y[draw.choice(110, 100, replace=False)])
        for _ in range(100)
    ]
    assert distance.kd_subsets(x, y) == distance.Subsets(float(np.mean(values)), float(np.std(values)))
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


def test_an_effect_of_exactly_nothing_cannot_be_explained():
    # between 4, 0, 6, 2: twice their mean 3 is what is within, 2 and 4
    real, control = np.array([[4.0], [6.0]]), np.array([[0.0], [4.0]])
    assert distance.energy(real, control) == 0
    with pytest.warns(RuntimeWarning, match="no effect"):
        assert np.isnan(distance.effect_explained(real, real + 1, control))


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2)])
def test_either_side_must_be_a_matrix(shape):
    for sides in ((np.zeros(shape), np.zeros((3, 2))), (np.zeros((3, 2)), np.zeros(shape))):
        with pytest.raises(ValueError, match=r"expected \(n, d\) and \(m, d\)"):
            distance.energy(*sides)
