"""Dot plots: a line for each name, and what could not be measured."""

import numpy as np
import polars as pl

from tests.evaluation.report.test_plots import comments
from virtassay.evaluation.report.dot_plots import confounder_aucs, scaled_scores
from virtassay.evaluation.report.plots import Estimate


def test_each_metric_has_its_line_and_is_called_missing_where_it_is():
    texts = comments(scaled_scores([("texture", [Estimate(0.5, 0.4, 0.6, "slope"), Estimate(label="recall")])]))
    assert {"slope", "recall", "texture"} <= set(texts) and texts.count("n/a") == 1


def test_each_view_has_its_line():
    table = {"featurizer": "texture", "confounder": "brightness", "side": ["real", "real", "generated"]}
    aucs = pl.DataFrame(table | {name: [0.9, np.nan, np.nan] for name in ("all", "alone", "without")})
    texts = comments(confounder_aucs(aucs))
    assert {"all features", "brightness alone", "without brightness", "real images", "generated images"} <= set(texts)
    assert confounder_aucs(aucs.clear()) is None
