"""Where raw images lie: in one stack, one file a crop, or one file a channel. Each source reads one row's image."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tifffile
from PIL import Image

TIFF = (".tif", ".tiff")
PICTURE = (".png", ".jpg", ".jpeg")


class UnreadableImage(ValueError):
    """A raw image that is missing or cannot be read; the message names it."""


@runtime_checkable
class ImageSource(Protocol):
    """Read the image of one row of the table as (c, h, w), in its raw dtype; `name` says which it is in errors."""

    def read(self, row: dict[str, Any]) -> np.ndarray: ...

    def name(self, row: dict[str, Any]) -> str: ...


@dataclass(frozen=True)
class Stack:
    """Row i of the table is image i of one npy file or of the array `key` of an npz file: (n, h, w[, c]).

    `channels_first` for (n, c, h, w). An npy file is memory-mapped; an array of an npz file is read whole.
    """

    path: str
    key: str | None = None
    channels_first: bool = False

    @cached_property
    def _array(self) -> np.ndarray:
        path = Path(self.path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no image stack {path}.")
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
            if isinstance(stored, np.ndarray):
                return stored
            names = list(stored.keys())
            key = self.key or names[0]
            if key not in names:
                raise UnreadableImage(f"{path} has no array {key!r}; it has {names}.")
            return stored[key]
        except (OSError, ValueError) as error:
            raise UnreadableImage(f"the image stack {path} cannot be read: {error}.") from error

    def read(self, row: dict[str, Any]) -> np.ndarray:
        if row["_row"] >= len(self._array):
            raise UnreadableImage(f"{self.name(row)} does not exist: the stack has {len(self._array)} images.")
        return _channels_first(np.asarray(self._array[row["_row"]]), self.channels_first, self.name(row))

    def name(self, row: dict[str, Any]) -> str:
        return f"{self.path}[{row['_row']}]"


@dataclass(frozen=True)
class FilePerCrop:
    """One file an image, npy, png, jpg or tif, named by a column of the table or by a `pattern` of its columns.

    pattern: for example "{plate}/{well}_{site}.npy"; by default "{source_file}".
    """

    folder: str
    pattern: str = "{source_file}"
    channels_first: bool = False

    def read(self, row: dict[str, Any]) -> np.ndarray:
        path = Path(self.folder) / self.name(row)
        return _channels_first(read_file(path), self.channels_first, str(path))

    def name(self, row: dict[str, Any]) -> str:
        return _fill(self.pattern, row)


@dataclass(frozen=True)
class FilePerChannel:
    """One grey file a channel, named by a pattern with {channel}: "{plate}/{well}_s{site}_w{channel}.tif".

    channels: what {channel} stands for, in the order of the dataset's channels.
    """

    folder: str
    pattern: str
    channels: tuple[str, ...]

    def read(self, row: dict[str, Any]) -> np.ndarray:
        paths = [Path(self.folder) / _fill(self.pattern, {**row, "channel": channel}) for channel in self.channels]
        planes = [read_file(path) for path in paths]
        for path, plane in zip(paths, planes, strict=True):
            if plane.ndim != 2 or plane.shape != planes[0].shape or plane.dtype != planes[0].dtype:
                raise UnreadableImage(
                    f"{path} is {plane.dtype} {plane.shape}, where {paths[0].name} is {planes[0].dtype} "
                    f"{planes[0].shape}: the channels of an image must be grey and alike."
                )
        return np.stack(planes)

    def name(self, row: dict[str, Any]) -> str:
        return _fill(self.pattern, {**row, "channel": "*"})


def read_file(path: Path) -> np.ndarray:
    """Read one npy, png, jpg or tif file; raises UnreadableImage naming it."""
    if not path.is_file():
        raise UnreadableImage(f"the image {path} is missing.")
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if suffix in TIFF:
            return tifffile.imread(path)
        if suffix in PICTURE:
            with Image.open(path) as picture:
                return np.asarray(picture)
    except Exception as error:  # each library has its own; all of them mean that this file is not to be had
        raise UnreadableImage(f"the image {path} cannot be read: {error}.") from error
    raise UnreadableImage(f"the image {path} is of an unknown kind; npy, png, jpg and tif can be read.")


def _fill(pattern: str, row: dict[str, Any]) -> str:
    try:
        return pattern.format(**row)
    except (KeyError, ValueError) as error:
        raise ValueError(f"the pattern {pattern!r} needs a column that the table lacks: {error}. There are {list(row)}.") from error


def _channels_first(image: np.ndarray, channels_first: bool, name: str) -> np.ndarray:
    if image.ndim == 2:
        return image[None]
    if image.ndim != 3:
        raise UnreadableImage(f"{name} has shape {image.shape}; an image is (h, w), (h, w, c) or (c, h, w).")
    return image if channels_first else np.moveaxis(image, -1, 0)
