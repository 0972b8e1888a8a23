"""The figures of a card in the look of all reports: examples, plates, their maps, control wells and contrasts."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from virtassay.card.batches import ControlWells
from virtassay.card.measurements import PixelMeasurements
from virtassay.data.dataset.store import Dataset
from virtassay.report.aucs import auc_lines, auc_views
from virtassay.report.figures import BAND, FAINT, MODEL, REAL, data_uri, evenly, matplotlib, new_figure, style, svg_uri
from virtassay.report.pictures import Picture, composite, display_limits, grey_pixels, grid
from virtassay.report.plates import placed_wells, plate_format, plate_layout, row_letters

Array = NDArray[np.float64]
NAMED = 30  # plates whose names fit under an axis
LETTERS = 75  # that fit there side by side
MOST_PLATES = 400  # more are drawn evenly chosen
SPREAD = 0.5  # of the wells of a plate, so that they do not hide each other
DRAWN = 1500  # dots; more are drawn as pixels, to keep the page small
MAPPED = 12  # plates
COUNTED = ("images", "vectors")
MAP_WIDTH = 3.45  # of one map, in inches
EXAMPLES = 5  # control, and treated images
TILE = 92  # pixels on the page
SEED = 0


def by_plate(index: pl.DataFrame, measured: PixelMeasurements, channels: Sequence[str]) -> str | None:
    """Draw brightness and focus of every measured well, a row a channel; plates in the order of their batches."""
    if measured.intensity is None or measured.focus is None:
        return None
    columns = [pl.Series(f"i{c}", values) for c, values in enumerate(measured.intensity.T)]
    columns += [pl.Series(f"f{c}", values) for c, values in enumerate(measured.focus.T)]
    own = index[measured.rows].select("batch", "plate", "well", "is_control").with_columns(columns)
    wells = own.group_by("batch", "plate", "well", "is_control", maintain_order=True).agg(pl.all().mean())
    names = wells.select("batch", "plate").unique().sort("batch", "plate")
    names = names[evenly(names.height, MOST_PLATES)]
    wells = wells.join(names.with_row_index("_x"), on=["batch", "plate"])
    wells = wells.with_columns(_x=pl.col("_x") + SPREAD * (pl.int_range(pl.len()).shuffle(SEED) / pl.len() - 0.5))
    kinds = [("i", "mean intensity (% of the range)")]
    kinds += [("f", "focus (slope of the spectrum)")] if np.isfinite(measured.focus).any() else []
    with style():
        labelled, many = names.height <= NAMED, wells.height > DRAWN
        figure = new_figure(10.4, 0.7 + 1.25 * len(channels) + (0.8 if labelled else 0.2))
        panels: Any = figure.subplots(len(channels), len(kinds), sharex=True, squeeze=False)
        for c, channel in enumerate(channels):
            for k, (kind, title) in enumerate(kinds):
                panel = panels[c][k]
                _shade_batches(panel, names["batch"].to_list())
                for control, colour, size, order in ((False, "#b9bdc4", 5, 1), (True, MODEL, 7, 2)):
                    dots = wells.filter(pl.col("is_control") == control).select("_x", f"{kind}{c}")
                    panel.plot(*dots, ".", color=colour, ms=size, mew=0, zorder=order, rasterized=many)
                panel.set_title(f"{channel}: {title}" if c == 0 else channel, fontsize=9)
                panel.margins(y=0.12)
                panel.set_xlim(-0.6, names.height - 0.4)
                panel.tick_params(axis="x", length=0)
        for panel in panels[-1]:
            if labelled:
                turned = 90 if sum(map(len, names["plate"])) > LETTERS else 0
                panel.set_xticks(range(names.height), names["plate"].to_list(), fontsize=7.5, rotation=turned)
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


def examples(dataset: Dataset) -> list[tuple[str, Picture]]:
    """A strip of images for the composite and each channel: control images, then treated ones, drawn at random."""
    control = dataset.index["is_control"].to_numpy()
    rng = np.random.default_rng(SEED)
    sides = (rng.permutation(np.flatnonzero(side))[:EXAMPLES] for side in (control, ~control))
    images = dataset.images(np.concatenate(list(sides)))
    limits, channels = display_limits(images), dataset.info.channels
    zoom = max(1, round(TILE / images.shape[2]))
    strips = [("Composite", composite(images, channels, limits))]
    strips += [(name, grey_pixels(images, i, limits)) for i, name in enumerate(channels)]
    return [(name, grid(strip, 2 * EXAMPLES, zoom)) for name, strip in strips]


def plate_maps(index: pl.DataFrame, measured: PixelMeasurements) -> list[tuple[str, str]]:
    """Heat maps of the first MAPPED plates: images, brightness and focus of each well; controls have a ring.

    One scale for all plates. Brightness and focus are means over channels. Wells not named like B03 are left out.
    """
    placed = placed_wells(index)
    if placed.is_empty():
        return []
    plate_rows, plate_columns = plate_format(placed)
    values = {COUNTED[measured.intensity is None]: index.group_by("plate", "well").agg(value=pl.len().cast(pl.Float64))}
    seen = index[measured.rows].select("plate", "well")
    for name, of in (("mean intensity, %", measured.intensity), ("focus", measured.focus)):
        if of is not None and np.isfinite(of).any():
            of_wells = seen.with_columns(value=pl.Series(of.mean(1))).group_by("plate", "well")
            values[name] = of_wells.agg(pl.col("value").mean())
    chosen = placed.unique("plate", keep="first").sort("batch", "plate").head(MAPPED)
    wells = placed.select("plate", "well", "row", "column", "is_control").filter(
        pl.col("plate").is_in(chosen["plate"].implode())
    )
    tables = {name: wells.join(of, on=["plate", "well"], how="left") for name, of in values.items()}
    limits = {name: _range(table["value"]) for name, table in tables.items()}
    pictures: list[tuple[str, str]] = []
    for plate, batch in chosen.select("plate", "batch").iter_rows():
        own = {name: table.filter(pl.col("plate") == plate) for name, table in tables.items()}
        pictures.append((f"{plate} · {batch}", _maps(own, limits, plate_rows, plate_columns)))
    return pictures


def _range(values: pl.Series) -> tuple[float, float]:
    known = values.drop_nulls().to_numpy()
    low, high = np.percentile(known, [1, 99]) if len(known) else (0.0, 1.0)
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(high) + 0.5)


def _maps(tables: dict[str, pl.DataFrame], limits: dict[str, tuple[float, float]], lines: int, across: int) -> str:
    with style():
        figure = new_figure(MAP_WIDTH * len(tables), 0.5 + MAP_WIDTH * 0.82 * lines / across)
        panels: Any = figure.subplots(1, len(tables), squeeze=False)[0]
        for panel, (name, wells) in zip(panels, tables.items(), strict=True):
            field = np.full((lines, across), np.nan)
            y, x = wells["row"].to_numpy(), wells["column"].to_numpy() - 1
            field[y, x] = wells["value"].cast(pl.Float64).to_numpy()
            low, high = limits[name]
            shown = panel.imshow(field, vmin=low, vmax=high, cmap="viridis", interpolation="nearest")
            control = wells["is_control"].to_numpy()
            panel.plot(x[control], y[control], "o", mfc="none", mec="white", mew=1.6, ms=70 / across)
            panel.plot(x[control], y[control], "o", mfc="none", mec="black", mew=0.7, ms=70 / across)
            panel.set_facecolor(BAND)
            step = 1 if lines <= 8 else 2 if lines <= 16 else 4
            panel.set_yticks(range(0, lines, step), [row_letters(row) for row in range(0, lines, step)], fontsize=7)
            ticks = range(0, across, 1 if across <= 12 else 2 if across <= 24 else 4)
            panel.set_xticks(ticks, [str(tick + 1) for tick in ticks], fontsize=7)
            panel.tick_params(length=0)
            for spine in panel.spines.values():
                spine.set_visible(False)
            panel.set_title(name, fontsize=9)
            steps = MaxNLocator(5, integer=name in COUNTED, min_n_ticks=1)
            bar = figure.colorbar(shown, ax=panel, fraction=0.046, pad=0.03, ticks=steps)
            bar.ax.tick_params(labelsize=7, length=2)
            bar.outline.set_visible(False)
        return svg_uri(figure)


def treatment_map(index: pl.DataFrame) -> str:
    """Which well got what, as `plate_layout` draws it."""
    buffer = io.BytesIO()
    plate_layout(buffer, index)
    return data_uri("png", buffer.getvalue())
