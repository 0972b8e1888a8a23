"""Arrays → pictures: colour composites, grids and contact sheets, the same everywhere they are shown.

Vectors (images of one pixel's width) stand in contact sheets as heat maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from virtassay.report.figures import png_uri
from virtassay.report.heatmaps import IndexedImages, Shift, are_vectors, group_heads, heat_map
from virtassay.report.plates import ordered_treatments

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
_HEAT = (900, 6)  # of vectors in a contact sheet: width of all features, height of one vector
LARGEST = 96  # pixels: in a grid larger images are shrunk, so that the page stays small
GAP, _BACKGROUND, _INK, _FAINT = 2, (255, 255, 255), (25, 25, 25), (110, 110, 110)


@dataclass(frozen=True)
class Picture:
    """A PNG as data URI and the size in which the page shows it; `n` images are in it (0: there are none)."""

    uri: str
    width: int
    height: int
    n: int


def stain_colours(channels: Sequence[str]) -> np.ndarray:
    """Give each channel a colour (c, 3) by its name, or by its place where the name says nothing."""
    colours, spare = [], iter(_PALETTE * 4)
    for name in channels:
        lower = name.lower()
        known = [c for keys, c in _STAINS.items() if any(lower == k or (len(k) > 2 and k in lower) for k in keys)]
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


def grey_pixels(images: np.ndarray, channel: int, limits: np.ndarray) -> np.ndarray:
    """Stretch one channel of images (n, c, h, w) to (n, h, w) uint8."""
    return (255 * greys(images[:, [channel]], limits[[channel]])[:, 0]).round().astype(np.uint8)


def composite(images: np.ndarray, channels: Sequence[str], limits: np.ndarray | None = None) -> np.ndarray:
    """Mix the channels of images (n, c, h, w) in their stains' colours: (n, h, w, 3) uint8."""
    mixed = np.einsum("nchw,cd->nhwd", greys(images, limits), stain_colours(channels))
    return (mixed.clip(0, 1) * 255).round().astype(np.uint8)


def grid(images: np.ndarray, columns: int, zoom: int) -> Picture:
    """Lay out (n, H, W) or (n, H, W, 3) images in rows of `columns` with white gaps, shrunk to LARGEST pixels."""
    shrink = LARGEST / max(images.shape[1:3])
    if shrink < 1:
        size = max(1, round(images.shape[2] * shrink)), max(1, round(images.shape[1] * shrink))
        images = np.stack([np.asarray(Image.fromarray(x).resize(size, Image.Resampling.BOX)) for x in images])
    columns = min(columns, len(images))
    height, width = images.shape[1] + GAP, images.shape[2] + GAP
    lines = -(-len(images) // columns)
    canvas = np.full((lines * height - GAP, columns * width - GAP, *images.shape[3:]), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * height, i % columns * width
        canvas[top : top + height - GAP, left : left + width - GAP] = image
    return Picture(png_uri(canvas), canvas.shape[1] * zoom, canvas.shape[0] * zoom, len(images))


def contact_sheet(
    path: Path,
    rows: Sequence[tuple[str, np.ndarray]],
    channels: Sequence[str],
    limits: np.ndarray | None = None,
    title: str = "",
    per_channel: bool = False,
    zoom: int = 2,
) -> None:
    """Save a PNG of rows of images (n, c, h, w) with their labels at the left.

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
    heights = [max(len(strip), 16 * len(label.split("\n"))) for strip, (label, _) in zip(strips, rows, strict=True)]
    height = top + sum(row_height + 3 * GAP for row_height in heights) + 4
    canvas = Image.new("RGB", (width, height), _BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    if title:
        pen.text((8, 6), title, fill=_INK, font=bold)
    for left, head in heads:
        pen.text((label_width + left, top - 18), head, fill=_FAINT, font=font)
    y = top
    for (label, _), strip, row_height in zip(rows, strips, heights, strict=True):
        if len(strip):
            canvas.paste(Image.fromarray(strip), (label_width, y + (row_height - len(strip)) // 2))
        lines = label.split("\n")
        for number, line in enumerate(lines):
            offset = (row_height - 16 * len(lines)) // 2 + 16 * number
            pen.text((8, y + offset), line, fill=_INK if number == 0 else _FAINT, font=font)
        y += row_height + 3 * GAP
    canvas.save(path)


def paired_sheet(
    path: Path, generated: IndexedImages, controls: IndexedImages, title: str = "", columns: int = 12
) -> None:
    """Save a contact sheet of each treatment's images under the control cells (`control_id`) that they began at."""
    place = {name: row for row, name in enumerate(controls.index["image_id"])}
    rows: list[tuple[str, np.ndarray]] = []
    for treatment in ordered_treatments(generated.index)["treatment"]:
        chosen = np.flatnonzero((generated.index["treatment"] == treatment).to_numpy())[:columns]
        began = np.array([place[name] for name in generated.index["control_id"].gather(chosen)])
        rows += [("control cell", controls.images(began)), (f"as {treatment}", generated.images(chosen))]
    contact_sheet(path, rows, generated.info.channels, title=title, zoom=3)


def treatment_sheet(path: Path, dataset: IndexedImages, title: str = "", columns: int = 12, most: int = 40) -> None:
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


def _strip(images: np.ndarray, channels: Sequence[str], limits: np.ndarray, per_channel: bool, zoom: int) -> np.ndarray:
    tiles = list(composite(images, channels, limits))
    for channel in range(images.shape[1]) if per_channel and len(images) else ():
        tiles += [np.repeat(grey[..., None], 3, axis=-1) for grey in grey_pixels(images[:2], channel, limits)]
    size = (images.shape[2] * zoom, images.shape[3] * zoom)
    strip = np.full((size[0], max(1, len(tiles)) * (size[1] + GAP), 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        left = number * (size[1] + GAP)
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
    step = rows[0][1].shape[3] * zoom + GAP
    return [(0, "composite"), *((step * (n + min(2, n) * c), name) for c, name in enumerate(channels))]


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(
        font_manager.findfont(font_manager.FontProperties(weight="bold" if bold else "normal")), size
    )
