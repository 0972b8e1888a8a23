"""The dot plot draws each generator in each lane."""

from tests.evaluation.report.test_plots import comments
from virtassay.evaluation.comparison.dot_plot import Lane, dot_plot
from virtassay.evaluation.report.plots import Estimate


def test_lanes_and_generators_have_their_names_and_what_is_missing_is_said():
    marks = (Estimate(0.5, 0.4, 0.6, "a"), Estimate(label="b"))
    texts = comments(dot_plot([Lane("texture", marks, 0.1, 0.9)], "Effect explained"))
    assert {"a", "b", "texture", "Effect explained"} <= set(texts) and texts.count("n/a") == 1
