"""Figures of effects: values beyond the axes, and values that could not be measured."""

import base64

import numpy as np

from virtassay.evaluation.report.plots import (
    DoseCurve,
    EffectExplained,
    EffectPairs,
    Estimate,
    dose_response,
    effect_explained_figure,
    effect_scatter,
)


def comments(uri: str) -> list[str]:
    """The texts of a figure, which its SVG names in comments."""
    svg = base64.b64decode(uri.partition(",")[2]).decode()
    return [part.partition("-->")[0].strip() for part in svg.split("<!--")[1:]]


def test_what_lies_beyond_the_axes_is_an_arrow_with_its_value_and_what_is_missing_says_so():
    line = EffectExplained("texture", Estimate(0.5, 0.4, 0.6), Estimate(-7.25), (), Estimate())
    texts = comments(effect_explained_figure([line]))
    assert "◂ −7.2" in texts and "n/a" in texts and "texture" in texts


def test_the_largest_disagreements_are_named():
    pairs = EffectPairs("texture", np.arange(4.0), np.array([0.0, 1.0, 2.0, 0.0]), ["a", "b", "c", "far off"])
    texts = comments(effect_scatter([pairs]))
    assert "far off" in texts and not {"a", "b", "c"} & set(texts)
    assert "n/a" in comments(effect_scatter([EffectPairs("texture", np.array([np.nan]), np.ones(1), ["a"])]))


def test_a_dose_curve_marks_its_doses():
    curve = DoseCurve("texture", np.array([0.1, 10.0]), np.array([0.0, 1.0]), np.array([0.0, 0.5]))
    assert {"0.1", "10", "real", "generated"} <= set(comments(dose_response([curve])))
