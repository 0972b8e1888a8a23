"""Spread and rare cells: closed forms, scikit-learn's Mahalanobis distance, and toys of known answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from sklearn.covariance import LedoitWolf

from tests.evaluation.by_hand import Treated, Untreated, candidate, described
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.spread import (
    control_tail,
    control_tails,
    rare_fraction_error,
    spread,
    variance_ratio,
)

D = 5
MEAN = np.full(D, 1.0)
WELLS = np.arange(4000) // 100


def cells(seed, n=4000, rare=0.1, spread=1.0):
    """Treated cells: N(MEAN, spread²), of which a share `rare` lies 12 away in the first feature, on either side."""
    local = np.random.default_rng(seed)
    away = 12 * (local.random(n) < rare) * local.choice([-1, 1], n)
    return MEAN + spread * local.normal(size=(n, D)) + away[:, None] * np.eye(D)[0]


def controls(seed, n=4000):
    return np.random.default_rng(seed).normal(size=(n, D))


def test_variance_ratio_is_the_ratio_of_traces():
    r, g = cells(0, 50), cells(1, 30)
    assert variance_ratio(r, g) == pytest.approx(np.trace(np.cov(g.T)) / np.trace(np.cov(r.T)))


@given(st.floats(0.1, 5), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_variance_ratio_squares_a_scale_and_ignores_place_and_order(scale, seed):
    r, g = cells(seed, 20), cells(seed + 1, 15)
    value = variance_ratio(r, g)
    assert variance_ratio(r, scale * g) == pytest.approx(scale**2 * value)
    assert variance_ratio(r + 7, g[::-1] - 7) == pytest.approx(value)
    assert variance_ratio(g, r) == pytest.approx(1 / value)


def test_variance_ratio_catches_means_without_spread():
    r = cells(0, rare=0)
    assert variance_ratio(r, np.tile(r.mean(0), (100, 1))) == 0
    assert variance_ratio(r, r.mean(0) + 0.6 * (r - r.mean(0))) == pytest.approx(0.36, rel=1e-12)
    assert variance_ratio(r, cells(1, rare=0, spread=0.6)) == pytest.approx(0.36, rel=0.05)
    assert variance_ratio(r, cells(2, rare=0)) == pytest.approx(1, rel=0.05)


def test_variance_ratio_of_the_rare_cells_dropped_is_known():
    known = D / (D + 0.1 * 12**2)
    assert variance_ratio(cells(0, 40000), cells(1, rare=0)) == pytest.approx(known, rel=0.05)


def test_variance_ratio_where_it_cannot_be_measured_and_where_the_generator_fails():
    r, g = cells(0, 20), cells(1, 20)
    broken = np.where(np.arange(20)[:, None] == 3, np.nan, g)
    for real in (r[:1], r[:0], np.full((20, D), 0.1), broken):
        assert np.isnan(variance_ratio(real, g))
    for generated in (g[:1], g[:0], np.full((20, D), 0.1), broken):
        assert variance_ratio(r, generated) == 0
    with pytest.raises(ValueError, match="same d"):
        variance_ratio(r, g[:, 1:])
    with pytest.raises(ValueError, match="generated images"):
        variance_ratio(r, g[0])


@pytest.mark.parametrize(("n", "d"), [(60, 8), (40, 100)])
def test_distance_agrees_with_scikit_learn_also_for_fewer_controls_than_features(n, d):
    local = np.random.default_rng(0)
    x, y = local.normal(size=(n, d)) @ np.diag(np.linspace(0.5, 3, d)) + 2, local.normal(size=(30, d))
    wells = np.arange(n) // 5
    tail = control_tail(x, wells)
    first = np.random.default_rng(0).permutation(n // 5)[: n // 10]  # the wells that are fitted
    fitted = np.isin(wells, first)
    oracle = LedoitWolf().fit(x[fitted])
    assert tail.distance(y) ** 2 == pytest.approx(oracle.mahalanobis(y), rel=1e-8)
    assert tail.threshold == pytest.approx(np.sqrt(oracle.mahalanobis(x[~fitted]).max()), rel=1e-8)  # fewer than 99


def test_threshold_of_gaussian_controls_is_the_chi_quantile_and_one_in_a_hundred_lies_beyond():
    tail = control_tail(controls(0, 20000), np.arange(20000) // 100)
    assert tail.threshold == pytest.approx(np.sqrt(chi2.ppf(0.99, D)), rel=0.03)
    small = [control_tail(controls(s, 400), np.arange(400) // 20).share_beyond(controls(s + 500)) for s in range(100)]
    assert np.mean(small) == pytest.approx(0.01, abs=0.004)  # few controls widen nothing on average


@pytest.fixture(scope="module")
def tail():
    return control_tail(controls(0), WELLS)


def test_rare_cells_dropped_are_missed_by_their_share(tail):
    ordinary = tail.share_beyond(cells(3, 40000, rare=0))
    rare = 0.1 * (1 - ordinary)  # those that are beyond only for being rare
    assert rare_fraction_error(tail, cells(1, 40000), cells(2, 40000)) == pytest.approx(0, abs=0.012)
    assert rare_fraction_error(tail, cells(1, 40000), cells(2, 40000, rare=0)) == pytest.approx(-rare, abs=0.012)
    assert rare_fraction_error(tail, cells(1, 40000), cells(2, 40000, rare=0.3)) == pytest.approx(2 * rare, abs=0.012)


def test_spread_too_small_loses_the_tail(tail):
    real = cells(1)
    no_spread = np.tile(real.mean(0), (100, 1))
    assert rare_fraction_error(tail, real, no_spread) == -tail.share_beyond(real)
    narrow = MEAN + 0.6 * (real - MEAN)
    assert rare_fraction_error(tail, cells(1, rare=0), cells(2, rare=0, spread=0.6)) < -0.05
    assert rare_fraction_error(tail, real, narrow) < -0.05


def test_right_means_are_no_excuse(tail):
    """Planted: rare cells dropped, and the mean effect exact."""
    real = cells(1)
    ordinary = cells(2, rare=0)
    ordinary += real.mean(0) - ordinary.mean(0)
    assert ordinary.mean(0) == pytest.approx(real.mean(0))
    assert rare_fraction_error(tail, real, ordinary) < -0.05
    assert variance_ratio(real, ordinary) < 0.4


def test_wells_are_held_out_whole():
    """Planted: wells that differ. With half of each well fitted, a tenth of the cells of new wells would be rare."""
    wells = np.arange(600) // 10
    by_well, by_image = [], []
    for seed in range(8):
        local = np.random.default_rng(seed)
        x, new = (3 * local.normal(size=(60, 20))[wells] + local.normal(size=(600, 20)) for _ in range(2))
        by_well.append(control_tail(x, wells).share_beyond(new))
        by_image.append(control_tail(x, np.arange(600)).share_beyond(new))
    assert np.mean(by_well) < 0.05 < 0.08 < np.mean(by_image)


def test_a_feature_that_only_treated_cells_vary_is_rare():
    x = np.c_[controls(0), np.full(4000, 0.3)]
    moved = x.copy()
    moved[:, -1] = 5
    tail = control_tail(x, WELLS)
    assert tail.share_beyond(x) == pytest.approx(0.01, abs=0.005)
    assert tail.share_beyond(moved) == 1
    assert control_tail(controls(0)[:, :1], WELLS).threshold == pytest.approx(2.576, rel=0.05)  # a single feature


def test_a_tail_that_cannot_be_measured_is_no_number(tail):
    real = cells(1, 50)
    one_broken = np.where(np.arange(4000)[:, None] == 3, np.nan, controls(0))
    for x, wells in (
        (controls(0), np.zeros(4000)),
        (controls(0)[:2], [0, 1]),
        (controls(0)[:0], []),
        (np.full((4000, D), 0.1), WELLS),
        (one_broken, WELLS),
    ):
        assert np.isnan(control_tail(x, wells).threshold)
        assert np.isnan(rare_fraction_error(control_tail(x, wells), real, real))
    assert np.isnan(rare_fraction_error(tail, real[:0], real))
    assert np.isnan(rare_fraction_error(tail, np.where(real > 2, np.nan, real), real))


def test_a_generator_of_nothing_or_of_no_numbers_is_not_excused(tail):
    real = cells(1, 400, rare=0)
    assert rare_fraction_error(tail, real, real[:0]) == 1
    broken = real.copy()
    broken[:200] = np.nan
    assert rare_fraction_error(tail, real, broken) > 0.4
    with pytest.raises(ValueError, match="same d"):
        rare_fraction_error(tail, real[:, 1:], real[:, 1:])
    with pytest.raises(ValueError, match="controls"):
        control_tail(real, WELLS)


def test_order_and_units_do_not_matter():
    x, r, g = controls(0), cells(1), cells(2)
    order = np.random.default_rng(0).permutation(4000)
    value = rare_fraction_error(control_tail(x, WELLS), r, g)
    assert rare_fraction_error(control_tail(x[order], WELLS[order]), r[order], g[::-1]) == value
    assert rare_fraction_error(control_tail(8 * x + 1, WELLS), 8 * r + 1, 8 * g + 1) == pytest.approx(value, abs=1e-3)


def test_two_images_have_a_spread_and_two_held_out_controls_a_tail():
    assert variance_ratio([[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 2.0]]) == pytest.approx(4)
    x = np.array([[0.0], [2.0], [10.0], [14.0]])
    tail = control_tail(x, [0, 0, 1, 1])
    assert tail.mean[0] in (1, 12) and np.isfinite(tail.threshold)
    farthest = (14 - 1) / 1 if tail.mean[0] == 1 else 12 / 2  # variances over n: 1 and 4
    assert tail.threshold == pytest.approx(farthest, rel=1e-4)


def test_of_an_odd_number_of_wells_the_smaller_half_is_fitted():
    wells = np.repeat([0, 1, 2], 2)
    x = np.array([[0.0], [1.0], [10.0], [11.0], [20.0], [21.0]])
    for seed in range(4):
        first = np.random.default_rng(seed).permutation(3)[0]
        assert control_tail(x, wells, seed=seed).mean == pytest.approx([10 * first + 0.5])


WELL = np.array([-2.0, -1, 1, 2])  # mean 0; beyond 2 is rare, whichever of such wells is fitted
UNTREATED = {
    "one": Untreated(WELL, WELL, WELL),
    "two": Untreated(10 + 2 * WELL, 10 + 2 * WELL, 10 + 2 * WELL),
    "lone": Untreated(WELL, [], []),  # a single well, of which nothing can be held out
}


@pytest.mark.parametrize("is_model", [True, False])
def test_spread_of_strata_by_hand(is_model):
    plus_minus = np.tile([-1.0, 1.0], 5)
    treated = [
        Treated("one", "few", [plus_minus[:9]], plus_minus[:8]),  # nine real images are too few
        Treated("two", "p", [10 + plus_minus[:6], [4, 4], [16, 16]], [1, 1, 1, 10, 10, 10, 19, 19, 19]),
        Treated("one", "p", [plus_minus[:8], [-3, 3]], 1.5 * plus_minus),
        Treated("lone", "q", [plus_minus], 2 * plus_minus),
    ]
    model, space = candidate(treated, UNTREATED, is_model=is_model)
    # squares about the mean: in two 6 · 1 + 4 · 36 of ten real and 6 · 81 of nine generated, in one 26 and 22.5, in
    # lone 10 and 40
    ratios = [(486 / 8) / (150 / 9), 22.5 / 26, 4][0 if is_model else 1 :]  # nine generated are too few in a baseline
    errors = [6 / 9 - 4 / 10, 0 - 2 / 10][0 if is_model else 1 :]
    scores = spread(model, space)
    assert list(scores) == [("variance_ratio", POOLED), ("rare_fraction_error", POOLED)]
    ratio, error = scores.values()
    assert ratio.value == pytest.approx(np.mean(ratios))
    assert error.value == pytest.approx(np.mean(errors))
    assert (ratio.detail["n"], error.detail["n"]) == ((3, 2) if is_model else (2, 1))
    assert error.detail["real_share"] == pytest.approx(0.3 if is_model else 0.2)
    assert ratio.detail["interval"] == "bootstrap over 2 perturbations" and "real_share" not in ratio.detail
    assert (error.n_real, error.n_generated) == (39, 37)


def test_of_strata_with_few_images_nothing_is_said():
    scores = spread(*candidate([Treated("one", "p", [np.arange(9)], np.arange(20))], UNTREATED, is_model=True))
    assert np.isnan([score.value for score in scores.values()]).all()
    assert scores["rare_fraction_error", POOLED].detail["real_share"] is None


def test_of_ten_images_on_either_side_the_spread_is_known():
    for is_model, generated in ((False, 10), (False, 9), (True, 9)):
        treated = [Treated("one", "p", [np.arange(10)], np.arange(generated))]
        value = spread(*candidate(treated, UNTREATED, is_model=is_model))["variance_ratio", POOLED].value
        assert np.isfinite(value) == (is_model or generated == 10)


def test_tails_are_those_of_all_controls_of_a_batch_with_the_evaluations_seed():
    untreated = {"a": Untreated([0, 1], [10, 11], [20, 21]), "none": Untreated([], [], [])}
    for seed in range(4):
        model, space = candidate([Treated("a", "p", [[0, 1]], [0, 1])], untreated, seed=seed)
        tails = control_tails(model.evaluation, space)
        fitted = np.random.default_rng(seed).permutation(3)[0]
        assert list(tails) == ["a"] and tails["a"].mean == pytest.approx([10 * fitted + 0.5])


def test_which_way_is_better_is_said():
    assert described(spread) == {"variance_ratio": ("→ 1", False), "rare_fraction_error": ("→ 0", False)}
