"""AUCs as dots: which lines there are, and where the dots stand."""

import math

import polars as pl
import pytest

from virtassay.report.aucs import auc_lines, auc_views
from virtassay.report.figures import REAL, new_figure


def test_dots_and_their_median_stand_in_the_line_of_their_view():
    rows = [("a", "real", 0.7, 0.6, 0.5), ("a", "real", 0.9, 0.8, math.nan), ("b", "real", 0.7, 0.9, 0.5)]
    aucs = pl.DataFrame(rows, ["confounder", "side", "all", "alone", "without"], orient="row")
    views = auc_views(aucs)
    assert [label for label, *_ in views] == ["all features", "a alone", "without a", "b alone", "without b"]
    panel = new_figure(4, 2).subplots()
    auc_lines(panel, aucs, views, [("real", REAL, "D", 5.0, 0.25)])
    dots = {line.get_ydata()[0]: list(line.get_xdata()) for line in panel.lines if line.get_marker() == "."}
    medians = {line.get_ydata()[0]: line.get_xdata()[0] for line in panel.lines if line.get_marker() == "D"}
    assert dots == {0.25: [0.7, 0.9], 1.25: [0.6, 0.8], 2.25: [0.5], 3.25: [0.9], 4.25: [0.5]}
    assert medians == pytest.approx({0.25: 0.8, 1.25: 0.7, 2.25: 0.5, 3.25: 0.9, 4.25: 0.5})
