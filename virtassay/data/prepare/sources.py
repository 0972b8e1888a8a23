"""Where raw images lie: in one stack, one file a crop, or one file a channel. Each source reads one row's image."""

import re
import shutil
import string
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import imagecodecs
import numpy as np
import tifffile

from virtassay.files import require_space

READERS = {  # by suffix; imagecodecs keeps 16-bit colour, which PIL would cut to 8
    ".npy": lambda path: np.load(path, allow_pickle=False),
    ".tif": tifffile.imread,
    ".tiff": tifffile.imread,
    ".png": lambda path: imagecodecs.png_decode(path.read_bytes()),
    ".jpg": lambda path: imagecodecs.jpeg_decode(path.read_bytes()),
    ".jpeg": lambda path: imagecodecs.jpeg_decode(path.read_bytes()),
    ".jp2": lambda path: imagecodecs.jpeg2k_decode(path.read_bytes()),
}


class UnreadableImage(ValueError):
    """A raw image that is missing or cannot be read; the message names it."""


@runtime_checkable
class ImageSource(Protocol):
    """Read the image of one row of the table as (c, h, w), in its raw dtype; `name` says which it is in errors."""

    def read(self, row: dict[str, Any]) -> np.ndarray: ...

    def name(self, row: dict[str, Any]) -> str: ...


@runtime_checkable
class Described(Protocol):
    """A source whose files say what their channels are called and how large a pixel is in µm (None: they do not)."""

    def describe(self, row: dict[str, Any]) -> tuple[tuple[str, ...] | None, float | None]: ...


@dataclass(frozen=True)
class Stack:
    """Row i of the table is image i of one npy file or of the array `key` of an npz file: (n, h, w[, c]).

    `channels_first` for (n, c, h, w). Nothing is read whole: an npy file is memory-mapped, and an array of an npz file
    is unpacked into a temporary file first (TMPDIR says where).
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
            return _unpacked(path, self.key) if path.suffix == ".npz" else np.lib.format.open_memmap(path, mode="r")
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"the image stack {path} cannot be read: {error}.") from error

    def read(self, row: dict[str, Any]) -> np.ndarray:
        if row["_number"] >= len(self._array):
            raise UnreadableImage(f"{self.name(row)} does not exist: the stack has {len(self._array)} images.")
        return _channels_first(np.asarray(self._array[row["_number"]]), self.channels_first, self.name(row))

    def name(self, row: dict[str, Any]) -> str:
        return f"{self.path}[{row['_number']}]"


@dataclass(frozen=True)
class FilePerCrop:
    """One file an image, npy, png, jpg or tif, named by a column of the table or by a `pattern` of its columns.

    pattern: for example "{plate}/{well}_{site}.npy" or "{site:02d}.npy"; by default "{source_file}".
    """

    folder: str
    pattern: str = "{source_file}"
    channels_first: bool = False

    def read(self, row: dict[str, Any]) -> np.ndarray:
        path = Path(self.folder) / self.name(row)
        return _channels_first(read_file(path), self.channels_first, str(path))

    def name(self, row: dict[str, Any]) -> str:
        return fill_path(self.pattern, row)

    def files(self, row: dict[str, Any]) -> list[str]:
        return [self.name(row)]


@dataclass(frozen=True)
class FilePerChannel:
    """One grey file a channel, named by a pattern with {channel}: "{plate}/{well}_s{site}_w{channel}.tif".

    channels: what {channel} stands for, in the order of the dataset's channels; it may name columns of the table in
    turn, as in pattern "{channel}", channels ["{FileName_DNA}", "{FileName_Actin}"].
    """

    folder: str
    pattern: str
    channels: Sequence[str]

    def __post_init__(self) -> None:
        if not any(field == "channel" for _, field, _, _ in string.Formatter().parse(self.pattern)):
            raise ValueError(f"the pattern {self.pattern!r} lacks {{channel}}: all channels would be one file.")

    def read(self, row: dict[str, Any]) -> np.ndarray:
        paths = [Path(self.folder) / name for name in self.files(row)]
        return stacked([read_file(path) for path in paths], paths, paths[0].name)

    def name(self, row: dict[str, Any]) -> str:
        return fill_path(self.pattern, {**row, "channel": "*"})

    def files(self, row: dict[str, Any]) -> list[str]:
        names = [fill(str(channel), row) for channel in self.channels]
        return [fill_path(self.pattern, {**row, "channel": name}) for name in names]


def stacked(planes: Sequence[np.ndarray], names: Sequence[object], first: str) -> np.ndarray:
    """Stack the channels of an image, (c, h, w); raises UnreadableImage naming one that is not grey or not alike."""
    for name, plane in zip(names, planes, strict=True):
        if plane.ndim != 2 or plane.shape != planes[0].shape or plane.dtype != planes[0].dtype:
            raise UnreadableImage(
                f"{name} is {plane.dtype} {plane.shape}, where {first} is {planes[0].dtype} {planes[0].shape}: "
                "the channels of an image must be grey and alike."
            )
    return np.stack(planes)


def read_file(path: Path) -> np.ndarray:
    """Read one npy, png, jpg or tif file; raises UnreadableImage naming it."""
    if not path.is_file():
        raise UnreadableImage(f"the image {path} is missing.")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UnreadableImage(f"the image {path} is of an unknown kind; {', '.join(READERS)} can be read.")
    try:
        return reader(path)
    except Exception as error:  # each library has its own; all of them mean that this file is not to be had
        raise UnreadableImage(f"the image {path} cannot be read: {error}.") from error


class _Formatter(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        # plates, wells and sites are kept as text, so that "007" stays; {site:02d} means the number
        return format(int(value), format_spec) if format_spec.endswith("d") else format(value, format_spec)


def fill(pattern: str, row: Mapping[str, Any]) -> str:
    """Fill a pattern such as "{plate}/{well}_s{site:02d}.tif" from a row; raises ValueError naming what it lacks."""
    try:
        return _Formatter().vformat(pattern, (), row)
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"the pattern {pattern!r} names {error}, which is no column of the table. There are {sorted(row)}."
        ) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"the pattern {pattern!r} cannot be filled from {dict(row)}: {error}.") from error


def fill_path(pattern: str, row: Mapping[str, Any]) -> str:
    """Fill a pattern as a path below a folder: a Windows path's backslashes become slashes.

    Raises ValueError for a path on a Windows drive or share, which means nothing on another machine.
    """
    path = fill(pattern, row)
    if "\\" not in path and path[1:2] != ":":
        return path
    if re.match(r"[A-Za-z]:|\\\\", path):
        raise ValueError(
            f"{path} is a path on one Windows machine: write it below the image folder, without drive or share. A "
            "pattern may join columns: {plate}/{file}."
        )
    return path.replace("\\", "/")


def _unpacked(path: Path, key: str | None) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if not names or (key or names[0]) not in names:
            raise ValueError(f"there is no array {key!r} in it; it has {names}")
        member = archive.getinfo(f"{key or names[0]}.npy")
        require_space(tempfile.gettempdir(), member.file_size, f"unpacking {path}")
        with tempfile.TemporaryFile() as file:  # nameless: its bytes go when the memory map goes
            with archive.open(member) as packed:
                shutil.copyfileobj(packed, file, 1 << 20)
            file.seek(0)
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = header(file)
            if dtype.hasobject:
                raise ValueError("it holds Python objects, which are never loaded")
            return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _channels_first(image: np.ndarray, channels_first: bool, name: str) -> np.ndarray:
    if image.ndim == 2:
        return image[None]
    if image.ndim != 3:
        raise UnreadableImage(f"{name} has shape {image.shape}; an image is (h, w), (h, w, c) or (c, h, w).")
    return image if channels_first else np.moveaxis(image, -1, 0)
