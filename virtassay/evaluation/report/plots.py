"""Effects in figures: explained in each featurizer, generated against true, and over doses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from virtassay.report.figures import (
    BAND,
    BASELINE,
    FAINT,
    MODEL,
    OUTLIER,
    REAL,
    SOFT,
    new_figure,
    style,
    svg_uri,
)


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, and whose it is; NaN where it could not be measured."""

    value: float = math.nan
    lower: float = math.nan
    upper: float = math.nan
    label: str = ""


@dataclass(frozen=True)
class EffectExplained:
    """Effect explained in one featurizer: the model, the best trivial baseline, the other ones, the replicate."""

    featurizer: str
    model: Estimate
    best: Estimate
    others: tuple[Estimate, ...]
    replicate: Estimate


def effect_explained_figure(lines: Sequence[EffectExplained]) -> str:
    """Draw the main figure: a line for each featurizer with the model, the best trivial baseline and the replicate."""
    ends = [x for line in lines for estimate in (line.model, line.best, line.replicate) for x in _ends(estimate)]
    low = max(min([0.0, *ends]), -1.5) - 0.12
    high = min(max([1.0, *ends]), 2.5) + 0.12
    with style():
        figure = new_figure(9.6, 0.9 + 0.72 * max(len(lines), 1))
        axes: Any = figure.subplots()
        axes.axvline(0, color=SOFT, lw=0.8, ls=(0, (4, 3)), zorder=0)
        axes.axvline(1, color=SOFT, lw=0.8, ls=(0, (4, 3)), zorder=0)
        for number, line in enumerate(lines):
            if number % 2:
                axes.axhspan(number - 0.5, number + 0.5, color=BAND, zorder=-2, lw=0)
            for other in line.others:
                if low < other.value < high:
                    axes.plot(other.value, number, "|", color="#b9bdc4", ms=8, mew=1.2, zorder=1)
            _draw(axes, line.replicate, number - 0.26, REAL, "D", 5.0, (low, high))
            _draw(axes, line.best, number, BASELINE, "s", 5.5, (low, high))
            _draw(axes, line.model, number + 0.26, MODEL, "o", 7.5, (low, high))
        keys = (
            ("o", MODEL, 7.5, "model"),
            ("s", BASELINE, 5.5, "best trivial baseline"),
            ("|", "#b9bdc4", 8, "other trivial baselines"),
            ("D", REAL, 5.0, "real replicate"),
        )
        for marker, colour, size, label in keys:
            axes.plot([], [], marker, color=colour, ms=size, mew=1.2 if marker == "|" else 0, label=label)
        figure.legend(loc="outside upper left", ncols=4, frameon=False, handletextpad=0.2, columnspacing=1.6)
        axes.set(xlim=(low, high), ylim=(len(lines) - 0.5, -0.5), xlabel="effect explained")
        axes.set_yticks(range(len(lines)), [line.featurizer for line in lines], color=REAL, fontsize=9.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        return svg_uri(figure)


def _ends(estimate: Estimate) -> list[float]:
    return [x for x in (estimate.value, estimate.lower, estimate.upper) if math.isfinite(x)]


def _draw(
    axes: Any, estimate: Estimate, y: float, colour: str, marker: str, size: float, limits: tuple[float, float]
) -> None:
    low, high = limits
    if not math.isfinite(estimate.value):
        axes.text(low + 0.01, y, "n/a", color=colour, va="center", fontsize=8)
    elif not low < estimate.value < high:  # too far out to be drawn: an arrow at the edge, with the value
        edge, side, arrow = (low, "left", "◂ ") if estimate.value <= low else (high, "right", "▸ ")
        text = f"{arrow}{estimate.value:.1f}".replace("-", "−")
        axes.text(edge, y, text, color=colour, va="center", ha=side, fontsize=8, family="DejaVu Sans")
    else:
        if math.isfinite(estimate.lower) and math.isfinite(estimate.upper):
            axes.plot(
                [estimate.lower, estimate.upper], [y, y], color=colour, lw=1.8, solid_capstyle="butt", clip_on=True
            )
        axes.plot(estimate.value, y, marker, color=colour, ms=size, mew=0.8, mec="white", zorder=3)


@dataclass(frozen=True)
class EffectPairs:
    """True and generated effects of the strata in one featurizer, with the name of each."""

    featurizer: str
    true: NDArray[np.float64]
    generated: NDArray[np.float64]
    names: Sequence[str]


def effect_scatter(panels: Sequence[EffectPairs], labelled: int = 3) -> str:
    """Draw generated effect against true effect, one point a stratum, one panel a featurizer; name the outliers."""
    columns = min(len(panels), 3) if len(panels) != 4 else 2
    rows = -(-len(panels) // columns)
    size = {1: 4.6, 2: 3.9}.get(columns, 3.4)
    with style():
        figure = new_figure(size * columns, 0.95 * size * rows)
        every_axes: list[Any] = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, effects in zip(every_axes, panels, strict=False):
            _scatter(axes, effects, labelled)
        for axes in every_axes[len(panels) :]:
            axes.set_visible(False)
        figure.supxlabel("true effect (s.d. of the controls)", fontsize=9.5)
        figure.supylabel("generated effect (s.d. of the controls)", fontsize=9.5)
        return svg_uri(figure)


def _scatter(axes: Any, effects: EffectPairs, labelled: int) -> None:
    axes.set_title(effects.featurizer)
    keep = np.isfinite(effects.true) & np.isfinite(effects.generated)
    true, generated = effects.true[keep], effects.generated[keep]
    names = [name for name, kept in zip(effects.names, keep, strict=True) if kept]
    if not names:
        axes.text(0.5, 0.5, "n/a", ha="center", va="center", transform=axes.transAxes)
        return
    both = np.concatenate([true, generated, [0.0]])
    span = max(float(np.ptp(both)), 1e-6)
    low, high = float(both.min()) - 0.06 * span, float(both.max()) + 0.1 * span
    axes.axhline(0, color=FAINT, lw=0.8, zorder=0)
    axes.axvline(0, color=FAINT, lw=0.8, zorder=0)
    axes.plot([low, high], [low, high], color=SOFT, lw=0.9, ls=(0, (4, 3)), zorder=1)
    error = np.abs(generated - true)
    worst = [int(i) for i in np.argsort(-error)[:labelled] if error[i] > 0.1 * span]
    alpha = 0.75 if len(names) < 100 else 0.45
    axes.scatter(true, generated, s=20, color=MODEL, alpha=alpha, lw=0, zorder=2, rasterized=len(names) > 3000)
    axes.scatter(true[worst], generated[worst], s=22, color=OUTLIER, lw=0, zorder=3)
    y = -np.inf
    for i in sorted(worst, key=lambda i: generated[i]):
        y = max(float(generated[i]), y + 0.06 * span)  # labels do not lie on one another
        left = true[i] > low + 0.5 * (high - low)  # write towards the middle of the panel
        x = float(true[i]) + (-0.025 if left else 0.025) * span
        text = names[i] if len(names[i]) <= 30 else f"{names[i][:16]}…{names[i][-13:]}"  # keeps the dose
        box = {"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.5}
        side = "right" if left else "left"
        axes.text(x, y, text, ha=side, va="center", fontsize=7.5, color=OUTLIER, bbox=box, zorder=4)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")


@dataclass(frozen=True)
class DoseCurve:
    """Effects over the doses of one compound in one featurizer, doses ascending in µM."""

    featurizer: str
    dose_um: NDArray[np.float64]
    true: NDArray[np.float64]
    generated: NDArray[np.float64]


def dose_response(curves: Sequence[DoseCurve]) -> str:
    """Draw true and generated effect over dose, one small panel a featurizer."""
    with style():
        figure = new_figure(max(2.5, 3.2 - 0.2 * len(curves)) * len(curves) + 0.6, 1.9)
        panels: list[Any] = list(figure.subplots(1, len(curves), squeeze=False).flat)
        for axes, curve in zip(panels, curves, strict=True):
            axes.axhline(0, color=FAINT, lw=0.8, zorder=0)
            axes.plot(curve.dose_um, curve.true, "D-", color=REAL, ms=4, lw=1.2, label="real")
            axes.plot(curve.dose_um, curve.generated, "o-", color=MODEL, ms=5, lw=1.2, label="generated")
            if np.all(curve.dose_um > 0):
                axes.set_xscale("log")
            axes.set_xticks(
                curve.dose_um, [f"{dose:g}" for dose in curve.dose_um], fontsize=8 if len(curve.dose_um) < 7 else 6
            )
            axes.set_xticks([], minor=True)
            axes.margins(0.12, 0.15)
            axes.set_title(curve.featurizer, fontsize=8.5)
            axes.set_xlabel("dose (µM)", fontsize=8)
        panels[0].set_ylabel("effect (s.d. of controls)", fontsize=8)
        panels[0].legend(frameon=False, fontsize=7.5, loc="best", handlelength=1.4)
        return svg_uri(figure)
