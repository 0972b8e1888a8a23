"""Dot plots: a line for each name, and what could not be measured."""

import numpy as np

from tests.evaluation.report.test_plots import comments
from virtassay.evaluation.report.dot_plots import ConfounderAucs, confounder_aucs, scaled_scores
from virtassay.evaluation.report.plots import Estimate


def test_each_metric_has_its_line_and_is_called_missing_where_it_is():
    texts = comments(scaled_scores([("texture", [Estimate(0.5, 0.4, 0.6, "slope"), Estimate(label="recall")])]))
    assert {"slope", "recall", "texture"} <= set(texts) and texts.count("n/a") == 1


def test_each_view_has_its_line():
    lines = [ConfounderAucs("all features", np.array([0.9, np.nan]), np.array([np.nan]))]
    assert "all features" in comments(confounder_aucs([("texture", lines)]))
