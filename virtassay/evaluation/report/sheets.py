"""Pictures of the report: contact sheets and dose ladders of real, generated and control images.

All of them share one set of contrast limits, taken from real images only. Which images are shown is drawn at random
with a fixed seed: nobody picked them by eye. Vectors are shown as heat maps of their distance from the real controls of
their batch: one by one in contact sheets, their mean elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from virtassay.data.dataset.store import Dataset
from virtassay.report.figures import png_uri
from virtassay.report.heatmaps import Shift, are_vectors, heat_map
from virtassay.report.pictures import composite, display_limits, greys

WIDTH = 1000  # pixels of the page that a row of pictures may fill
LARGEST = 96  # larger images are shrunk for display, so that the file stays small
GAP = 2
LINE, MEAN, BLOCK = 6, 24, 72  # heights of a heat map: of a vector at least, of a mean, of all vectors if they are few
SEED = 0

Pixels = NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """A PNG as data URI and the size in which the page shows it; `n` images are in it (0: there are none)."""

    uri: str
    width: int
    height: int
    n: int


@dataclass(frozen=True)
class Strip:
    """A labelled picture: one row of a contact sheet."""

    label: str
    picture: Picture | None


@dataclass(frozen=True)
class ChannelSheet:
    """One channel in grey: a picture for each of real, generated, control."""

    channel: str
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class Sheet:
    """A treatment's images: composites, and, for a few treatments, each channel in grey."""

    reason: str
    treatment: str
    batch: str
    strips: tuple[Strip, ...]
    channels: tuple[ChannelSheet, ...] = ()


@dataclass(frozen=True)
class Ladder:
    """One compound's images over its doses in one batch: `rows` (real, generated) of strips, control first."""

    perturbation: str
    batch: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Picture | None, ...]], ...]
    n_doses: int


@dataclass(frozen=True)
class Studio:
    """Both sides, and the contrast limits (C, 2) that all pictures share; of vectors, what they are shifted from."""

    real: Dataset
    generated: Dataset
    limits: Pixels
    shift: Shift | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        return self.real.info.channels

    @property
    def size(self) -> int:
        """Width of one image as stored in the pictures."""
        height, width = self.real.info.image_shape[1:]
        return max(1, round(width * min(1, LARGEST / max(height, width))))

    @property
    def shrunk(self) -> bool:
        """Whether the pictures are smaller than the images."""
        return max(self.real.info.image_shape[1:]) > LARGEST


def open_studio(real: Dataset, generated: Dataset) -> Studio:
    """Take the contrast limits from up to 300 treated and 300 control images of the real side."""
    control = real.index["is_control"].to_numpy()
    rows = np.concatenate([_draw(np.flatnonzero(side), 300) for side in (control, ~control)])
    if are_vectors(real.info.image_shape):
        shift = Shift.of(real)
        return Studio(real, generated, shift.limits(shift(real.images(rows), real.index["batch"].gather(rows))), shift)
    return Studio(real, generated, display_limits(real.images(rows)))


def contact_sheet(studio: Studio, reason: str, treatment: str, batch: str, per_channel: bool, most: int = 9) -> Sheet:
    """Show a stratum large: a row each of at most `most` real, generated and control images of the same batch."""
    if studio.shift is not None:
        strips = _heat_strips(studio, studio.shift, treatment, batch, WIDTH - 90, mean=False)
        return Sheet(reason, treatment, batch, strips)
    zoom = max(1, round(104 / studio.size))
    count = max(3, min(most, (WIDTH - 90) // ((studio.size + GAP) * zoom)))
    sides = _sides(studio, treatment, batch)
    strips = tuple(Strip(label, _colour(studio, data, rows[:count], count, zoom)) for label, data, rows in sides)
    zoom = max(1, round(64 / studio.size))
    few = max(1, min(4, 300 // ((studio.size + GAP) * zoom)))
    channels = tuple(
        ChannelSheet(
            name, tuple(Strip(label, _grey(studio, data, rows[:few], c, few, zoom)) for label, data, rows in sides)
        )
        for c, name in enumerate(studio.channels if per_channel else ())
    )
    return Sheet(reason, treatment, batch, strips, channels)


def small_sheet(studio: Studio, treatment: str, batch: str) -> Sheet:
    """Show a stratum small: real, generated and control side by side."""
    if studio.shift is not None:
        return Sheet("", treatment, batch, _heat_strips(studio, studio.shift, treatment, batch, 285, mean=True))
    zoom = max(1, round(64 / studio.size))
    count = max(1, min(4, 285 // ((studio.size + GAP) * zoom)))
    sides = _sides(studio, treatment, batch)
    strips = tuple(Strip(label, _colour(studio, data, rows[:count], count, zoom)) for label, data, rows in sides)
    return Sheet("", treatment, batch, strips)


def dose_ladder(
    studio: Studio, perturbation: str, batch: str, steps: Sequence[tuple[str, str]], most: int = 7
) -> Ladder:
    """Show real over generated images, control first, then the doses ascending.

    steps: (heading, treatment) of each dose. Of more than `most` doses, evenly spaced ones are shown.
    """
    chosen = [steps[i] for i in evenly(len(steps), most)]
    zoom = max(1, round(84 / studio.size))
    room = (WIDTH - 90) // (len(chosen) + 1) - 8
    across = max(1, min(3, room // ((studio.size + GAP) * zoom)))
    if across == 1 and zoom > 1:
        zoom = max(1, room // (studio.size + GAP))
    count = across if across > 2 else 2 * across

    def picture(data: Dataset, treatment: str | None) -> Picture | None:
        if studio.shift is not None:
            return _heat(studio, studio.shift, data, _rows(data, treatment, batch), room, mean=True)
        return _colour(studio, data, _rows(data, treatment, batch)[:count], across, zoom)

    def row(data: Dataset) -> tuple[Picture | None, ...]:
        return tuple(picture(data, treatment) for treatment in (None, *(name for _, name in chosen)))

    headings = ("control", *(heading for heading, _ in chosen))
    rows = (("Real", row(studio.real)), ("Generated", row(studio.generated)))
    return Ladder(perturbation, batch, headings, rows, len(steps))


def evenly(n: int, most: int) -> list[int]:
    """Choose at most `most` of n numbers, evenly spaced, both ends among them."""
    return [int(i) for i in np.unique(np.linspace(0, n - 1, min(most, n)).round())]


def _sides(studio: Studio, treatment: str, batch: str) -> tuple[tuple[str, Dataset, Pixels], ...]:
    return (
        ("Real", studio.real, _rows(studio.real, treatment, batch)),
        ("Generated", studio.generated, _rows(studio.generated, treatment, batch)),
        ("Control", studio.real, _rows(studio.real, None, batch)),
    )


def _rows(data: Dataset, treatment: str | None, batch: str) -> Pixels:
    """Rows of a treatment (None: the controls) in a batch, in random order."""
    what = pl.col("is_control") if treatment is None else pl.col("treatment") == treatment
    mask = data.index.select((what & (pl.col("batch") == batch)).alias("mask"))["mask"].to_numpy()
    return _draw(np.flatnonzero(mask), 12)


def _draw(rows: Pixels, most: int) -> Pixels:
    return np.random.default_rng(SEED).permutation(rows)[:most]


def _colour(studio: Studio, data: Dataset, rows: Pixels, columns: int, zoom: int) -> Picture | None:
    if not len(rows):
        return None
    return grid(composite(data.images(rows), studio.channels, studio.limits), columns, zoom)


def _heat_strips(studio: Studio, shift: Shift, treatment: str, batch: str, width: int, mean: bool) -> tuple[Strip, ...]:
    sides = _sides(studio, treatment, batch)
    return tuple(Strip(label, _heat(studio, shift, data, rows, width, mean)) for label, data, rows in sides)


def _heat(studio: Studio, shift: Shift, data: Dataset, rows: Pixels, width: int, mean: bool) -> Picture | None:
    """Draw vectors as lines, or their mean as one line."""
    if not len(rows):
        return None
    shifted = shift(data.images(rows), data.index["batch"].gather(rows))
    if mean:
        pixels = heat_map(shifted.mean((0, 2), keepdims=True), studio.limits, width, MEAN)
    else:
        each = BLOCK // (len(rows) * shifted.shape[2])
        pixels = heat_map(shifted, studio.limits, width, min(MEAN, max(LINE, each)))
    return Picture(png_uri(pixels), pixels.shape[1], pixels.shape[0], len(rows))


def _grey(studio: Studio, data: Dataset, rows: Pixels, channel: int, columns: int, zoom: int) -> Picture | None:
    if not len(rows):
        return None
    levels = greys(data.images(rows)[:, [channel]], studio.limits[[channel]])[:, 0]
    return grid((255 * levels).round().astype(np.uint8), columns, zoom)


def grid(images: NDArray[np.uint8], columns: int, zoom: int) -> Picture:
    """Lay out (n, H, W) or (n, H, W, 3) images in rows of `columns` with white gaps."""
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
