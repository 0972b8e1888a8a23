"""Ridges: how the single cells of a treatment lie along its effect, real, generated and control."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from virtassay.report.figures import BASELINE, FAINT, MODEL, REAL, SOFT, new_figure, style, svg_uri

Array = NDArray[np.float64]
BANDWIDTH = 0.3  # of every curve, in the controls' s.d.: a narrower curve is then a narrower distribution
POINTS = 100  # of a curve
CURVES = (("control", BASELINE, 0.9, 0.30), ("real", REAL, 1.3, 0.06), ("generated", MODEL, 1.5, 0.10))


@dataclass(frozen=True)
class Ridge:
    """The cells of one treatment in one featurizer, places by side (none: not measured), and a remark."""

    treatment: str
    featurizer: str
    places: dict[str, Array]
    remark: str


def ridges(rows: Sequence[Sequence[Ridge]]) -> str:
    """Draw distributions of single cells: a row for each treatment, a panel for each featurizer; 0 is the controls."""
    with style():
        figure = new_figure(10.4, 0.8 + 0.86 * len(rows))
        axes: Any = figure.subplots(len(rows), len(rows[0]), squeeze=False)
        for i, row in enumerate(rows):
            for j, ridge in enumerate(row):
                _panel(axes[i, j], ridge)
                if i == 0:
                    axes[i, j].set_title(ridge.featurizer, fontsize=9)
            label = "\n".join(textwrap.wrap(row[0].treatment, 22, max_lines=3, placeholder=" …"))
            axes[i, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8.5)
        figure.supxlabel("place along the real effect (s.d. of the controls; 0: where controls are)", fontsize=8.5)
        for side, colour, width, alpha in CURVES:
            axes[0, 0].fill([], [], facecolor=(colour, alpha), edgecolor=colour, lw=width, label=side)
        figure.legend(loc="outside upper left", ncols=3, frameon=False, handlelength=1.2, columnspacing=1.6)
        return svg_uri(figure)


def _panel(axes: Any, ridge: Ridge) -> None:
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="x", labelsize=7.5, length=2)
    if not ridge.places:
        axes.text(0.5, 0.5, "n/a", ha="center", va="center", transform=axes.transAxes, color=SOFT, fontsize=8)
        axes.set_xticks([])
        return
    every = np.concatenate(list(ridge.places.values()))
    low, high = map(float, np.percentile(every, [0.5, 99.5]))
    grid: Array = np.linspace(low - 1, high + 1, POINTS)
    density = {side: _density(ridge.places[side], grid) for side, *_ in CURVES}
    axes.axvline(0, color=FAINT, lw=0.8, zorder=0)
    for side, colour, width, alpha in CURVES:
        axes.fill_between(grid, density[side], facecolor=(colour, alpha), lw=0)
        axes.plot(grid, density[side], color=colour, lw=width)
    usual = max(density["real"].max(), density["control"].max())
    axes.set(xlim=(grid[0], grid[-1]), ylim=(0, min(max(density["generated"].max(), usual), 2 * usual) * 1.8))
    axes.text(1.0, 1.0, ridge.remark, ha="right", va="top", transform=axes.transAxes, fontsize=7, color=SOFT)


def _density(places: Array, grid: Array) -> Array:
    """A Gaussian of the bandwidth on every cell."""
    return np.exp(-0.5 * np.square((grid[:, None] - places) / BANDWIDTH)).mean(1) / (BANDWIDTH * np.sqrt(2 * np.pi))
