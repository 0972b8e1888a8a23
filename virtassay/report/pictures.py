"""Arrays → pictures: colour composites, contact sheets and plate layouts, the same everywhere they are shown.

Vectors (images of one pixel's width) stand in contact sheets as heat maps.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib import font_manager
from matplotlib.lines import Line2D
from PIL import Image, ImageDraw, ImageFont

from virtassay.data.dataset.store import Dataset
from virtassay.report.heatmaps import Shift, are_vectors, group_heads, heat_map

# The colours that microscopists expect, by a word in the channel's name; others take the palette in turn
_STAINS = {
    ("dapi", "dna", "hoechst", "nucle"): (0.25, 0.45, 1.0),
    ("tubulin", "microtub", "gfp", "channel1"): (0.15, 1.0, 0.25),
    ("actin", "agp", "phalloidin", "membrane"): (1.0, 0.25, 0.2),
    ("mito",): (1.0, 0.55, 0.1),
    ("er", "endoplasm", "concanavalin"): (0.1, 0.85, 0.55),
    ("golgi",): (1.0, 0.85, 0.2),
    ("rna", "syto"): (0.85, 0.3, 0.95),
}
_PALETTE = ((0.2, 1.0, 0.3), (1.0, 0.25, 0.25), (1.0, 0.8, 0.2), (0.9, 0.3, 0.9), (0.2, 0.9, 0.9), (1.0, 0.55, 0.2))
_PLATES = ((8, 12), (16, 24), (32, 48))  # rows × columns of 96, 384 and 1,536 wells
_HEAT = (900, 6)  # of vectors in a contact sheet: width of all features, height of one vector
_GAP, _BACKGROUND, _INK, _FAINT = 2, (255, 255, 255), (25, 25, 25), (110, 110, 110)


def stain_colours(channels: Sequence[str]) -> np.ndarray:
    """Give each channel a colour (c, 3) by its name, or by its place where the name says nothing."""
    colours, spare = [], iter(_PALETTE * 4)
    for name in channels:
        words = name.lower()
        known = [c for keys, c in _STAINS.items() if any(words == k or (len(k) > 2 and k in words) for k in keys)]
        colours.append(known[0] if known else next(spare))
    return np.array(colours)


def display_limits(images: np.ndarray, low: float = 1.0, high: float = 99.7) -> np.ndarray:
    """Return the contrast limits (c, 2) of images (n, c, h, w): two percentiles of each channel."""
    limits = np.percentile(images, [low, high], axis=(0, 2, 3)).T.astype(np.float64)
    least = 1.0 if images.dtype.kind in "ui" else 1e-9  # a constant channel must not be divided by 0
    limits[:, 1] = np.maximum(limits[:, 1], limits[:, 0] + least)
    return limits


def greys(images: np.ndarray, limits: np.ndarray | None = None) -> np.ndarray:
    """Stretch images (n, c, h, w) between their contrast limits to floats in [0, 1]."""
    limits = display_limits(images) if limits is None else limits
    low, high = (limits[:, i][None, :, None, None] for i in (0, 1))
    return np.clip((images - low) / (high - low), 0, 1)


def composite(images: np.ndarray, channels: Sequence[str], limits: np.ndarray | None = None) -> np.ndarray:
    """Mix the channels of images (n, c, h, w) in their stains' colours: (n, h, w, 3) uint8."""
    mixed = np.einsum("nchw,cd->nhwd", greys(images, limits), stain_colours(channels))
    return (mixed.clip(0, 1) * 255).round().astype(np.uint8)


def contact_sheet_array(
    rows: Sequence[tuple[str, np.ndarray]],
    channels: Sequence[str],
    limits: np.ndarray | None = None,
    title: str = "",
    per_channel: bool = False,
    zoom: int = 2,
) -> np.ndarray:
    """Draw rows of images (n, c, h, w) with their labels at the left: an RGB array (height, width, 3) uint8.

    All rows share one contrast. `per_channel` adds each channel of the first images in grey, to the right. Vectors are
    drawn as heat maps, a line each, whatever `per_channel` and `zoom`.
    """
    if limits is None:
        limits = display_limits(np.concatenate([images for _, images in rows if len(images)]))
    vectors = bool(rows) and are_vectors(rows[0][1].shape)
    strips = [
        heat_map(images, limits, *_HEAT) if vectors else _strip(images, channels, limits, per_channel, zoom)
        for _, images in rows
    ]
    font, bold = _font(13), _font(15, bold=True)
    label_width = max((int(font.getlength(line)) for label, _ in rows for line in label.split("\n")), default=0) + 16
    top = 30 if title else 4
    heads = group_heads(channels, _HEAT[0]) if vectors else _heads(rows, channels, per_channel, zoom)
    top += 20 if heads else 0
    width = label_width + max((strip.shape[1] for strip in strips), default=0) + 8
    tall = [max(len(strip), 16 * len(label.split("\n"))) for strip, (label, _) in zip(strips, rows, strict=True)]
    height = top + sum(one + 3 * _GAP for one in tall) + 4
    canvas = Image.new("RGB", (width, height), _BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    if title:
        pen.text((8, 6), title, fill=_INK, font=bold)
    for left, head in heads:
        pen.text((label_width + left, top - 18), head, fill=_FAINT, font=font)
    y = top
    for (label, _), strip, room in zip(rows, strips, tall, strict=True):
        if len(strip):
            canvas.paste(Image.fromarray(strip), (label_width, y + (room - len(strip)) // 2))
        lines = label.split("\n")
        for number, line in enumerate(lines):
            offset = (room - 16 * len(lines)) // 2 + 16 * number
            pen.text((8, y + offset), line, fill=_INK if number == 0 else _FAINT, font=font)
        y += room + 3 * _GAP
    return np.asarray(canvas)


def contact_sheet(
    path: Path,
    rows: Sequence[tuple[str, np.ndarray]],
    channels: Sequence[str],
    limits: np.ndarray | None = None,
    title: str = "",
    per_channel: bool = False,
    zoom: int = 2,
) -> None:
    """Save `contact_sheet_array` as a PNG."""
    Image.fromarray(contact_sheet_array(rows, channels, limits, title, per_channel, zoom)).save(path)


def paired_sheet(path: Path, generated: Dataset, controls: Dataset, title: str = "", columns: int = 12) -> None:
    """Save a contact sheet of each treatment's images under the control cells (`control_id`) that they began at."""
    place = {name: row for row, name in enumerate(controls.index["image_id"])}
    rows: list[tuple[str, np.ndarray]] = []
    for treatment in ordered_treatments(generated.index)["treatment"]:
        chosen = np.flatnonzero((generated.index["treatment"] == treatment).to_numpy())[:columns]
        began = np.array([place[name] for name in generated.index["control_id"].gather(chosen)])
        rows += [("control cell", controls.images(began)), (f"as {treatment}", generated.images(chosen))]
    contact_sheet(path, rows, generated.info.channels, title=title, zoom=3)


def ordered_treatments(index: pl.DataFrame) -> pl.DataFrame:
    """Return the treatments of an index, one row each: controls first, then by name and rising dose."""
    dose = pl.col("dose_um").list.sum() if "dose_um" in index.columns else pl.lit(0.0)
    name = pl.col("perturbation").list.sort().list.join(" + ")
    table = index.group_by("treatment").agg(pl.col("is_control").all(), name=name.first(), dose=dose.first())
    table = table.with_columns(parts=pl.col("name").str.count_matches(" + ", literal=True))
    return table.sort(~pl.col("is_control"), "parts", "name", "dose", "treatment")


def treatment_sheet(path: Path, dataset: Dataset, title: str = "", columns: int = 12, most: int = 40) -> None:
    """Save a contact sheet of a dataset: the controls, then each treatment (the first `most`), `columns` images each.

    Images are drawn at random over wells and batches, so that the sheet shows the spread and not one well. Vectors are
    shown as their distance from the controls of their batch, in the controls' s.d.
    """
    shuffled = dataset.index.with_row_index("_row").sample(fraction=1, shuffle=True, seed=0)
    groups = ordered_treatments(dataset.index).join(
        shuffled.group_by("treatment").agg(pl.len(), pl.col("_row").head(columns)), on="treatment", how="left"
    )
    shift = Shift.of(dataset) if are_vectors(dataset.info.image_shape) else None
    noun = "images" if shift is None else "vectors"

    def shown(chosen: list[int]) -> np.ndarray:
        images = dataset.images(np.array(chosen))
        return images if shift is None else shift(images, dataset.index["batch"].gather(chosen))

    rows = [
        (f"{name}\n{n:,} {noun}", shown(chosen))
        for name, n, chosen in groups.head(most).select("treatment", "len", "_row").iter_rows()
    ]
    left_out = groups.height - len(rows)
    title = f"{title or dataset.info.name}{f' · {left_out} further treatments not shown' if left_out > 0 else ''}"
    every = np.concatenate([images for _, images in rows])
    limits = display_limits(every) if shift is None else shift.limits(every)
    if shift is not None:
        title += f" · less the controls of the batch, −{limits[0, 1]:.0f} (blue) to {limits[0, 1]:.0f} s.d. (red)"
    zoom = max(1, round(72 / dataset.info.image_shape[1]))
    contact_sheet(path, rows, dataset.info.channels, limits, title, zoom=zoom, per_channel=True)


def placed_wells(index: pl.DataFrame) -> pl.DataFrame:
    """Return one row a well with its place on the plate, `row` from 0 (A) and `column` from 1.

    Wells are read as letter and number (B03, AA12); those named otherwise are left out.
    """
    letters = pl.col("well").str.extract(r"^([A-Za-z]|A[A-Fa-f])\d+$").str.to_uppercase()
    names = [row_letters(row) for row in range(_PLATES[-1][0])]
    wells = index.unique(["plate", "well"], maintain_order=True).with_columns(
        row=letters.replace_strict(names, range(len(names)), default=None, return_dtype=pl.Int32),
        column=pl.col("well").str.extract(r"^[A-Za-z]{1,2}(\d+)$").cast(pl.Int32, strict=False),
    )
    return wells.drop_nulls(["row", "column"]).sort("plate", "well")


def plate_format(wells: pl.DataFrame) -> tuple[int, int]:
    """Return the rows and columns of the smallest plate (96, 384, 1,536 wells) that has all placed wells."""
    y, x = (int(wells[name].max()) for name in ("row", "column"))  # pyright: ignore[reportArgumentType]
    return next((size for size in _PLATES if y < size[0] and x <= size[1]), (y + 1, x))


@matplotlib.rc_context({"text.parse_math": False})  # a compound's name may hold a dollar sign
def plate_layout(path: Path | IO[bytes], index: pl.DataFrame, most: int = 12) -> None:
    """Save a picture of which well got what: a panel a plate (the first `most`), controls marked with a ring.

    Plates whose wells are not named like B03 are left out.
    """
    wells = placed_wells(index)
    plates = wells["plate"].unique(maintain_order=True).to_list()[:most]
    treatments = ordered_treatments(wells)["treatment"].to_list()
    colour = dict(zip(treatments, plt.get_cmap("turbo")(np.linspace(0.05, 0.95, len(treatments))), strict=True))
    columns = max(1, min(3, len(plates)))
    height = max(1, -(-len(plates) // columns))
    legend = min(len(treatments), 40)
    figure, axes = plt.subplots(
        height, columns, figsize=(5 * columns + 3, max(3.6 * height, 0.17 * legend)), squeeze=False
    )
    for axis in axes.flat[len(plates) :]:
        axis.set_axis_off()
    for axis, plate in zip(axes.flat, plates, strict=False):
        part = wells.filter(pl.col("plate") == plate)
        y, x = part["row"].to_numpy(), part["column"].to_numpy()
        control = part["is_control"].to_numpy()
        lines, across = plate_format(part)
        area = 150 * (8 / lines) ** 2 + 5
        axis.scatter(x, y, c=[colour[name] for name in part["treatment"]], s=area)
        axis.scatter(x[control], y[control], facecolors="none", edgecolors="black", linewidths=1.4, s=area)
        axis.set_xlim(0.3, across + 0.7)
        axis.set_ylim(lines - 0.3, -0.7)
        axis.set_yticks(range(lines), [row_letters(row) for row in range(lines)], fontsize=7)
        axis.set_xticks(range(1, across + 1, across // 12 if across >= 12 else 1))
        axis.tick_params(labelsize=7, length=0)
        axis.set_title(f"{plate} · batch {part['batch'][0]}", fontsize=9)
        axis.set_facecolor("#f4f4f4")
    if not plates:
        axes[0, 0].text(0.5, 0.5, "no well is named like B03", ha="center")
    handles = [Line2D([], [], marker="o", ls="", color=colour[name], label=name) for name in treatments[:legend]]
    handles.append(Line2D([], [], marker="o", ls="", markerfacecolor="none", color="black", label="control well"))
    figure.tight_layout(rect=(0, 0, 1 - 3 / (5 * columns + 3), 1))
    figure.legend(handles=handles, loc="center right", fontsize=7, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def row_letters(row: int) -> str:
    """Name a row of a plate, counted from 0: A … Z, AA, AB …"""
    return chr(65 + row) if row < 26 else "A" + chr(65 + row - 26)


def _strip(images: np.ndarray, channels: Sequence[str], limits: np.ndarray, per_channel: bool, zoom: int) -> np.ndarray:
    tiles = list(composite(images, channels, limits))
    if per_channel and len(images):
        grey = (greys(images[:2], limits) * 255).round().astype(np.uint8)
        for channel in range(images.shape[1]):
            tiles += [np.repeat(one[channel][..., None], 3, axis=-1) for one in grey]
    size = (images.shape[2] * zoom, images.shape[3] * zoom)
    strip = np.full((size[0], max(1, len(tiles)) * (size[1] + _GAP), 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        left = number * (size[1] + _GAP)
        strip[:, left : left + size[1]] = np.asarray(Image.fromarray(tile).resize(size[::-1], Image.Resampling.BICUBIC))
    return strip


def _heads(
    rows: Sequence[tuple[str, np.ndarray]], channels: Sequence[str], per_channel: bool, zoom: int
) -> list[tuple[int, str]]:
    """Say where the grey columns of each channel begin; rows of unequal length have none."""
    lengths = {len(images) for _, images in rows}
    if not per_channel or len(lengths) != 1 or not rows:
        return []
    n = lengths.pop()
    step = rows[0][1].shape[3] * zoom + _GAP
    return [(0, "composite"), *((step * (n + min(2, n) * c), name) for c, name in enumerate(channels))]


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(
        font_manager.findfont(font_manager.FontProperties(weight="bold" if bold else "normal")), size
    )
