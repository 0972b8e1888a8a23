"""Figures of effects: values beyond the axes, and values that could not be measured."""

import base64

import numpy as np
import polars as pl

from virtassay.evaluation.report.plots import (
    EffectExplained,
    Estimate,
    dose_response,
    effect_explained_figure,
    effect_scatter,
    ridges,
)


def comments(uri: str | None) -> list[str]:
    """The texts of a figure, which its SVG names in comments."""
    assert uri is not None
    svg = base64.b64decode(uri.partition(",")[2]).decode()
    return [part.partition("-->")[0].strip() for part in svg.split("<!--")[1:]]


def test_what_lies_beyond_the_axes_is_an_arrow_with_its_value_and_what_is_missing_says_so():
    line = EffectExplained("texture", Estimate(0.5, 0.4, 0.6), Estimate(-7.25), (), Estimate())
    texts = comments(effect_explained_figure([line]))
    assert "◂ −7.2" in texts and "n/a" in texts and "texture" in texts


def test_the_largest_disagreements_are_named():
    table = {"featurizer": "texture", "batch": "week1", "treatment": ["a", "b", "c", "far off"]}
    effects = pl.DataFrame(table | {"true_effect": np.arange(4.0), "generated_effect": [0.0, 1.0, 2.0, 0.0]})
    texts = comments(effect_scatter(effects))
    assert "far off" in texts and not {"a", "b", "c"} & set(texts)
    assert "n/a" in comments(effect_scatter(effects.with_columns(true_effect=pl.lit(np.nan))))
    assert effect_scatter(effects.clear()) is None


def test_a_dose_curve_marks_its_doses():
    table = {"dose_um": [0.1, 10.0], "true_effect": [0.0, 1.0], "generated_effect": [0.0, 0.5]}
    curve = pl.DataFrame({"featurizer": "texture"} | table)
    assert {"0.1", "10", "real", "generated"} <= set(comments(dose_response(curve)))


def test_images_that_are_all_alike_are_a_narrow_ridge():
    places = {"real": np.arange(5.0), "control": np.arange(5.0) - 2, "generated": np.ones(5)}
    rows = [("f", "t", side, place) for side, own in places.items() for place in own] + [("g", "u", "real", 0.0)]
    cells = pl.DataFrame(rows, ["featurizer", "treatment", "side", "place"], orient="row")
    spread = {"variance_ratio": 0.5, "real_rare": 0.25, "generated_rare": 0.0}
    findings = pl.DataFrame({"featurizer": ["f"], "treatment": ["t"]} | spread)
    drawn = base64.b64decode(ridges(cells, findings, ["t"]).partition(",")[2]).decode()
    assert "nan" not in drawn.lower() and drawn.count("<!-- n/a -->") == 1
    assert "<!-- spread ×0.50 -->" in drawn and "<!-- rare 25 → 0 % -->" in drawn
