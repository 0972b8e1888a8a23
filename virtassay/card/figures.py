"""The figures of a card, as data URIs in the look of all reports."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.card.batches import ControlWells
from virtassay.card.measurements import PixelMeasurements
from virtassay.report.aucs import auc_lines, auc_views
from virtassay.report.figures import BAND, FAINT, MODEL, REAL, evenly, matplotlib, new_figure, style, svg_uri

Array = NDArray[np.float64]
NAMED = 30  # plates whose names fit under an axis
LETTERS = 75  # that fit there side by side
MOST_PLATES = 400  # more are drawn evenly chosen
SPREAD = 0.5  # of the wells of a plate, so that they do not hide each other
DRAWN = 1500  # dots; more are drawn as pixels, to keep the page small
SEED = 0


def by_plate(index: pl.DataFrame, measured: PixelMeasurements, channels: Sequence[str]) -> str | None:
    """Draw brightness and focus of every measured well, a row a channel; plates in the order of their batches."""
    if measured.intensity is None or measured.focus is None:
        return None
    columns = {f"i{c}": measured.intensity[:, c] for c in range(len(channels))}
    columns |= {f"f{c}": measured.focus[:, c] for c in range(len(channels))}
    own = (
        index[measured.rows]
        .select("batch", "plate", "well", "is_control")
        .with_columns(pl.Series(name, values) for name, values in columns.items())
    )
    wells = own.group_by("batch", "plate", "well", "is_control", maintain_order=True).agg(pl.all().mean())
    names = wells.select("batch", "plate").unique().sort("batch", "plate")
    names = names[evenly(names.height, MOST_PLATES)]
    wells = wells.join(names.with_row_index("_x"), on=["batch", "plate"])
    wells = wells.with_columns(_x=pl.col("_x") + SPREAD * (pl.int_range(pl.len()).shuffle(SEED) / pl.len() - 0.5))
    kinds = [("i", "mean intensity (% of the range)")]
    kinds += [("f", "focus (slope of the spectrum)")] if np.isfinite(measured.focus).any() else []
    with style():
        labelled = names.height <= NAMED
        figure = new_figure(10.4, 0.7 + 1.25 * len(channels) + (0.8 if labelled else 0.2))
        panels: Any = figure.subplots(len(channels), len(kinds), sharex=True, squeeze=False)
        for c, channel in enumerate(channels):
            for k, (kind, title) in enumerate(kinds):
                panel = panels[c][k]
                _shade_batches(panel, names["batch"].to_list())
                for control, colour, size, order in ((False, "#b9bdc4", 5, 1), (True, MODEL, 7, 2)):
                    part = wells.filter(pl.col("is_control") == control)
                    panel.plot(
                        part["_x"], part[f"{kind}{c}"], ".", color=colour, ms=size, mew=0, zorder=order,
                        rasterized=wells.height > DRAWN,
                    )  # fmt: skip
                panel.set_title(f"{channel}: {title}" if c == 0 else channel, fontsize=9)
                panel.margins(y=0.12)
                panel.set_xlim(-0.6, names.height - 0.4)
                panel.tick_params(axis="x", length=0)
        for panel in panels[-1]:
            if labelled:
                upright = sum(map(len, names["plate"])) > LETTERS
                panel.set_xticks(
                    range(names.height), names["plate"].to_list(), fontsize=7.5, rotation=90 if upright else 0
                )
            else:
                panel.set_xticks([])
                panel.set_xlabel(f"{names.height} plates, batch by batch")
        panels[0][0].plot([], [], ".", color=MODEL, ms=7, label="control well")
        panels[0][0].plot([], [], ".", color="#b9bdc4", ms=7, label="treated well")
        figure.legend(loc="outside upper right", ncols=2, frameon=False, handletextpad=0.1)
        return svg_uri(figure)


def _shade_batches(panel: Any, batches: Sequence[str]) -> None:
    """Shade every second batch."""
    starts = [0, *(i for i in range(1, len(batches)) if batches[i] != batches[i - 1]), len(batches)]
    for number in range(1, len(starts) - 1, 2):
        panel.axvspan(starts[number] - 0.5, starts[number + 1] - 0.5, color=BAND, zorder=-2, lw=0)


def control_scatter(wells: ControlWells) -> str | None:
    """Draw control wells on the first two principal components of their features, as stored and less controls.

    Colours are batches; of a single batch, plates. None for fewer than four wells or a single plate.
    """
    label = "batch" if wells.index["batch"].n_unique() > 1 else "plate"
    if min(wells.stored.shape) < 2 or len(wells.stored) < 4 or wells.index["plate"].n_unique() < 2:
        return None
    levels = wells.index[label].unique().sort().to_list()
    palette = matplotlib.colormaps["tab10" if len(levels) <= 10 else "turbo"]
    colours = palette(range(len(levels)) if len(levels) <= 10 else np.linspace(0, 1, len(levels)))
    number = np.searchsorted(np.array(levels, object), wells.index[label].to_numpy())
    centred = {f"less the {on}'s controls": wells.centred(on) for on in ("batch", "plate")}
    enough = {title: x for title, x in centred.items() if 2 * np.isfinite(x).all(1).sum() > len(x)}
    views = {"as stored": wells.stored, **enough}
    axes = np.linalg.svd(wells.stored - wells.stored.mean(0), full_matrices=False)[2][:2]
    with style():
        figure = new_figure(10.4, 3.3)
        panels: Any = figure.subplots(1, 3, sharex=True, sharey=True)
        for panel in panels[len(views) :]:
            panel.set_axis_off()
        for panel, (title, x) in zip(panels, views.items(), strict=False):
            known = np.isfinite(x).all(1)
            place = (x[known] - x[known].mean(0)) @ axes.T
            panel.scatter(place[:, 0], place[:, 1], c=colours[number[known]], s=22, lw=0.4, edgecolors="white")
            panel.axhline(0, color=FAINT, lw=0.6, zorder=0)
            panel.axvline(0, color=FAINT, lw=0.6, zorder=0)
            panel.set_title(title, fontsize=9)
            panel.set_xlabel("first component")
        panels[0].set_ylabel("second component")
        if len(levels) <= 10:
            for name, colour in zip(levels, colours, strict=False):
                panels[0].scatter([], [], color=[colour], s=22, label=name)
            figure.legend(loc="outside lower center", ncols=min(6, len(levels)), frameon=False, handletextpad=0.1)
        return svg_uri(figure)


def contrast_figure(aucs: pl.DataFrame) -> str | None:
    """Draw the AUCs of treated against control images: a line for each view, a dot for each treatment, and medians."""
    if aucs.is_empty():
        return None
    views = auc_views(aucs)
    with style():
        figure = new_figure(7.4, 0.7 + 0.34 * len(views))
        panel: Any = figure.subplots()
        auc_lines(panel, aucs, views, [("real", REAL, "D", 6.0, 0.0)])
        panel.set_xlabel("AUC of treated against control images")
        return svg_uri(figure)
