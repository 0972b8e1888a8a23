"""When a score sees a fault, and when it follows the truth."""

import pytest

from virtassay.evaluation.selftest.caught import follows_the_truth, who_catches_what
from virtassay.evaluation.selftest.trial import Outcome


def outcome(*rows, passes=True, reservations=()):
    """An outcome by hand; rows: (metric, featurizer, value, lower, upper)."""
    verdict = {"passes": passes, "grade": "by hand", "reservations": [{"metric": metric} for metric in reservations]}
    return Outcome(
        [dict(zip(("metric", "featurizer", "value", "lower", "upper"), r, strict=True)) for r in rows], verdict
    )


@pytest.mark.parametrize(
    ("row", "seen"),
    [
        ((0.75, None, None), True),  # below 0.9 by more than 0.1
        ((0.85, None, None), False),
        ((1.5, None, None), False),  # better is no fault
        ((0.75, 0.6, 0.89), True),
        ((0.75, 0.6, 0.91), False),  # an oracle could have had it
        ((None, None, None), True),
    ],
)
def test_a_score_sees_a_fault_beyond_what_oracles_differ(row, seen):
    truth = {f"oracle {v}": outcome(("pds", "texture", v, None, None)) for v in (0.9, 1.0)}
    given = truth | {"model": outcome(("pds", "texture", *row), reservations=["pds"])}
    table = who_catches_what(given, list(truth)).to_dicts()
    assert [(r["generator"], r["caught"], r["seen_in"], r["asked_in"]) for r in table] == [("model", seen, seen, 1)]
    assert table[0]["verdict"]


def test_half_of_the_featurizers_must_see_it_and_those_that_measured_no_oracle_are_not_asked():
    right = outcome(("fd", "a", 1.0, None, None), ("fd", "b", 1.0, None, None), ("fd", "c", None, None, None))
    wrong = outcome(("fd", "a", 2.0, None, None), ("fd", "b", 1.0, None, None), passes=False)
    (row,) = who_catches_what({"oracle": right, "model": wrong}, ["oracle"]).to_dicts()
    assert (row["caught"], row["seen_in"], row["asked_in"], row["verdict"]) == (True, 1, 2, False)


def test_a_metric_follows_an_error_by_the_ranks_of_its_goodness():
    def levels(metric, values):
        return follows_the_truth([outcome((metric, "texture", value, None, None)) for value in values])[metric]

    assert levels("pds", [1.0, 0.9, 0.7, 0.6]) == pytest.approx(1)
    assert levels("fd", [1.0, 2.0, 3.0, 4.0]) == pytest.approx(1)
    assert levels("effect_slope", [1.0, 1.1, 0.7, 1.9]) == pytest.approx(1)  # nearest to 1 is best
    assert levels("pds", [0.6, 0.7, 0.9, 1.0]) == pytest.approx(-1)
    assert levels("pds", [0.5, 0.5, 0.5, 0.5]) == 0
    assert levels("pds", [0.9, 0.8, 0.7, None]) == pytest.approx(1)
