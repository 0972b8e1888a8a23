"""The dataset folder: an index and raw memory-mapped image arrays, written whole or not at all.

dataset.json    shape, dtype, channels, scaling, and a checksum of every other file; written last
index.parquet   one row an image; `shard` and `offset` say where its pixels lie
images/*.bin    raw little-endian (n, channels, height, width), in C order

A set of k feature vectors (a profile, an embedding; k = 1 for a well's) is kept as an image of k × 1 "pixels" in
float32, whose channels are the features.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import polars as pl

from virtassay import schema

FORMAT, VERSION = "virtassay-dataset", 1
DTYPES = ("uint8", "uint16", "float32")  # float32: feature vectors
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what a full or failing disk raises


class BrokenDataset(ValueError):
    """A dataset folder that cannot be used; the message names the file and the fix."""


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


@dataclass(frozen=True)
class Dataset:
    """An open dataset folder, or some rows of one: its index (normal form, with `treatment`) and its pixels."""

    root: Path
    info: DatasetInfo
    index: pl.DataFrame
    maps: tuple[np.ndarray, ...]  # one memory map a shard, (n, c, h, w)

    def __len__(self) -> int:
        return self.index.height

    def images(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Gather the images of `rows` (all by default): (n, c, h, w) in the stored dtype, a copy."""
        rows = np.arange(len(self)) if rows is None else np.asarray(rows)
        shard = self.index["shard"].to_numpy()[rows]
        offset = self.index["offset"].to_numpy()[rows]
        if len(self.maps) == 1:
            return np.asarray(self.maps[0][offset])
        out = np.empty((len(shard), *self.info.image_shape), self.info.dtype)
        for number in np.unique(shard):
            here = shard == number
            out[here] = self.maps[number][offset[here]]
        return out

    def where(self, mask: pl.Expr | pl.Series) -> "Dataset":
        """Return the same folder with the rows that `mask` keeps."""
        return replace(self, index=self.index.filter(mask))

    def split(self, name: str) -> "Dataset":
        """Return the rows of one split; raises ValueError naming the splits there are."""
        if "split" not in self.index.columns:
            raise ValueError(f"{self.root}: the index has no column 'split'; prepare it with data.prepare.split=….")
        part = self.where(pl.col("split") == name)
        if not len(part):
            there = self.index["split"].unique().drop_nulls().sort().to_list()
            raise ValueError(f"{self.root}: no images in split {name!r}; there are {there}.")
        return part


def open_dataset(root: str | Path, verify: bool = True) -> Dataset:
    """Open a dataset folder; `verify` compares every file with its checksum.

    Raises FileNotFoundError or BrokenDataset naming the file: missing, half written, damaged, or outside the folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no dataset folder {root}: make it with prepare.py, or correct the path.")
    try:
        stored = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BrokenDataset(
            f"{root} has no dataset.json: it is no dataset folder, or was half written. Prepare it again."
        ) from None
    except ValueError as error:
        raise BrokenDataset(f"{root}/dataset.json cannot be read ({error}). Prepare the dataset again.") from error
    if not isinstance(stored, dict) or stored.get("format") != FORMAT or stored.get("version") != VERSION:
        raise BrokenDataset(f"{root}/dataset.json is not of format {FORMAT!r}, version {VERSION}.")
    try:
        fields = {name: stored[name] for name in ("name", "dtype", "pixel_size_um", "scaling", "provenance")}
        fields |= {name: stored.get(name) for name in ("licence", "citation")}  # folders of version 0.1 lack them
        info = DatasetInfo(channels=tuple(stored["channels"]), image_shape=tuple(stored["image_shape"]), **fields)
        for entry in (stored["index"], *stored["shards"]):
            _check_file(root, entry, verify)
        maps = tuple(_map(root, entry, info) for entry in stored["shards"])
        index_file = stored["index"]["file"]
    except (KeyError, TypeError, IndexError) as error:
        raise BrokenDataset(f"{root}/dataset.json lacks or garbles {error}. Prepare the dataset again.") from error
    index = _read_index(root / index_file)
    if index.height != sum(len(part) for part in maps):
        raise BrokenDataset(f"{root}: {index.height} rows in the index and {sum(map(len, maps))} images.")
    _check_places(root, index, maps)
    return Dataset(root, info, index.with_columns(schema.treatment(index)), maps)


def _read_index(path: Path) -> pl.DataFrame:
    try:
        table = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise BrokenDataset(f"{path} cannot be read ({error}). Prepare or copy the dataset again.") from error
    return schema.validate(table, str(path))


def _check_file(root: Path, entry: dict[str, Any], verify: bool) -> None:
    path = root / entry["file"]
    if not path.resolve().is_relative_to(root.resolve()):
        raise BrokenDataset(f"{root}/dataset.json names {entry['file']!r}, which lies outside the folder: refused.")
    if not path.is_file():
        raise BrokenDataset(f"{path} is missing. Prepare or copy the dataset again.")
    if path.stat().st_size != entry["bytes"]:
        raise BrokenDataset(f"{path} has {path.stat().st_size} bytes instead of {entry['bytes']}: copy it again.")
    if verify:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != entry["sha256"]:
            raise BrokenDataset(f"{path} is damaged: its SHA-256 is {digest[:12]}…, not {entry['sha256'][:12]}….")


def _map(root: Path, entry: dict[str, Any], info: DatasetInfo) -> np.ndarray:
    dtype = np.dtype(info.dtype).newbyteorder("<")
    shape = (entry["n_images"], *info.image_shape)
    if int(np.prod(shape)) * dtype.itemsize != entry["bytes"]:
        raise BrokenDataset(f"{root}/{entry['file']}: {entry['bytes']} bytes are not {shape} of {info.dtype}.")
    return np.memmap(root / entry["file"], dtype=dtype, mode="r", shape=shape)


def _check_places(root: Path, index: pl.DataFrame, maps: tuple[np.ndarray, ...]) -> None:
    if not {"shard", "offset"} <= set(index.columns):
        raise BrokenDataset(f"{root}: the index lacks 'shard' and 'offset', the places of the images.")
    length = np.array([len(part) for part in maps])
    shard, offset = index["shard"].to_numpy(), index["offset"].to_numpy()
    inside = (shard >= 0) & (shard < len(maps)) & (offset >= 0)
    inside &= offset < length[np.where(inside, shard, 0)]
    if not inside.all():
        raise BrokenDataset(f"{root}: row {int(np.flatnonzero(~inside)[0])} of the index points outside the images.")


class DatasetWriter:
    """Write a dataset folder as a context: everything goes to a hidden sibling folder, renamed at the end.

    Whatever goes wrong (a full disk, Ctrl-C, a bad row), the sibling is removed and what stood at `root` stays.
    """

    def __init__(
        self, root: str | Path, info: DatasetInfo, shard_bytes: int = 1 << 30, overwrite: bool = False
    ) -> None:
        self.root, self.info, self.overwrite = Path(root), info, overwrite
        self.folder = self.root.parent / f".{self.root.name}.partial-{os.getpid()}"
        self.image_bytes = int(np.prod(info.image_shape)) * np.dtype(info.dtype).itemsize
        self.shard_images = max(1, shard_bytes // self.image_bytes)
        self.tables: list[pl.DataFrame] = []
        self.shards: list[dict[str, Any]] = []
        self.file: IO[bytes] | None = None
        self.digest = hashlib.sha256()

    def __enter__(self) -> Self:
        if self.root.exists() and not self.overwrite:
            raise FileExistsError(
                f"{self.root} exists already: choose another folder, or overwrite=true to replace it."
            )
        if self.root.exists() and not (self.root / "dataset.json").is_file():  # a slip of the path must cost nothing
            raise FileExistsError(
                f"{self.root} is no dataset folder: overwrite=true replaces nothing else. Move it away."
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "images").mkdir(parents=True)
        return self

    def append(self, images: np.ndarray, rows: pl.DataFrame) -> None:
        """Add images (n, c, h, w) in the stored dtype, with their n rows of the index."""
        if len(images) != rows.height:
            raise ValueError(f"{len(images)} images came with {rows.height} rows.")
        if images.dtype != self.info.dtype or images.shape[1:] != self.info.image_shape:
            raise ValueError(
                f"images of {images.dtype} {images.shape[1:]} do not fit a dataset of {self.info.dtype} "
                f"{self.info.image_shape}."
            )
        bad = [] if images.dtype.kind != "f" else np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
        if len(bad):
            named = rows["image_id"].gather(bad[:5]).to_list()
            raise ValueError(f"{len(bad)} images hold values that are not finite, first {named}: nothing is repaired.")
        done = 0
        while done < len(images):
            file = self.file
            if file is None or self.shards[-1]["n_images"] == self.shard_images:
                file = self._next_shard()
            entry = self.shards[-1]
            part = images[done : done + self.shard_images - entry["n_images"]]
            data = np.ascontiguousarray(part, np.dtype(self.info.dtype).newbyteorder("<")).tobytes()
            file.write(data)
            self.digest.update(data)
            place = pl.int_range(entry["n_images"], entry["n_images"] + len(part), dtype=pl.Int64, eager=True)
            shard = pl.lit(len(self.shards) - 1, pl.Int32)
            self.tables.append(rows[done : done + len(part)].with_columns(shard=shard, offset=place))
            entry["n_images"] += len(part)
            entry["bytes"] += len(data)
            done += len(part)

    def preview(self) -> Dataset:
        """Return what has been appended so far as a dataset, to draw pictures of before the folder is renamed."""
        if self.file is not None:
            self.file.flush()
        index = self._index()
        maps = tuple(_map(self.folder, entry, self.info) for entry in self.shards)
        return Dataset(self.folder, self.info, index.with_columns(schema.treatment(index)), maps)

    def _index(self) -> pl.DataFrame:
        if not self.tables:
            raise schema.InvalidIndex(f"{self.root}: there are no images to write.")
        return schema.validate(pl.concat(self.tables, how="diagonal_relaxed"), str(self.root))

    def _next_shard(self) -> IO[bytes]:
        self._close_shard()
        name = f"images/{len(self.shards):05d}.bin"
        self.file = (self.folder / name).open("wb")
        self.digest = hashlib.sha256()
        self.shards.append({"file": name, "n_images": 0, "bytes": 0, "sha256": ""})
        return self.file

    def _close_shard(self) -> None:
        if self.file is not None:
            file, self.file = self.file, None
            with file:
                file.flush()
                os.fsync(file.fileno())
            self.shards[-1]["sha256"] = self.digest.hexdigest()

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: Any) -> None:
        try:
            if error is None:
                self._finish()
        except BaseException as late:
            self._discard()
            self._explain(late)
            raise
        if error is not None:
            self._discard()
            self._explain(error)

    def _explain(self, error: BaseException) -> None:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            what = os.strerror(error.errno)
            raise OSError(error.errno, f"writing {self.root} failed: {what}. Nothing was left behind.") from error

    def _discard(self) -> None:
        if self.file is not None:
            file, self.file = self.file, None
            with contextlib.suppress(OSError):  # the disk is full: what was buffered is being thrown away anyway
                file.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _finish(self) -> None:
        self._close_shard()
        index = schema.lower(self._index())
        buffer = io.BytesIO()  # polars' own writer would not say that the disk is full
        index.write_parquet(buffer)
        data = buffer.getvalue()
        entry = {"file": "index.parquet", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        head = {"format": FORMAT, "version": VERSION, "n_images": index.height}
        stored = {**head, **asdict(self.info), "index": entry, "shards": self.shards}
        _write(self.folder / "index.parquet", data)
        _write(self.folder / "dataset.json", json.dumps(stored, indent=1, ensure_ascii=False).encode())
        self._replace()

    def _replace(self) -> None:
        if not self.root.exists():
            os.rename(self.folder, self.root)
            return
        old = self.folder.with_name(f"{self.folder.name}-old")
        os.rename(self.root, old)
        try:
            os.rename(self.folder, self.root)
        except BaseException:
            os.rename(old, self.root)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_dataset(
    root: str | Path, info: DatasetInfo, images: np.ndarray, index: pl.DataFrame, overwrite: bool = False
) -> Path:
    """Write images and their index at once."""
    with DatasetWriter(root, info, overwrite=overwrite) as writer:
        writer.append(images, index)
    return Path(root)
