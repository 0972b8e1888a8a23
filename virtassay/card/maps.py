"""The pictures of a card: examples of the images, and heat maps of the plates."""

import io
from typing import Any

import numpy as np
import polars as pl
from matplotlib.ticker import MaxNLocator

from virtassay.card.measurements import PixelMeasurements
from virtassay.data.dataset.store import Dataset
from virtassay.report.figures import BAND, data_uri, new_figure, style, svg_uri
from virtassay.report.pictures import Picture, composite, display_limits, grey_pixels, grid
from virtassay.report.plates import placed_wells, plate_format, plate_layout, row_letters

MAPPED = 12  # plates
COUNTED = ("images", "vectors")
WIDTH = 3.45  # of one map, in inches
EXAMPLES = 5  # control, and treated images
TILE = 92  # pixels on the page
SEED = 0


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
        figure = new_figure(WIDTH * len(tables), 0.5 + WIDTH * 0.82 * lines / across)
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
