"""The Fréchet distance against oracles and closed forms, in each of its forms, and its extrapolation."""

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
