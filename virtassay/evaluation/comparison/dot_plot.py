"""The dot plot of a comparison: several generators' scores with their intervals, a lane for each featurizer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from virtassay.evaluation.report.dot_plots import draw_clipped
from virtassay.evaluation.report.plots import Estimate
from virtassay.report.figures import BAND, BASELINE, REAL, new_figure, only_names, style, svg_uri

# Okabe and Ito, distinct for all
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LOWEST, HIGHEST = -1.5, 2.5  # what lies beyond is an arrow at the edge


@dataclass(frozen=True)
class Lane:
    """One score of several generators in one featurizer, with the best trivial baseline and the real replicate."""

    featurizer: str
    marks: tuple[Estimate, ...]
    floor: float
    ceiling: float


def dot_plot(lanes: Sequence[Lane], label: str) -> str:
    """Draw a lane for each featurizer, in it a line for each generator between floor (grey) and ceiling (black)."""
    names = [mark.label for mark in lanes[0].marks]
    drawn = [x for c in lanes for x in (c.floor, c.ceiling, *(x for m in c.marks for x in (m.value, m.lower, m.upper)))]
    known = np.clip([0.0, 1.0, *(x for x in drawn if math.isfinite(x))], LOWEST, HIGHEST)
    low, high = float(known.min()) - 0.08, float(known.max()) + 0.08
    height = len(names) + 1
    with style():
        figure = new_figure(9.6, 1.0 + 0.19 * height * len(lanes))
        axes: Any = figure.subplots()
        for number, lane in enumerate(lanes):
            top = number * height
            if number % 2:
                axes.axhspan(top - 1, top + height - 1, color=BAND, zorder=-2, lw=0)
            for x, colour in ((lane.floor, BASELINE), (lane.ceiling, REAL)):
                if low < x < high:
                    axes.plot([x, x], [top - 0.6, top + height - 1.4], color=colour, lw=1.6, zorder=0)
            for place, mark in enumerate(lane.marks):
                _dot(axes, mark, top + place, place, (low, high))
        for place, name in enumerate(names):
            axes.plot([], [], MARKERS[place % 7], color=COLOURS[place % 7], ms=6, label=name)
        axes.plot([], [], color=BASELINE, lw=1.6, label="best trivial baseline")
        axes.plot([], [], color=REAL, lw=1.6, label="real replicate")
        figure.legend(
            loc="outside upper left", ncols=min(len(names) + 2, 6), frameon=False, handletextpad=0.4, columnspacing=1.6
        )
        axes.set(xlim=(low, high), ylim=(len(lanes) * height - 1, -1), xlabel=label)
        middle = [number * height + (len(names) - 1) / 2 for number in range(len(lanes))]
        only_names(axes, middle, [lane.featurizer for lane in lanes], 9.5)
        return svg_uri(figure)


def _dot(axes: Any, mark: Estimate, y: int, place: int, limits: tuple[float, float]) -> None:
    colour = COLOURS[place % 7]
    if math.isfinite(mark.value):
        draw_clipped(axes, mark, y, colour, MARKERS[place % 7], limits)
    else:
        axes.text(limits[0] + 0.01, y, "n/a", color=colour, va="center", fontsize=7.5)
