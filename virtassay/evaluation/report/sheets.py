"""Pictures of the report: contact sheets and dose ladders of real, generated and control images.

All of them share one set of contrast limits, taken from real images only. Which images are shown is drawn at random
with a fixed seed: nobody picked them by eye. Vectors are shown as heat maps of their distance from the real controls of
their batch: one by one in contact sheets, their mean elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.data.dataset.store import Dataset
from virtassay.report.figures import evenly, png_uri
from virtassay.report.heatmaps import Shift, are_vectors, heat_map
from virtassay.report.pictures import GAP, LARGEST, Picture, composite, display_limits, grey_pixels, grid

WIDTH = 1000  # pixels of the page that a row of pictures may fill
LINE, MEAN, BLOCK = 6, 24, 72  # heights of a heat map: of a vector at least, of a mean, of all vectors if they are few
SEED = 0

Pixels = NDArray[Any]
LabelledPictures = tuple[tuple[str, Picture | None], ...]


@dataclass(frozen=True)
class StratumSheet:
    """A treatment's images, real, generated and control: composites, and of a few treatments each channel in grey."""

    reason: str
    treatment: str
    batch: str
    rows: LabelledPictures
    channels: tuple[tuple[str, LabelledPictures], ...] = ()


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
    def shrunk_to(self) -> int | None:
        """Length of the longer side in the pictures where that is less than in the images."""
        return LARGEST if max(self.real.info.image_shape[1:]) > LARGEST else None


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
        heat = partial(_heat, source, width=WIDTH - 90, mean=False)
        return StratumSheet(reason, treatment, batch, _sides(source, treatment, batch, heat))
    zoom = max(1, round(104 / source.size))
    count = max(3, min(most, (WIDTH - 90) // ((source.size + GAP) * zoom)))
    composites = _sides(source, treatment, batch, partial(_picture, source, across=count, zoom=zoom))
    zoom = max(1, round(64 / source.size))
    few = max(1, min(4, 300 // ((source.size + GAP) * zoom)))
    channels = tuple(
        (name, _sides(source, treatment, batch, partial(_picture, source, across=few, zoom=zoom, channel=channel)))
        for channel, name in enumerate(source.real.info.channels if per_channel else ())
    )
    return StratumSheet(reason, treatment, batch, composites, channels)


def small_sheet(source: ImageSource, treatment: str, batch: str) -> StratumSheet:
    """Show a stratum small: real, generated and control side by side."""
    zoom = max(1, round(64 / source.size))
    count = max(1, min(4, 285 // ((source.size + GAP) * zoom)))
    draw = partial(_heat, source, width=285) if source.shift else partial(_picture, source, across=count, zoom=zoom)
    return StratumSheet("", treatment, batch, _sides(source, treatment, batch, draw))


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
    lines = 1 if across > 2 else 2

    def row(data: Dataset) -> tuple[Picture | None, ...]:
        every = [_rows(data, treatment, batch) for treatment in (None, *(name for _, name in chosen))]
        if source.shift is not None:
            return tuple(_heat(source, data, rows, room) for rows in every)
        return tuple(_picture(source, data, rows, across, zoom, lines=lines) for rows in every)

    headings = ("control", *(heading for heading, _ in chosen))
    rows = (("Real", row(source.real)), ("Generated", row(source.generated)))
    return DoseLadder(perturbation, batch, headings, rows, len(steps))


def _sides(
    source: ImageSource, treatment: str, batch: str, draw: Callable[[Dataset, Pixels], Picture | None]
) -> LabelledPictures:
    """Draw the rows of a treatment on both sides, and of the controls of its batch."""
    sides = ("Real", source.real, treatment), ("Generated", source.generated, treatment), ("Control", source.real, None)
    return tuple((label, draw(data, _rows(data, name, batch))) for label, data, name in sides)


def _rows(data: Dataset, treatment: str | None, batch: str) -> Pixels:
    """Rows of a treatment (None: the controls) in a batch, in random order."""
    own = pl.col("is_control") if treatment is None else pl.col("treatment") == treatment
    return _draw(data.index.select((own & (pl.col("batch") == batch)).arg_true()).to_series().to_numpy(), 12)


def _draw(rows: Pixels, most: int) -> Pixels:
    return np.random.default_rng(SEED).permutation(rows)[:most]


def _picture(
    source: ImageSource, data: Dataset, rows: Pixels, across: int, zoom: int, lines: int = 1, channel: int | None = None
) -> Picture | None:
    """Composites, or one channel in grey, of as many of the rows as there are places."""
    if not len(rows):
        return None
    images, limits = data.images(rows[: lines * across]), source.limits
    if channel is None:
        return grid(composite(images, source.real.info.channels, limits), across, zoom)
    return grid(grey_pixels(images, channel, limits), across, zoom)


def _heat(source: ImageSource, data: Dataset, rows: Pixels, width: int, mean: bool = True) -> Picture | None:
    """Draw vectors as lines, or their mean as one line."""
    if source.shift is None or not len(rows):
        return None
    shifted = source.shift(data.images(rows), data.index["batch"].gather(rows))
    each = min(MEAN, max(LINE, BLOCK // (len(rows) * shifted.shape[2])))
    shifted, line = (shifted.mean((0, 2), keepdims=True), MEAN) if mean else (shifted, each)
    pixels = heat_map(shifted, source.limits, width, line)
    return Picture(png_uri(pixels), pixels.shape[1], pixels.shape[0], len(rows))
