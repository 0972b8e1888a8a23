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

from virtassay.data.dataset.store import Dataset
from virtassay.report.figures import evenly, png_uri
from virtassay.report.heatmaps import Shift, are_vectors, heat_map
from virtassay.report.pictures import GAP, LARGEST, Picture, composite, display_limits, greys, grid

WIDTH = 1000  # pixels of the page that a row of pictures may fill
LINE, MEAN, BLOCK = 6, 24, 72  # heights of a heat map: of a vector at least, of a mean, of all vectors if they are few
SEED = 0

Pixels = NDArray[Any]


@dataclass(frozen=True)
class SheetRow:
    """A labelled picture: one row of a contact sheet."""

    label: str
    picture: Picture | None


@dataclass(frozen=True)
class ChannelSheet:
    """One channel in grey: a picture for each of real, generated, control."""

    channel: str
    rows: tuple[SheetRow, ...]


@dataclass(frozen=True)
class StratumSheet:
    """A treatment's images: composites, and, for a few treatments, each channel in grey."""

    reason: str
    treatment: str
    batch: str
    rows: tuple[SheetRow, ...]
    channels: tuple[ChannelSheet, ...] = ()


@dataclass(frozen=True)
class DoseLadder:
    """One compound's images over its doses in one batch: `rows` (real, generated) of pictures, control first."""

    perturbation: str
    batch: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Picture | None, ...]], ...]
    n_doses: int


@dataclass(frozen=True)
class ImageSource:
    """Both sides, and the contrast limits (C, 2) that all pictures share; of vectors, what they are shifted from."""

    real: Dataset
    generated: Dataset
    limits: Pixels
    shift: Shift | None = None

    @property
    def size(self) -> int:
        """Width of one image as stored in the pictures."""
        height, width = self.real.info.image_shape[1:]
        return max(1, round(width * min(1, LARGEST / max(height, width))))

    @property
    def shrunk(self) -> bool:
        """Whether the pictures are smaller than the images."""
        return max(self.real.info.image_shape[1:]) > LARGEST


def image_source(real: Dataset, generated: Dataset) -> ImageSource:
    """Take the contrast limits from up to 300 treated and 300 control images of the real side."""
    control = real.index["is_control"].to_numpy()
    rows = np.concatenate([_draw(np.flatnonzero(side), 300) for side in (control, ~control)])
    if are_vectors(real.info.image_shape):
        shift = Shift.of(real)
        limits = shift.limits(shift(real.images(rows), real.index["batch"].gather(rows)))
        return ImageSource(real, generated, limits, shift)
    return ImageSource(real, generated, display_limits(real.images(rows)))


def large_sheet(
    source: ImageSource, reason: str, treatment: str, batch: str, per_channel: bool, most: int = 9
) -> StratumSheet:
    """Show a stratum large: a row each of at most `most` real, generated and control images of the same batch."""
    if source.shift is not None:
        return StratumSheet(reason, treatment, batch, _heat_rows(source, treatment, batch, WIDTH - 90, mean=False))
    zoom = max(1, round(104 / source.size))
    count = max(3, min(most, (WIDTH - 90) // ((source.size + GAP) * zoom)))
    composites = _colour_rows(source, treatment, batch, count, zoom)
    zoom = max(1, round(64 / source.size))
    few = max(1, min(4, 300 // ((source.size + GAP) * zoom)))
    channels = tuple(
        ChannelSheet(
            name,
            tuple(
                SheetRow(label, _picture(source, data, rows[:few], few, zoom, channel))
                for label, data, rows in _sides(source, treatment, batch)
            ),
        )
        for channel, name in enumerate(source.real.info.channels if per_channel else ())
    )
    return StratumSheet(reason, treatment, batch, composites, channels)


def small_sheet(source: ImageSource, treatment: str, batch: str) -> StratumSheet:
    """Show a stratum small: real, generated and control side by side."""
    if source.shift is not None:
        return StratumSheet("", treatment, batch, _heat_rows(source, treatment, batch, 285, mean=True))
    zoom = max(1, round(64 / source.size))
    count = max(1, min(4, 285 // ((source.size + GAP) * zoom)))
    return StratumSheet("", treatment, batch, _colour_rows(source, treatment, batch, count, zoom))


def dose_ladder(
    source: ImageSource, perturbation: str, batch: str, steps: Sequence[tuple[str, str]], most: int = 7
) -> DoseLadder:
    """Show real over generated images, control first, then the doses ascending.

    steps: (heading, treatment) of each dose. Of more than `most` doses, evenly spaced ones are shown.
    """
    chosen = [steps[i] for i in evenly(len(steps), most)]
    zoom = max(1, round(84 / source.size))
    room = (WIDTH - 90) // (len(chosen) + 1) - 8
    across = max(1, min(3, room // ((source.size + GAP) * zoom)))
    if across == 1 and zoom > 1:
        zoom = max(1, room // (source.size + GAP))
    count = across if across > 2 else 2 * across

    def picture(data: Dataset, treatment: str | None) -> Picture | None:
        if source.shift is not None:
            return _heat(source, data, _rows(data, treatment, batch), room, mean=True)
        return _picture(source, data, _rows(data, treatment, batch)[:count], across, zoom)

    def row(data: Dataset) -> tuple[Picture | None, ...]:
        return tuple(picture(data, treatment) for treatment in (None, *(name for _, name in chosen)))

    headings = ("control", *(heading for heading, _ in chosen))
    rows = (("Real", row(source.real)), ("Generated", row(source.generated)))
    return DoseLadder(perturbation, batch, headings, rows, len(steps))


def _sides(source: ImageSource, treatment: str, batch: str) -> tuple[tuple[str, Dataset, Pixels], ...]:
    return (
        ("Real", source.real, _rows(source.real, treatment, batch)),
        ("Generated", source.generated, _rows(source.generated, treatment, batch)),
        ("Control", source.real, _rows(source.real, None, batch)),
    )


def _rows(data: Dataset, treatment: str | None, batch: str) -> Pixels:
    """Rows of a treatment (None: the controls) in a batch, in random order."""
    what = pl.col("is_control") if treatment is None else pl.col("treatment") == treatment
    mask = data.index.select((what & (pl.col("batch") == batch)).alias("mask"))["mask"].to_numpy()
    return _draw(np.flatnonzero(mask), 12)


def _draw(rows: Pixels, most: int) -> Pixels:
    return np.random.default_rng(SEED).permutation(rows)[:most]


def _picture(
    source: ImageSource, data: Dataset, rows: Pixels, columns: int, zoom: int, channel: int | None = None
) -> Picture | None:
    """Composites, or one channel in grey."""
    if not len(rows):
        return None
    if channel is None:
        return grid(composite(data.images(rows), source.real.info.channels, source.limits), columns, zoom)
    levels = greys(data.images(rows)[:, [channel]], source.limits[[channel]])[:, 0]
    return grid((255 * levels).round().astype(np.uint8), columns, zoom)


def _colour_rows(source: ImageSource, treatment: str, batch: str, count: int, zoom: int) -> tuple[SheetRow, ...]:
    return tuple(
        SheetRow(label, _picture(source, data, rows[:count], count, zoom))
        for label, data, rows in _sides(source, treatment, batch)
    )


def _heat_rows(source: ImageSource, treatment: str, batch: str, width: int, mean: bool) -> tuple[SheetRow, ...]:
    return tuple(
        SheetRow(label, _heat(source, data, rows, width, mean))
        for label, data, rows in _sides(source, treatment, batch)
    )


def _heat(source: ImageSource, data: Dataset, rows: Pixels, width: int, mean: bool) -> Picture | None:
    """Draw vectors as lines, or their mean as one line."""
    if source.shift is None or not len(rows):
        return None
    shifted = source.shift(data.images(rows), data.index["batch"].gather(rows))
    if mean:
        pixels = heat_map(shifted.mean((0, 2), keepdims=True), source.limits, width, MEAN)
    else:
        each = BLOCK // (len(rows) * shifted.shape[2])
        pixels = heat_map(shifted, source.limits, width, min(MEAN, max(LINE, each)))
    return Picture(png_uri(pixels), pixels.shape[1], pixels.shape[0], len(rows))
