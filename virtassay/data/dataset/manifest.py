"""dataset.json: what it says of the images, and whether the files of the folder are those that it names."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from virtassay.data.dataset.remote import read_remote, verify
from virtassay.files import is_remote, sha256
from virtassay.schema import BrokenDataset

FORMAT = {"format": "virtassay-dataset", "version": 1}
DTYPES = ("uint8", "uint16", "float32")  # float32: feature vectors


@dataclass(frozen=True)
class DatasetInfo:
    """What dataset.json says of the images; `image_shape` is (channels, height, width), `dtype` one of DTYPES.

    licence, citation: of the data, shown wherever they are prepared or described.
    """

    name: str
    channels: tuple[str, ...]
    image_shape: tuple[int, int, int]
    dtype: str
    pixel_size_um: float | None = None
    scaling: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None
    licence: str | None = None
    citation: str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"images are stored as one of {DTYPES}, got {self.dtype!r}: choose a scaling.")
        if len(self.channels) != self.image_shape[0]:
            raise ValueError(
                f"{len(self.channels)} channel names {self.channels} for images of shape {self.image_shape}."
            )


def read_head(root: str | Path) -> dict[str, Any]:
    """Read dataset.json of a folder here or elsewhere; raises as open_dataset."""
    if not is_remote(root) and not Path(root).is_dir():
        raise FileNotFoundError(f"there is no dataset folder {root}: make it with prepare.py, or correct the path.")
    try:
        text = read_remote(str(root)) if is_remote(root) else (Path(root) / "dataset.json").read_bytes()
        head = json.loads(text)
    except FileNotFoundError:
        raise BrokenDataset(
            f"{root} has no dataset.json: it is no dataset folder, or was half written. Prepare it again."
        ) from None
    except ValueError as error:
        raise BrokenDataset(f"{root}/dataset.json cannot be read ({error}). Prepare the dataset again.") from error
    if not isinstance(head, dict) or any(head.get(name) != value for name, value in FORMAT.items()):
        raise BrokenDataset(f"{root}/dataset.json is not of format {FORMAT['format']!r}, version {FORMAT['version']}.")
    return head


def check_file(root: Path, entry: dict[str, Any], whole: bool) -> None:
    """Raise BrokenDataset where a file is missing, of another size, outside the folder, or (read `whole`) damaged."""
    path = root / entry["file"]
    if not path.resolve().is_relative_to(root.resolve()):
        raise BrokenDataset(f"{root}/dataset.json names {entry['file']!r}, which lies outside the folder: refused.")
    if not path.is_file():
        raise BrokenDataset(f"{path} is missing. Prepare or copy the dataset again.")
    size = path.stat().st_size
    verify(path, entry, size, sha256(path) if whole and size == entry["bytes"] else entry["sha256"])


def check_size(root: str | Path, entry: dict[str, Any], info: DatasetInfo) -> None:
    """Raise BrokenDataset where the bytes of a shard are not those of its images."""
    shape = (entry["n_images"], *info.image_shape)
    if int(np.prod(shape)) * np.dtype(info.dtype).itemsize != entry["bytes"]:
        raise BrokenDataset(f"{root}/{entry['file']}: {entry['bytes']} bytes are not {shape} of {info.dtype}.")


def check_places(root: str | Path, index: pl.DataFrame, length: np.ndarray) -> None:
    """Raise BrokenDataset where a row of the index lies outside the shards, whose numbers of images are `length`."""
    if not {"shard", "offset"} <= set(index.columns):
        raise BrokenDataset(f"{root}: the index lacks 'shard' and 'offset', the places of the images.")
    ends = index.group_by("shard").agg(pl.col("offset").min().alias("first"), pl.col("offset").max().alias("last"))
    for shard, first, last in ends.iter_rows():
        n = length[shard] if 0 <= shard < len(length) else 0
        if first < 0 or last >= n:
            wrong = (pl.col("shard") == shard) & ~pl.col("offset").is_between(0, n, closed="left")
            row = index.select(wrong.arg_true().first()).item()
            raise BrokenDataset(f"{root}: row {row} of the index points outside the images.")
