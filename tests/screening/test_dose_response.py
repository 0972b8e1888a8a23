"""Curves with known potency."""

import numpy as np
import pytest

from virtassay.screening.dose_response import hill

DOSES = np.array([0.01, 0.03, 0.1, 0.3, 1, 3, 10])


def curve(ec50, top=2.0, h=1.0):
    return top / (1 + (ec50 / DOSES) ** h)


@pytest.mark.parametrize(("ec50", "h"), [(0.05, 1.0), (0.3, 2.0), (1.0, 0.7), (2.0, 1.5)])
def test_a_curve_gives_its_potency_back(ec50, h):
    found = hill(DOSES, curve(ec50, h=h), np.full(7, 0.01))
    assert found.ec50_um == pytest.approx(ec50, rel=0.02)
    assert (found.top, found.slope) == (pytest.approx(2, rel=0.05), pytest.approx(h, rel=0.05))
    assert found.lower < ec50 < found.upper and found.r2 > 0.999


def test_intervals_of_noisy_curves_hold_the_truth():
    rng = np.random.default_rng(0)
    found = [hill(DOSES, curve(0.3) + rng.normal(0, 0.1, 7), np.full(7, 0.1)) for _ in range(200)]
    assert np.mean([f.lower < 0.3 < f.upper for f in found]) > 0.9
    assert np.median([f.ec50_um for f in found]) == pytest.approx(0.3, rel=0.1)


def test_what_is_no_curve_says_why():
    assert "too few for a curve" in hill(DOSES[:3], curve(0.3)[:3], np.full(3, 0.1)).warning
    nothing = hill(DOSES, np.random.default_rng(1).normal(0, 0.1, 7), np.full(7, 0.2))
    assert nothing.warning == "no dose has an effect" and np.isnan(nothing.ec50_um)
    assert hill(DOSES, curve(300, top=50), np.full(7, 0.01)).warning == "EC50 lies outside the doses asked for"
    assert hill(DOSES, curve(5), np.full(7, 0.001)).warning == "no plateau at the highest dose"
    with pytest.raises(ValueError, match="needs positive ones"):
        hill([0.0, 1, 2, 3], [0, 1, 1, 1], [1, 1, 1, 1])


def test_the_interval_is_that_of_the_linearised_fit():
    top, ec50, h, error = 2.0, 0.3, 1.0, 0.1
    found = hill(DOSES, curve(ec50, top, h), np.full(7, error))
    share = 1 / (1 + ec50 / DOSES)  # of the top; its derivatives by top, log EC50 and h, by hand
    slopes = np.stack([share, -top * h * share * (1 - share), top * share * (1 - share) * np.log(DOSES / ec50)], 1)
    spread = np.sqrt(np.linalg.inv(slopes.T @ slopes)[1, 1]) * error
    assert np.log([found.lower, found.upper]) == pytest.approx(
        [np.log(ec50) - 1.96 * spread, np.log(ec50) + 1.96 * spread], abs=0.01
    )
    assert found.warning == ""


def test_errors_weigh_the_doses_and_unknown_ones_count_as_the_largest():
    y, error = curve(0.3), np.full(7, 0.1)
    y[3] += 1  # an outlier
    heavy, light = (hill(DOSES, y, np.where(np.arange(7) == 3, e, error)) for e in (0.1, 10.0))
    assert light.ec50_um == pytest.approx(0.3, rel=0.02) and abs(np.log(heavy.ec50_um / 0.3)) > 0.3
    assert light.r2 < 1 and heavy.r2 == pytest.approx(r2_of(heavy, y))
    error[0], error[3] = 10, np.nan
    assert hill(DOSES, y, error).ec50_um == pytest.approx(0.3, rel=0.05), "no error is known: that of the worst"
    assert hill(DOSES, 1.5 * curve(0.3), np.full(7, np.nan)).ec50_um == pytest.approx(0.3, rel=0.02), "all: 1"
    assert hill(DOSES, 0.9 * curve(0.3), np.full(7, np.nan)).warning == "no dose has an effect"


def r2_of(found, y):
    fitted = found.top / (1 + (found.ec50_um / DOSES) ** found.slope)
    return 1 - np.square(y - fitted).sum() / np.square(y - y.mean()).sum()


def test_four_doses_are_enough_and_an_effect_is_more_than_twice_its_error():
    four = DOSES[[0, 2, 4, 6]]
    assert hill(four, 2 / (1 + 0.3 / four), np.full(4, 0.01)).ec50_um == pytest.approx(0.3, rel=0.02)
    again = np.tile(DOSES[:3], 2)
    assert "3 doses are too few" in hill(again, np.tile(curve(0.3)[:3], 2), np.full(6, 0.1)).warning
    assert hill(DOSES, curve(0.3), np.full(7, curve(0.3).max() / 2)).warning == "no dose has an effect"
    assert hill(DOSES, curve(0.3), np.full(7, curve(0.3).max() / 2.01)).warning != "no dose has an effect"
    assert hill(DOSES, np.zeros(7), np.zeros(7)).warning == "no dose has an effect"
    assert hill(DOSES, curve(0.3), np.zeros(7)).ec50_um == pytest.approx(0.3, rel=0.02)


def test_where_the_doses_say_too_little():
    assert hill(DOSES, curve(0.003), np.full(7, 0.001)).warning == "EC50 lies outside the doses asked for"
    # at the highest dose, 10 µM, the effect is 10/(10 + EC50) of the top: 0.8 at 2.5
    assert hill(DOSES, curve(2.3), np.full(7, 1e-4)).warning == ""
    assert hill(DOSES, curve(2.7), np.full(7, 1e-4)).warning == "no plateau at the highest dose"
    assert hill(DOSES, curve(0.3, h=8), np.full(7, 0.01)).slope == pytest.approx(5), "the steepest that is believed"
    assert hill(DOSES, curve(0.3, h=0.1), np.full(7, 0.01)).slope == pytest.approx(0.2), "and the flattest"


def test_a_top_is_at_most_ten_times_the_highest_effect():
    y = curve(300, top=50)
    assert hill(DOSES, y, np.full(7, 0.01)).top == pytest.approx(10 * y.max(), rel=1e-3)


def test_the_share_that_a_curve_explains_of_small_effects_and_of_constant_ones():
    assert hill(DOSES, curve(0.3, top=0.2), np.full(7, 0.001)).r2 == pytest.approx(1)
    assert np.isnan(hill(DOSES, np.full(7, 2.0), np.full(7, 0.01)).r2)


@pytest.mark.parametrize(("ec50", "h", "nearest"), [(2e-5, 0.3, 1e-4), (2000, 0.4, 1000)])
def test_a_potency_is_sought_within_a_hundredfold_of_the_doses(ec50, h, nearest):
    found = hill(DOSES, curve(ec50, h=h), np.full(7, 1e-4))
    assert found.ec50_um == pytest.approx(nearest, rel=1e-3)
    assert found.warning == "EC50 lies outside the doses asked for"


def test_effects_have_no_smallest_size():
    assert hill(DOSES, curve(0.3, top=2e-7), np.zeros(7)).ec50_um == pytest.approx(0.3, rel=0.02)
