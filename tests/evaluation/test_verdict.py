"""Floors, ceilings and the verdict, by hand."""

import pytest

from virtassay.evaluation.baselines import BASELINES
from virtassay.evaluation.glossary import Glossary
from virtassay.evaluation.intervals import Score
from virtassay.evaluation.judgement import CEILING, MODEL, POOLED
from virtassay.evaluation.metrics.effects import effects
from virtassay.evaluation.verdict import IncomparableScores, anchored, comparable, verdict


def rows(model, floor=(0.1, 0.0, 0.2)):
    values = {MODEL: model, "control_copy": floor, CEILING: (0.9, 0.8, 1.0)}
    scores = {
        name: {("effect_explained", POOLED): Score(value[0], value[1], value[2], 1, 1, {})}
        for name, value in values.items()
    }
    return anchored(scores, BASELINES, Glossary.of([effects]), {"featurizer": "texture", "features": "scaled"})


def test_a_score_is_scaled_between_floor_and_ceiling():
    row = rows((0.5, 0.4, 0.6))[0]
    assert (row["floor"], row["ceiling"], row["scaled"]) == (0.1, 0.9, pytest.approx(0.5))
    assert row["fingerprint"]["features"] == "scaled" and row["fingerprint"]["scope"] == "pooled"


@pytest.mark.parametrize(("model", "passes"), [((0.5, 0.4, 0.6), True), ((0.5, 0.15, 0.6), False)])
def test_it_passes_where_intervals_are_apart(model, passes):
    outcome = verdict(rows(model), ["control_copy"], [])
    assert outcome["passes"] is passes and outcome["per_featurizer"]["texture"]["baseline"] == "control_copy"


def test_without_texture_none_passes():
    others = [{**row, "featurizer": "pixel_statistics"} for row in rows((0.5, 0.4, 0.6))]
    assert verdict(others, ["control_copy"], [])["grade"] == "FAIL"


def test_what_was_measured_differently_is_named():
    comparable({"split": "test"}, {"split": "test"})
    with pytest.raises(IncomparableScores, match="split: 'test' against"):
        comparable({"split": "test"}, {})
