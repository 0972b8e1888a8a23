"""The two-sample test within strata: the closed form, the null, and generators that are right only in the mean."""

import numpy as np
import pytest
from scipy.stats import norm

from virtassay.evaluation.metrics.c2st import c2st_conditional

STRATA, WELLS, PER_WELL, D = 6, 6, 10, 4
stratum = np.repeat(np.arange(STRATA), WELLS * PER_WELL)
wells = np.repeat(np.arange(STRATA * WELLS), PER_WELL)
marks = np.random.default_rng(9).normal(size=(STRATA, D)) * 2


def draw(seed, labels=stratum):
    return marks[labels] + np.random.default_rng(seed).normal(size=(len(labels), D))


def test_equal_distributions_cannot_be_told_apart():
    found = [c2st_conditional(draw(s), stratum, wells, draw(s + 100), stratum).mean for s in range(6)]
    deviation = np.array([(auc.value - 0.5) / auc.null_sd for auc in found])
    assert abs(deviation.mean()) < 4 / np.sqrt(6)
    assert 0.4 < deviation.std() < 1.7


def test_the_spread_of_the_mean_is_that_of_its_strata():
    found = c2st_conditional(draw(0), stratum, wells, draw(1), stratum)
    assert found.mean.value == pytest.approx(found.auc.mean())
    assert found.mean.null_sd == pytest.approx(np.sqrt((found.null_sd**2).sum()) / STRATA)
    once = np.sqrt((12 + 12 + 1) / (12 * 12 * 12) / 5)  # Mann & Whitney, in five folds of about 12 and 12
    assert found.null_sd == pytest.approx(np.full(STRATA, np.sqrt(2) * once), rel=0.1)


def test_a_shift_gives_the_known_auc():
    shift = np.array([1.5, 0, 0, 0])
    values = [c2st_conditional(draw(s), stratum, wells, draw(s + 100) + shift, stratum).mean.value for s in range(3)]
    assert np.mean(values) == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.03)


def test_pooling_is_no_excuse():
    """Planted: the right pool with shuffled treatments, which no distance between pools can see."""
    shuffled = np.random.default_rng(0).permutation(stratum)
    assert c2st_conditional(draw(0), stratum, wells, draw(1), shuffled).mean.value > 0.8


def test_copies_of_the_real_images_fall_below_a_half():
    x = draw(0)
    # a copy stands on the other side with the other label
    found = c2st_conditional(x, stratum, wells, x, stratum).mean
    assert found.value < 0.5


def test_strata_that_cannot_be_measured_and_generators_that_fail_them():
    x, g, of = draw(0), draw(1), stratum.copy()
    x[stratum == 0] = np.nan
    one_well = np.where(stratum == 1, wells.max() + 1, wells)
    g[np.flatnonzero(stratum == 2)[0], 0] = np.nan
    of[stratum == 3] = 77
    found = c2st_conditional(x, stratum, one_well, g, of)
    assert np.isnan(found.auc[:2]).all()
    assert found.auc[2:4].tolist() == [1, 1]
    assert found.n_unmeasured == 2
    assert found.n_unknown == 60
    assert found.mean.value == pytest.approx(found.auc[2:].mean())
    assert np.isnan(c2st_conditional(x[:60], stratum[:60], wells[:60], g, of).mean.value)
    nothing = c2st_conditional(x[:0], stratum[:0], wells[:0], g, of)
    assert len(nothing.auc) == 0
    assert np.isnan(nothing.mean.value)


def test_constant_features_are_chance():
    assert c2st_conditional(np.ones((360, D)), stratum, wells, np.ones((360, D)), stratum).mean.value == 0.5


def test_more_features_than_images():
    local = np.random.default_rng(0)
    x, g = local.normal(size=(360, 200)), local.normal(size=(360, 200))
    g[:, :20] += 1
    assert c2st_conditional(x, stratum, wells, g, stratum).mean.value > 0.8


def test_arrays_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="same d"):
        c2st_conditional(draw(0), stratum, wells, draw(1)[:, 1:], stratum)
    with pytest.raises(ValueError, match="real images"):
        c2st_conditional(draw(0), stratum, wells[1:], draw(1), stratum)
