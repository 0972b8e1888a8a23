"""The report's tables."""

import polars as pl
import pytest

from tests.evaluation.report.toy_judgement import row
from virtassay.evaluation.baselines import BASELINES, floors_of
from virtassay.evaluation.judgement import MODEL
from virtassay.evaluation.report.tables import metric_lines, selftest_table
from virtassay.evaluation.selftest.caught import GLOSSARY
from virtassay.evaluation.selftest.last_run import LastRun


def test_a_scaled_interval_follows_the_direction_of_the_metric():
    def scaled(metric, value, lower, upper, floor, ceiling, score):
        given = row(MODEL, metric, "f", value, floor=floor, ceiling=ceiling, scaled=score, lower=lower, upper=upper)
        cell = metric_lines([given], "f", floors_of(BASELINES), GLOSSARY)[0].scaled
        return pytest.approx((cell.lower, cell.value, cell.upper))

    assert scaled("fd", 4.0, 3.0, 6.0, 5.0, 1.0, 0.25) == (-0.25, 0.25, 0.5)
    assert scaled("effect_slope", 0.8, 0.7, 1.1, 0.5, 0.9, 0.75) == (0.5, 0.75, 1.25)


def test_the_self_test_is_laid_out_by_metric_and_generator():
    caught = pl.DataFrame(
        {
            "generator": ["half", "half", "copy"],
            "grade": ["FAIL", "FAIL", "PASS"],
            "metric": ["effect_slope", "fd", "effect_slope"],
            "caught": [True, True, False],
            "verdict": [True, False, False],
        }
    )
    dials = pl.DataFrame({"dial": ["blur", "labels"], "metric": ["fd", "fd"], "rho": [0.95, -0.07]})
    found = selftest_table(LastRun("run at abc", caught, dials))
    assert found.made == "run at abc" and found.generators == (("half", "FAIL"), ("copy", "PASS"))
    assert found.lines == (("Effect slope", ("●", "")), ("Fréchet distance (FD)", ("○", "")))
    assert found.dials == ("blur", "labels") and found.dial_lines == (("Fréchet distance (FD)", ("0.95", "−0.070")),)
