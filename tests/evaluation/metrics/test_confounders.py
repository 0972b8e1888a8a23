"""Brightness and cell count as explanations: effects that are theirs, that are not, and that are half theirs."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LinearRegression

from virtassay.evaluation.metrics import confounders
from virtassay.evaluation.metrics.confounders import explained_by

N, D = 1200, 5
treated = np.arange(N) < N // 2
wells = np.arange(N) // 20
AXIS = np.eye(D)
VIEWS = ("features", "confounder", "features_without")


def evaluation(seed, through=0.0, direct=0.0):
    """Brightness moves by `through` and drives feature 0 and 1; feature 2 moves by `direct` on its own."""
    local = np.random.default_rng(seed)
    brightness = local.normal(size=N) + through * treated
    x = local.normal(size=(N, D)) + 3 * brightness[:, None] * (AXIS[0] + AXIS[1]) + direct * treated[:, None] * AXIS[2]
    return x, brightness[:, None]


def mean_auc(through=0.0, direct=0.0):
    """The mean over worlds of each AUC; the standard errors are 0.006."""
    found = [explained_by(*evaluation(seed, through, direct), treated, wells) for seed in range(4)]
    return {view: np.mean([getattr(f, view).value for f in found]) for view in VIEWS}


def test_an_effect_through_brightness_is_explained_by_it():
    found = mean_auc(through=1.5)
    known = norm.cdf(1.5 / np.sqrt(2))
    assert found["confounder"] == pytest.approx(known, abs=0.02)
    assert found["features"] == pytest.approx(known, abs=0.02)
    assert found["features_without"] == pytest.approx(0.53, abs=0.04)  # the slope's own error leaves 0.03


def test_an_effect_of_its_own_is_not():
    found = mean_auc(direct=1.5)
    known = norm.cdf(1.5 / np.sqrt(2))
    assert found["confounder"] == pytest.approx(0.5, abs=0.04)
    assert found["features"] == pytest.approx(known, abs=0.02)
    assert found["features_without"] == pytest.approx(known, abs=0.02)


def test_what_is_left_of_an_effect_of_both_is_its_own_part():
    found = mean_auc(through=1.0, direct=1.0)
    assert found["confounder"] == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.02)
    assert found["features"] == pytest.approx(norm.cdf(1), abs=0.02)  # two directions: √2 / √2
    assert found["features_without"] == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.02)


def test_nothing_is_nothing():
    found = [explained_by(*evaluation(s), treated, wells) for s in range(5)]
    for view in VIEWS:
        deviation = [(getattr(f, view).value - 0.5) / getattr(f, view).null_sd for f in found]
        assert abs(np.mean(deviation)) < 4 / np.sqrt(5)


def test_the_line_is_scikit_learn_s_and_is_fitted_on_controls_only():
    """Treated images must not bend it: their effect would be regressed out as if it were brightness."""
    x, c = evaluation(1, through=1.0, direct=2.0)
    fitted = ~treated & (wells % 2 == 0)
    oracle = x - LinearRegression(fit_intercept=True).fit(c[fitted], x[fitted]).predict(c)
    left = confounders._without(x, c, fitted)
    assert left - left[fitted].mean(0) == pytest.approx(oracle - oracle[fitted].mean(0), abs=1e-10)
    assert left[treated, 2].mean() - left[fitted, 2].mean() == pytest.approx(2, abs=0.2)


def test_several_confounders_and_one_that_controls_share():
    x, c = evaluation(0, through=1.5)
    local = np.random.default_rng(5)
    both = np.c_[c, np.where(treated, 0.7, 0.1), local.normal(size=N)]  # the second is constant among controls
    found = explained_by(x, both, treated, wells)
    assert found.confounder.value == 1
    assert found.features_without.value == pytest.approx(0.5, abs=4 * found.features_without.null_sd)
    found = explained_by(x, np.full((N, 1), 0.1), treated, wells)
    assert found.confounder.value == 0.5
    assert found.features_without == found.features


def test_the_unit_and_the_zero_of_a_confounder_do_not_matter():
    x, c = evaluation(0, through=1.0)
    first, second = explained_by(x, c, treated, wells), explained_by(x, 1e4 * c - 3, treated, wells)
    assert second.features_without.value == pytest.approx(first.features_without.value, abs=1e-9)
    assert second.confounder.value == pytest.approx(first.confounder.value, abs=1e-9)


def test_what_cannot_be_asked_is_no_number():
    x, c = evaluation(0)
    broken = c.copy()
    broken[3] = np.nan
    found = explained_by(x, broken, treated, wells)
    assert np.isfinite(found.features.value)
    assert np.isnan([found.confounder.value, found.features_without.value]).all()
    one_well = np.where(treated, 0, wells)
    assert np.isnan(explained_by(x, c, treated, one_well).features.value)
    few = np.r_[0:6, N - 6 : N]
    many = np.random.default_rng(0).normal(size=(12, 5))
    found = explained_by(x[few], many, treated[few], np.arange(12))  # four or five controls, five confounders
    assert np.isfinite([found.features.value, found.confounder.value]).all()
    assert np.isnan(found.features_without.value)


def test_arrays_that_do_not_fit_are_named():
    x, c = evaluation(0)
    with pytest.raises(ValueError, match="confounders"):
        explained_by(x, c[:, 0], treated, wells)
    with pytest.raises(ValueError, match="images"):
        explained_by(x, c, treated[:-1], wells)
    with pytest.raises(ValueError, match="two labels"):
        explained_by(x, c, treated, wells % 7)
