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
