"""The report's sentences."""

import numpy as np
import polars as pl
import pytest

from tests.evaluation.report.toy_judgement import auc, finding
from virtassay.evaluation.report.sentences import ALL_RIGHT, NOT_MEASURED, NOTHING_CLEAR, treatments, what_explains


@pytest.mark.parametrize(
    ("given", "explained", "said"),
    [
        ({}, 0.7, ALL_RIGHT),
        (
            {"slope": 0.3},
            0.7,
            "Wrong: too weak. Right: the effect, direction, told apart from others, spread of cells.",
        ),
        (
            {"slope": 2.5, "variance_ratio": 0.1},
            0.3,
            "Wrong: too strong, cells too uniform. In part: the effect. Right: d",
        ),
        (
            {"direction": -0.2, "pds": 0.5},
            -1.0,
            "Wrong: hardly any of the effect, wrong direction, confused with others.",
        ),
        ({"clear": False, "slope": None, "direction": None, "pds": None}, 0.0, NOTHING_CLEAR),
        ({"slope": None, "direction": None, "pds": None}, -1.0, NOT_MEASURED),
    ],
)
def test_a_treatment_in_words(given, explained, said):
    effects = pl.DataFrame(
        {
            "treatment": "t",
            "perturbation": "t",
            "dose_um": None,
            "moa": None,
            "batch": "b",
            "effect_explained": [explained],
        }
        | {"true_effect": 1.0, "generated_effect": 1.0}
    )
    (found,) = treatments(effects, pl.DataFrame([finding("f", "t", **given)]))
    assert found.sentence.startswith(said)


@pytest.mark.parametrize(
    ("aucs", "said"),
    [
        ((0.9, 0.9, 0.55), "the effect is mostly brightness"),
        ((0.9, 0.8, 0.7), "the effect is partly brightness"),
        ((0.9, 0.9, 0.9), "the effect is more than brightness"),
        ((0.55, 0.5, 0.5), "there is no clear effect to explain"),
        ((np.nan, 0.9, 0.5), "brightness cannot be asked about in the real images"),
    ],
)
def test_what_a_confounder_explains_in_words(aucs, said):
    table = pl.DataFrame([{"confounder": "brightness", "side": "real", **auc(*aucs)}])
    (sentence,) = what_explains(table)
    assert said.lower() in sentence.lower() and "about in the generated images (too few" in sentence
