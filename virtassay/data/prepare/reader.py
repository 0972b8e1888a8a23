"""Reads the raw images of an index: checks that all are alike, crops and resizes them, remembers the unreadable."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from skimage.transform import resize
from tqdm.auto import tqdm

from virtassay.data.prepare.sources import Described, ImageSource, UnreadableImage
from virtassay.schema import InvalidIndex

CHUNK = 256  # images held at once: memory does not grow with the screen
SCALED_ON = 512  # control images that the limits are estimated on
SURVEYED = 64  # images whose commonest size and type is the dataset's
DTYPES = ("uint8", "uint16", "float32", "float64")


@dataclass(frozen=True)
class RawImage:
    """One raw image (c, h, w): of which row of the part that was read, and its name in errors."""

    number: int
    row: dict[str, Any]  # lists replaced by their first entry
    name: str
    image: np.ndarray


@dataclass
class Reader:
    """Reads the images of an index in chunks; with `skip`, those that cannot be used are listed in `skipped`."""

    images: ImageSource
    channels: tuple[str, ...]
    crop: int | None
    size: int | None
    skip: bool
    pixel_size_um: float | None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    typical: tuple[str, tuple[int, ...], np.dtype] | None = None

    def some_controls(self, index: pl.DataFrame) -> np.ndarray:
        """Read up to SCALED_ON control images of the training split, spread over it."""
        images = [self.fit(raw.image) for raw in self.read(spread_controls(index, SCALED_ON), [])]
        if not images:
            raise UnreadableImage("none of the control images of the training split can be read.")
        return np.stack(images)

    def look(self, index: pl.DataFrame) -> tuple[tuple[int, ...], tuple[int, int, int], str]:
        """Return the raw shape (c, h, w), that after cropping and resizing, and the raw dtype."""
        # the commonest of images spread over the index: one odd image, were it the first, must not oust all others
        unread: list[tuple[str, str]] = []
        chosen = index.gather_every(-(-index.height // SURVEYED))
        spread = [(raw.name, raw.image.shape, raw.image.dtype) for raw in self.read(chosen, unread)]
        if not spread:
            raise UnreadableImage(f"none of {len(unread)} images spread over the table can be read: {unread[0][1]}")
        (shape, dtype), _ = Counter((shape, dtype) for _, shape, dtype in spread).most_common(1)[0]
        self.typical = next(kind for kind in spread if kind[1:] == (shape, dtype))
        height, width = self.fit(np.zeros(shape, dtype)).shape[1:]
        return shape, (shape[0], height, width), str(dtype)

    def chunks(self, index: pl.DataFrame) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        """Yield (images, their rows) over the index, CHUNK rows at a time."""
        with tqdm(total=index.height, unit=" images", desc="preparing", dynamic_ncols=True) as bar:
            for start in range(0, index.height, CHUNK):
                rows = index[start : start + CHUNK]
                read = [(raw.number, self.fit(raw.image)) for raw in self.read(rows, self.skipped)]
                if read:
                    yield np.stack([image for _, image in read]), rows[[number for number, _ in read]]
                bar.update(rows.height)

    def read(self, rows: pl.DataFrame, skipped: list[tuple[str, str]]) -> Iterator[RawImage]:
        """Read and check the raw images of `rows`, one by one."""
        for number, row in enumerate(scalars(rows)):
            try:
                image = self.images.read(row)
                name = self.images.name(row)
                self._check(image, name)
                if isinstance(self.images, Described):
                    self._check_description(self.images, row, name)
            except UnreadableImage as error:
                self.leave_out(row, error, skipped)
                continue
            yield RawImage(number, row, name, image)

    def leave_out(self, row: dict[str, Any], error: UnreadableImage, skipped: list[tuple[str, str]]) -> None:
        """List an image that cannot be used in `skipped`; without `skip`, raise the error."""
        if not self.skip:
            raise UnreadableImage(f"{error} on_error=skip leaves such images out and lists them.") from error
        skipped.append((row["image_id"], str(error)))

    def _check(self, image: np.ndarray, name: str) -> None:
        if len(image) != len(self.channels):
            raise UnreadableImage(
                f"{name} has {len(image)} channels, and {len(self.channels)} are named: {', '.join(self.channels)}."
            )
        if str(image.dtype) not in DTYPES:
            raise UnreadableImage(f"{name} is {image.dtype}; images are one of {', '.join(DTYPES)}.")
        if not np.isfinite(image).all():
            raise UnreadableImage(f"{name} holds values that are not finite.")
        if self.typical is not None and (image.shape, image.dtype) != self.typical[1:]:
            other, shape, dtype = self.typical
            raise UnreadableImage(
                f"{name} is {image.dtype} {image.shape}, where {other} is {dtype} {shape}: "
                "all images of a dataset have one size and type."
            )

    def _check_description(self, images: Described, row: dict[str, Any], name: str) -> None:
        channels, pixel = images.describe(row)
        if channels is not None and channels != self.channels:
            raise UnreadableImage(f"{name} says its channels are {list(channels)}, not {list(self.channels)}.")
        if pixel is not None and self.pixel_size_um is not None and abs(pixel / self.pixel_size_um - 1) > 0.01:
            raise UnreadableImage(
                f"{name} says its pixels are {pixel:g} µm, where {self.pixel_size_um:g} µm are expected: a dataset has "
                "one pixel size. Prepare what was imaged otherwise by itself."
            )

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Cut the middle out of an image (c, h, w) and resize it; raises ValueError where it is too small."""
        height, width = image.shape[1:]
        if self.crop is not None:
            if self.crop > min(height, width):
                raise ValueError(f"crop={self.crop} is larger than the images, {height}×{width}.")
            top, left = (height - self.crop) // 2, (width - self.crop) // 2
            image = image[:, top : top + self.crop, left : left + self.crop]
        if self.size is None or image.shape[1:] == (self.size, self.size):
            return image
        if image.shape[1] != image.shape[2]:
            raise ValueError(f"size={self.size} would squeeze images of {height}×{width} pixels: give a crop as well.")
        shape = (len(image), self.size, self.size)
        fitted = np.asarray(resize(image, shape, order=1, anti_aliasing=True, preserve_range=True))
        if np.issubdtype(image.dtype, np.integer):
            fitted = fitted.round()
        return fitted.astype(image.dtype)


def scalars(rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield rows as sources read them: of a combination's lists, the first entry."""
    lists = [name for name, dtype in rows.schema.items() if isinstance(dtype, pl.List)]
    return rows.with_columns(pl.col(name).list.first() for name in lists).iter_rows(named=True)


def spread_controls(index: pl.DataFrame, most: int) -> pl.DataFrame:
    """Return up to `most` control rows of the training split, spread over it; raises InvalidIndex if there are none."""
    chosen = index.filter(pl.col("is_control") & (pl.col("split") == "train"))
    if not chosen.height:
        raise InvalidIndex("the training split holds no control images to scale on: change the split.")
    return chosen.gather_every(-(-chosen.height // most))
