"""When a model that passes is wrong about the cells."""

import math

import pytest

from virtassay.evaluation.reservations import RESERVATIONS, enough, reservations, unchecked


def rows(metric, *intervals, generator="model"):
    """Rows of featurizers f0, f1 … with the intervals."""
    return {
        (f"f{i}", metric, generator): {"value": (low + high) / 2, "lower": low, "upper": high, "fingerprint": {}}
        for i, (low, high) in enumerate(intervals)
    }


def test_half_of_the_featurizers_and_no_more_than_two_must_agree():
    assert [enough(n) for n in (1, 2, 3, 4, 9)] == [1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("intervals", "text"),
    [
        ([(0.2, 0.5), (0.9, 1.1)], "too weak"),
        ([(1.5, 2.0), (1.6, 2.2), (0.9, 1.1)], "exaggerated"),
        ([(0.5, 0.9), (0.9, 1.1)], None),  # reaches into the range
        ([(0.2, 0.5), (0.9, 1.1), (0.9, 1.1)], None),  # one of three
    ],
)
def test_a_reservation_is_made_where_whole_intervals_lie_outside(intervals, text):
    pooled = rows("effect_slope", *intervals)
    reserved = reservations(pooled, [f"f{i}" for i in range(len(intervals))])
    assert [text in r["sentence"] for r in reserved] == ([True] if text else [])


def test_chance_is_a_fault_only_where_the_replicate_is_clear_of_it():
    model = rows("pds", (0.4, 0.6))
    assert reservations(model, ["f0"]) == [] and "pds" in unchecked(model, ["f0"])
    clear = model | rows("pds", (0.8, 0.9), generator="real_replicate")
    assert [r["metric"] for r in reservations(clear, ["f0"])] == ["pds"]


def test_ranges_are_ranges():
    assert all(r.low < r.high and (r.high == math.inf or r.above) for r in RESERVATIONS)
