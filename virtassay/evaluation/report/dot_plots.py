"""Dot plots of the report: every metric between its floor and its ceiling, and what confounders explain."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from virtassay.evaluation.report.plots import Estimate
from virtassay.report.figures import BAND, BASELINE, FAINT, MODEL, REAL, SOFT, new_figure, style, svg_uri

LOW, HIGH = -1.0, 2.0  # scaled scores beyond are arrows
JITTER = 0.16


def scaled_scores(panels: Sequence[tuple[str, Sequence[Estimate]]]) -> str:
    """Draw scaled scores, a line for each metric and a panel for each featurizer; 0 is the floor, 1 the ceiling.

    panels: (featurizer, scores by the metric's label); a metric that a panel lacks is left empty there.
    """
    names = list(dict.fromkeys(score.label for _, scores in panels for score in scores))
    with style():
        figure = new_figure(10.4, 1.0 + 0.235 * len(names))
        axes: list[Any] = list(figure.subplots(1, len(panels), sharey=True, squeeze=False).flat)
        for panel, (featurizer, scores) in zip(axes, panels, strict=True):
            panel.axvspan(0, 1, color=BAND, zorder=-2, lw=0)
            for x, colour in ((0, BASELINE), (1, REAL)):
                panel.axvline(x, color=colour, lw=1.1, zorder=0)
            for score in scores:
                _scaled(panel, score, names.index(score.label))
            panel.set(xlim=(LOW, HIGH), ylim=(len(names) - 0.4, -0.6))
            panel.set_xticks([0, 1], ["floor\n0", "ceiling\n1"], fontsize=8)
            panel.set_yticks(range(len(names)), names, color=REAL, fontsize=8.5)
            panel.set_title(featurizer.replace(" ", "\n"), fontsize=9, va="bottom")  # panels are narrow
            panel.grid(axis="y", color=FAINT, lw=0.5)
            panel.set_axisbelow(True)
            panel.tick_params(axis="y", length=0, pad=9)  # room for arrows
            panel.spines["left"].set_visible(False)
        return svg_uri(figure)


def _scaled(panel: Any, score: Estimate, y: int) -> None:
    if not math.isfinite(score.value):
        panel.text(
            0.5, y, "n/a", color=SOFT, va="center", ha="center", fontsize=7.5, bbox={"fc": "white", "lw": 0, "pad": 0.6}
        )
        return
    if math.isfinite(score.lower) and math.isfinite(score.upper):
        ends = np.clip([score.lower, score.upper], LOW, HIGH)
        panel.plot(ends, [y, y], color=MODEL, lw=1.6, solid_capstyle="butt")
    inside = LOW < score.value < HIGH
    marker = "o" if inside else "<" if score.value <= LOW else ">"
    panel.plot(
        np.clip(score.value, LOW, HIGH), y, marker, color=MODEL, ms=6, mew=0.7, mec="white", zorder=3, clip_on=False
    )


@dataclass(frozen=True)
class ConfounderAucs:
    """The AUCs of the treatments, for real and for generated images, by one view of them."""

    label: str
    real: NDArray[np.float64]
    generated: NDArray[np.float64]


def confounder_aucs(panels: Sequence[tuple[str, Sequence[ConfounderAucs]]]) -> str:
    """Draw AUCs of treated against control images: a line for each view, a panel for each featurizer, 0.5 is guessing.

    A small dot is one treatment, a large one their median.
    """
    labels = [aucs.label for aucs in panels[0][1]]
    with style():
        figure = new_figure(10.4, 1.25 + 0.36 * len(labels))
        axes: list[Any] = list(figure.subplots(1, len(panels), sharey=True, squeeze=False).flat)
        for panel, (featurizer, lines) in zip(axes, panels, strict=True):
            panel.axvline(0.5, color=SOFT, lw=0.8, ls=(0, (4, 3)), zorder=0)
            for y, aucs in enumerate(lines):
                if y % 2:
                    panel.axhspan(y - 0.5, y + 0.5, color=BAND, zorder=-2, lw=0)
                for values, colour, marker, where in (
                    (aucs.real, REAL, "D", y - JITTER),
                    (aucs.generated, MODEL, "o", y + JITTER),
                ):
                    known = values[np.isfinite(values)]
                    panel.plot(known, np.full(len(known), where), ".", color=colour, ms=6.5, mew=0, alpha=0.4)
                    if len(known):
                        size = 5.0 if marker == "D" else 6.5
                        panel.plot(np.median(known), where, marker, color=colour, ms=size, mew=0.7, mec="white")
            panel.set(xlim=(0.28, 1.04), ylim=(len(labels) - 0.5, -0.5), xlabel="AUC")
            panel.set_xticks([0.5, 0.75, 1], ["0.5", "0.75", "1"])
            panel.set_yticks(range(len(labels)), labels, color=REAL)
            panel.set_title(featurizer.replace(" ", "\n"), fontsize=9, va="bottom")  # panels are narrow
            panel.tick_params(axis="y", length=0)
            panel.spines["left"].set_visible(False)
        for marker, colour, size, label in (("D", REAL, 5, "real images"), ("o", MODEL, 6.5, "generated images")):
            axes[0].plot([], [], marker, color=colour, ms=size, mew=0, label=label)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, handletextpad=0.2, columnspacing=1.6)
        return svg_uri(figure)
