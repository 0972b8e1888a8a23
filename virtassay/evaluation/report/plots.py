"""Effects in figures: explained in each featurizer, generated against true, over doses, and cell by cell."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.report import figures
from virtassay.report.numbers import name, number

Array = NDArray[np.float64]
BANDWIDTH = 0.3  # of every ridge, in the controls' s.d.: a narrower curve is then a narrower distribution
POINTS = 100  # of a curve
CURVES = (
    ("control", figures.BASELINE, 0.9, 0.30),
    ("real", figures.REAL, 1.3, 0.06),
    ("generated", figures.MODEL, 1.5, 0.10),
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
    drawn = [estimate for line in lines for estimate in (line.model, line.best, line.replicate)]
    ends = [x for estimate in drawn for x in (estimate.value, estimate.lower, estimate.upper) if math.isfinite(x)]
    low = max(min([0.0, *ends]), -1.5) - 0.12
    high = min(max([1.0, *ends]), 2.5) + 0.12
    with figures.style():
        figure = figures.new_figure(9.6, 0.9 + 0.72 * max(len(lines), 1))
        axes: Any = figure.subplots()
        figures.dashed(axes, 0, 1)
        for number, line in enumerate(lines):
            for other in line.others:
                if low < other.value < high:
                    axes.plot(other.value, number, "|", color="#b9bdc4", ms=8, mew=1.2, zorder=1)
            _draw(axes, line.replicate, number - 0.26, figures.REAL, "D", 5.0, (low, high))
            _draw(axes, line.best, number, figures.BASELINE, "s", 5.5, (low, high))
            _draw(axes, line.model, number + 0.26, figures.MODEL, "o", 7.5, (low, high))
        keys = (
            ("o", figures.MODEL, 7.5, "model"),
            ("s", figures.BASELINE, 5.5, "best trivial baseline"),
            ("|", "#b9bdc4", 8.0, "other trivial baselines"),
            ("D", figures.REAL, 5.0, "real replicate"),
        )
        figures.legend_above(figure, axes, keys)
        figures.named_lines(axes, [line.featurizer for line in lines], 9.5)
        axes.set(xlim=(low, high), xlabel="effect explained")
        return figures.svg_uri(figure)


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
            ends = [estimate.lower, estimate.upper]
            axes.plot(ends, [y, y], color=colour, lw=1.8, solid_capstyle="butt", clip_on=True)
        axes.plot(estimate.value, y, marker, color=colour, ms=size, mew=0.8, mec="white", zorder=3)


def effect_scatter(effects: pl.DataFrame, labelled: int = 3) -> str | None:
    """Draw generated effect against true effect, one point a stratum, one panel a featurizer; name the outliers.

    effects: a row for each stratum and featurizer; None if there is none.
    """
    featurizers = effects["featurizer"].unique(maintain_order=True).to_list()
    if not featurizers:
        return None
    one_batch = effects["batch"].n_unique() == 1
    effects = effects.with_columns(
        pl.col("true_effect", "generated_effect").cast(pl.Float64),
        _name=pl.col("treatment") if one_batch else pl.format("{}, {}", "treatment", "batch"),
    )
    columns = min(len(featurizers), 3) if len(featurizers) != 4 else 2
    rows = -(-len(featurizers) // columns)
    size = {1: 4.6, 2: 3.9}.get(columns, 3.4)
    with figures.style():
        figure = figures.new_figure(size * columns, 0.95 * size * rows)
        panels: list[Any] = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, featurizer in zip(panels, featurizers, strict=False):
            axes.set_title(name(featurizer))
            _scatter(axes, effects.filter(pl.col("featurizer") == featurizer), labelled)
        for axes in panels[len(featurizers) :]:
            axes.set_visible(False)
        figure.supxlabel("true effect (s.d. of the controls)", fontsize=9.5)
        figure.supylabel("generated effect (s.d. of the controls)", fontsize=9.5)
        return figures.svg_uri(figure)


def _scatter(axes: Any, effects: pl.DataFrame, labelled: int) -> None:
    known = effects.filter(pl.col("true_effect").is_finite() & pl.col("generated_effect").is_finite())
    if known.is_empty():
        axes.text(0.5, 0.5, "n/a", ha="center", va="center", transform=axes.transAxes)
        return
    names: list[str] = known["_name"].to_list()
    true, generated = known["true_effect"].to_numpy(), known["generated_effect"].to_numpy()
    both = np.concatenate([true, generated, [0.0]])
    span = max(float(np.ptp(both)), 1e-6)
    low, high = float(both.min()) - 0.06 * span, float(both.max()) + 0.1 * span
    axes.axhline(0, color=figures.FAINT, lw=0.8, zorder=0)
    axes.axvline(0, color=figures.FAINT, lw=0.8, zorder=0)
    axes.plot([low, high], [low, high], color=figures.SOFT, lw=0.9, ls=(0, (4, 3)), zorder=1)
    error = np.abs(generated - true)
    worst = [int(i) for i in np.argsort(-error)[:labelled] if error[i] > 0.1 * span]
    alpha = 0.75 if len(names) < 100 else 0.45
    axes.scatter(true, generated, s=20, color=figures.MODEL, alpha=alpha, lw=0, zorder=2, rasterized=len(names) > 3000)
    axes.scatter(true[worst], generated[worst], s=22, color=figures.OUTLIER, lw=0, zorder=3)
    y = -np.inf
    for i in sorted(worst, key=lambda i: generated[i]):
        y = max(float(generated[i]), y + 0.06 * span)  # labels do not lie on one another
        left = true[i] > low + 0.5 * (high - low)  # write towards the middle of the panel
        x = float(true[i]) + (-0.025 if left else 0.025) * span
        text = names[i] if len(names[i]) <= 30 else f"{names[i][:16]}…{names[i][-13:]}"  # keeps the dose
        box = {"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.5}
        side = "right" if left else "left"
        axes.text(x, y, text, ha=side, va="center", fontsize=7.5, color=figures.OUTLIER, bbox=box, zorder=4)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")


def dose_response(effects: pl.DataFrame) -> str:
    """Draw true and generated effect over the doses of one compound (µM, ascending), one small panel a featurizer."""
    featurizers = effects["featurizer"].unique(maintain_order=True).to_list()
    with figures.style():
        figure = figures.new_figure(max(2.5, 3.2 - 0.2 * len(featurizers)) * len(featurizers) + 0.6, 1.9)
        panels: list[Any] = list(figure.subplots(1, len(featurizers), squeeze=False).flat)
        for axes, featurizer in zip(panels, featurizers, strict=True):
            own = effects.filter(pl.col("featurizer") == featurizer)
            columns = own.select(pl.col("dose_um", "true_effect", "generated_effect").cast(pl.Float64))
            dose, true, generated = (column.to_numpy() for column in columns)
            axes.axhline(0, color=figures.FAINT, lw=0.8, zorder=0)
            axes.plot(dose, true, "D-", color=figures.REAL, ms=4, lw=1.2, label="real")
            axes.plot(dose, generated, "o-", color=figures.MODEL, ms=5, lw=1.2, label="generated")
            if np.all(dose > 0):
                axes.set_xscale("log")
            axes.set_xticks(dose, [f"{x:g}" for x in dose], fontsize=8 if len(dose) < 7 else 6)
            axes.set_xticks([], minor=True)
            axes.margins(0.12, 0.15)
            axes.set_title(name(featurizer), fontsize=8.5)
            axes.set_xlabel("dose (µM)", fontsize=8)
        panels[0].set_ylabel("effect (s.d. of controls)", fontsize=8)
        panels[0].legend(frameon=False, fontsize=7.5, loc="best", handlelength=1.4)
        return figures.svg_uri(figure)


def ridges(cells: pl.DataFrame, findings: pl.DataFrame, treatments: Sequence[str]) -> str:
    """Draw distributions of single cells: a row for each treatment, a panel for each featurizer; 0 is the controls.

    cells: the place of each cell along the effect of its treatment, by side. findings: for a remark in each panel.
    """
    featurizers = cells["featurizer"].unique(maintain_order=True).to_list()
    with figures.style():
        figure = figures.new_figure(10.4, 0.8 + 0.86 * len(treatments))
        panels: Any = figure.subplots(len(treatments), len(featurizers), squeeze=False)
        for row, treatment in zip(panels, treatments, strict=True):
            for axes, featurizer in zip(row, featurizers, strict=True):
                own = (pl.col("featurizer") == featurizer) & (pl.col("treatment") == treatment)
                _ridge(axes, cells.filter(own), _remark(findings.filter(own)))
            label = "\n".join(textwrap.wrap(treatment, 22, max_lines=3, placeholder=" …"))
            row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8.5)
        for axes, featurizer in zip(panels[0], featurizers, strict=True):
            axes.set_title(name(featurizer), fontsize=9)
        figure.supxlabel("place along the real effect (s.d. of the controls; 0: where controls are)", fontsize=8.5)
        for side, colour, width, alpha in CURVES:
            panels[0, 0].fill([], [], facecolor=(colour, alpha), edgecolor=colour, lw=width, label=side)
        figure.legend(loc="outside upper left", ncols=3, frameon=False, handlelength=1.2, columnspacing=1.6)
        return figures.svg_uri(figure)


def _remark(findings: pl.DataFrame) -> str:
    """The spread ratio and the shares of rare cells, in a line."""
    columns = pl.col("variance_ratio", "real_rare", "generated_rare").fill_nan(None)
    ratio, real, generated = findings.select(columns).row(-1) if findings.height else (None, None, None)
    spread = f"spread ×{number(ratio)}"
    if real is None or generated is None:
        return spread
    return f"{spread}\nrare {100 * real:.0f} → {100 * generated:.0f} %"


def _ridge(axes: Any, cells: pl.DataFrame, remark: str) -> None:
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="x", labelsize=7.5, length=2)
    if cells.is_empty():
        axes.text(0.5, 0.5, "n/a", ha="center", va="center", transform=axes.transAxes, color=figures.SOFT, fontsize=8)
        axes.set_xticks([])
        return
    places: Array = cells["place"].to_numpy()
    low, high = map(float, np.percentile(places, [0.5, 99.5]))
    grid: Array = np.linspace(low - 1, high + 1, POINTS)
    density = {side: _density(cells.filter(pl.col("side") == side)["place"].to_numpy(), grid) for side, *_ in CURVES}
    axes.axvline(0, color=figures.FAINT, lw=0.8, zorder=0)
    for side, colour, width, alpha in CURVES:
        axes.fill_between(grid, density[side], facecolor=(colour, alpha), lw=0)
        axes.plot(grid, density[side], color=colour, lw=width)
    usual = max(density["real"].max(), density["control"].max())
    axes.set(xlim=(grid[0], grid[-1]), ylim=(0, min(max(density["generated"].max(), usual), 2 * usual) * 1.8))
    axes.text(1.0, 1.0, remark, ha="right", va="top", transform=axes.transAxes, fontsize=7, color=figures.SOFT)


def _density(places: Array, grid: Array) -> Array:
    """A Gaussian of the bandwidth on every cell."""
    return np.exp(-0.5 * np.square((grid[:, None] - places) / BANDWIDTH)).mean(1) / (BANDWIDTH * np.sqrt(2 * np.pi))
