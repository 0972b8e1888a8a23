"""Dot plots of the report: every metric between its floor and its ceiling, and what confounders explain."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from virtassay.evaluation.report.plots import Estimate
from virtassay.report import figures
from virtassay.report.aucs import auc_lines, auc_views
from virtassay.report.numbers import name

LOW, HIGH = -1.0, 2.0  # scaled scores beyond are arrows
# side, colour, and of its medians the marker, size and offset from the middle of a line
SIDES = (("real", figures.REAL, "D", 5.0, -0.16), ("generated", figures.MODEL, "o", 6.5, 0.16))


def scaled_scores(panels: Sequence[tuple[str, Sequence[Estimate]]]) -> str:
    """Draw scaled scores, a line for each metric and a panel for each featurizer; 0 is the floor, 1 the ceiling.

    panels: (featurizer, scores by the metric's label); a metric that a panel lacks is left empty there.
    """
    names = list(dict.fromkeys(score.label for _, scores in panels for score in scores))
    with figures.style():
        figure = figures.new_figure(10.4, 1.0 + 0.235 * len(names))
        axes: list[Any] = list(figure.subplots(1, len(panels), sharey=True, squeeze=False).flat)
        for panel, (featurizer, scores) in zip(axes, panels, strict=True):
            panel.axvspan(0, 1, color=figures.BAND, zorder=-2, lw=0)
            for x, colour in ((0, figures.BASELINE), (1, figures.REAL)):
                panel.axvline(x, color=colour, lw=1.1, zorder=0)
            for score in scores:
                _scaled(panel, score, names.index(score.label))
            panel.set(xlim=(LOW, HIGH), ylim=(len(names) - 0.4, -0.6))
            panel.set_xticks([0, 1], ["floor\n0", "ceiling\n1"], fontsize=8)
            figures.only_names(panel, range(len(names)), names, 8.5)
            panel.set_title(featurizer.replace(" ", "\n"), fontsize=9, va="bottom")  # panels are narrow
            panel.grid(axis="y", color=figures.FAINT, lw=0.5)
            panel.set_axisbelow(True)
            panel.tick_params(axis="y", pad=9)  # room for arrows
        return figures.svg_uri(figure)


def _scaled(panel: Any, score: Estimate, y: int) -> None:
    if math.isfinite(score.value):
        draw_clipped(panel, score, y, figures.MODEL, "o", (LOW, HIGH))
    else:
        box = {"fc": "white", "lw": 0, "pad": 0.6}
        panel.text(0.5, y, "n/a", color=figures.SOFT, va="center", ha="center", fontsize=7.5, bbox=box)


def draw_clipped(
    axes: Any, estimate: Estimate, y: float, colour: str, marker: str, limits: tuple[float, float]
) -> None:
    """Draw an estimate with its interval in line y; what lies beyond the limits is an arrow at the edge."""
    low, high = limits
    if math.isfinite(estimate.lower) and math.isfinite(estimate.upper):
        ends = np.clip([estimate.lower, estimate.upper], low, high)
        axes.plot(ends, [y, y], color=colour, lw=1.6, solid_capstyle="butt")
    marker = "<" if estimate.value <= low else ">" if estimate.value >= high else marker
    x = np.clip(estimate.value, low, high)
    axes.plot(x, y, marker, color=colour, ms=6, mew=0.7, mec="white", zorder=3, clip_on=False)


def confounder_aucs(aucs: pl.DataFrame) -> str | None:
    """Draw AUCs of treated against control images, real and generated, a panel for each featurizer; None without."""
    if aucs.is_empty():
        return None
    views, featurizers = auc_views(aucs), aucs["featurizer"].unique(maintain_order=True).to_list()
    with figures.style():
        figure = figures.new_figure(10.4, 1.25 + 0.36 * len(views))
        panels: list[Any] = list(figure.subplots(1, len(featurizers), sharey=True, squeeze=False).flat)
        for panel, featurizer in zip(panels, featurizers, strict=True):
            auc_lines(panel, aucs.filter(pl.col("featurizer") == featurizer), views, SIDES)
            panel.set_xlabel("AUC")
            panel.set_title(name(featurizer).replace(" ", "\n"), fontsize=9, va="bottom")
        figures.legend_above(
            figure, panels[0], [(marker, colour, size, f"{side} images") for side, colour, marker, size, _ in SIDES]
        )
        return figures.svg_uri(figure)
