"""The dataset folder: an index and raw memory-mapped image arrays, written whole or not at all.

dataset.json    shape, dtype, channels, scaling, and a checksum of every other file; written last
index.parquet   one row an image; `shard` and `offset` say where its pixels lie
images/*.bin    raw little-endian (n, channels, height, width), in C order; after the first, controls have shards of
                their own, which can be kept at hand where the others stream by

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
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import polars as pl

from virtassay import schema
from virtassay.data.dataset.manifest import FORMAT, DatasetInfo, check_file, check_places, check_size, read_head
from virtassay.data.dataset.remote import RemoteShard, ShardCache, read_remote
from virtassay.data.dataset.rows import Rows
from virtassay.files import is_remote, replace_folder, write_bytes
from virtassay.schema import BrokenDataset

CACHE_BYTES = 50 << 30  # of the local disk, for shards of folders elsewhere
BLOCK_BYTES = 1 << 19  # gathered at once from one of several shards: it stays in the processor's cache
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what a full or failing disk raises


@dataclass(frozen=True)
class Dataset:
    """An open dataset folder, or some rows of one: its index (normal form, with `treatment`) and its pixels."""

    root: Path
    info: DatasetInfo
    rows: Rows
    maps: tuple[np.ndarray | RemoteShard, ...]  # one memory map a shard, (n, c, h, w)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def index(self) -> pl.DataFrame:
        """The index as a table, which is made when it is first read; `rows` reads single columns of it."""
        return self.rows.table

    def images(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Gather the images of `rows` (all by default): (n, c, h, w) in the stored dtype, a copy."""
        rows = np.arange(len(self)) if rows is None else np.asarray(rows)
        shard, offset = self.shard[rows], self.offset[rows]
        out = np.empty((len(shard), *self.info.image_shape), self.info.dtype)
        numbers = np.unique(shard)
        if (np.diff(shard) >= 0).all():  # as minibatches come: each shard's images go where they stay
            for number, start in zip(numbers, np.searchsorted(shard, numbers), strict=True):
                end = np.searchsorted(shard, number, side="right")
                _gather(self.maps[number], offset[start:end], out[start:end])
            return out
        block = max(1, BLOCK_BYTES // max(1, out[:1].nbytes))
        for number in numbers:
            own = np.flatnonzero(shard == number)
            for some in np.split(own, range(block, len(own), block)):
                out[some] = self.maps[number][offset[some]]
        return out

    @cached_property
    def shard(self) -> np.ndarray:
        """The number of the shard of each row, (n,)."""
        return self.rows.own["shard"].to_numpy()

    @cached_property
    def offset(self) -> np.ndarray:
        """The place of each row in its shard, (n,)."""
        return self.rows.own["offset"].to_numpy()

    def where(self, mask: pl.Expr | pl.Series) -> "Dataset":
        """Return the same folder with the rows that `mask` keeps."""
        return replace(self, rows=self.rows.where(mask))

    def split(self, name: str) -> "Dataset":
        """Return the rows of one split; raises ValueError naming the splits there are."""
        if "split" not in self.rows.columns:
            raise ValueError(f"{self.root}: the index has no column 'split'; prepare it with data.prepare.split=….")
        part = self.where(pl.col("split") == name)
        if not len(part):
            names = self.rows.shared["split"].unique().drop_nulls().sort().to_list()
            raise ValueError(f"{self.root}: no images in split {name!r}; there are {names}.")
        return part


def _gather(images: np.ndarray | RemoteShard, offset: np.ndarray, out: np.ndarray) -> None:
    if isinstance(images, np.ndarray):
        images.take(offset, axis=0, out=out, mode="clip")  # "raise" would go through a buffer; open_dataset has checked
    else:
        out[:] = images[offset]


def open_dataset(root: str | Path, verify: bool = True, cache_bytes: int = CACHE_BYTES) -> Dataset:
    """Open a dataset folder; `verify` compares every file with its checksum.

    A folder elsewhere (s3://…, https://…: whatever fsspec reads) is read as it is needed: `cache_bytes` of the local
    disk keep the shards that are fetched whole, verified in any case; other images are read one by one.
    Raises FileNotFoundError or BrokenDataset naming the file: missing, half written, damaged, or outside the folder.
    """
    head = read_head(root)
    try:
        fields = {name: head[name] for name in ("name", "dtype", "pixel_size_um", "scaling", "provenance")}
        fields |= {name: head.get(name) for name in ("licence", "citation")}  # folders of version 0.1 lack them
        info = DatasetInfo(channels=tuple(head["channels"]), image_shape=tuple(head["image_shape"]), **fields)
        for entry in head["shards"]:
            check_size(root, entry, info)
        if is_remote(root):
            cache, dtype = ShardCache(str(root), cache_bytes), np.dtype(info.dtype).newbyteorder("<")
            maps = tuple(RemoteShard(cache, entry, info.image_shape, dtype) for entry in head["shards"])
            table = read_remote(str(root), head["index"])
        else:
            for entry in (head["index"], *head["shards"]):
                check_file(Path(root), entry, verify)
            maps = tuple(_map(Path(root), entry, info) for entry in head["shards"])
            table = Path(root) / head["index"]["file"]
    except (KeyError, TypeError, IndexError) as error:
        raise BrokenDataset(f"{root}/dataset.json lacks or garbles {error}. Prepare the dataset again.") from error
    source = f"{root}/{head['index']['file']}"
    try:
        rows = Rows.read(table, source)
    except pl.exceptions.PolarsError as error:
        raise BrokenDataset(f"{source} cannot be read ({error}). Prepare or copy the dataset again.") from error
    if len(rows) != sum(len(part) for part in maps):
        raise BrokenDataset(f"{root}: {len(rows)} rows in the index and {sum(map(len, maps))} images.")
    check_places(root, rows.own, np.array([len(part) for part in maps]))
    return Dataset(Path(root), info, rows, maps)


def _map(root: Path, entry: dict[str, Any], info: DatasetInfo) -> np.ndarray:
    dtype = np.dtype(info.dtype).newbyteorder("<")
    return np.memmap(root / entry["file"], dtype=dtype, mode="r", shape=(entry["n_images"], *info.image_shape))


@dataclass
class _OpenShard:
    """A shard that is being written."""

    number: int
    file: IO[bytes]
    digest: Any


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
        self.open: dict[bool | None, _OpenShard] = {}  # of controls, of the treated, and (None) the first, of both

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
            names = rows["image_id"].gather(bad[:5]).to_list()
            raise ValueError(f"{len(bad)} images hold values that are not finite, first {names}: nothing is repaired.")
        shard, offset = np.empty(len(images), np.int32), np.empty(len(images), np.int64)
        control, place = _is_control(rows), np.arange(len(images))
        first = place < self.shard_images - (self.shards[0]["n_images"] if self.shards else 0)
        for kind, mask in ((None, first), (False, ~first & ~control), (True, ~first & control)):
            chosen = np.flatnonzero(mask)
            while len(chosen):
                number, start, n = self._write(images, chosen, kind)
                shard[chosen[:n]] = number
                offset[chosen[:n]] = np.arange(start, start + n)
                chosen = chosen[n:]
        self.tables.append(rows.with_columns(shard=pl.Series(shard), offset=pl.Series(offset)))

    def _write(self, images: np.ndarray, chosen: np.ndarray, kind: bool | None) -> tuple[int, int, int]:
        """Write what still fits the open shard; return the shard, where in it that begins, and how many images."""
        shard = self.open.get(kind)
        if shard is None or self.shards[shard.number]["n_images"] == self.shard_images:
            shard = self._next_shard(kind)
        entry = self.shards[shard.number]
        start = entry["n_images"]
        part = images[chosen[: self.shard_images - start]]
        data = np.ascontiguousarray(part, np.dtype(self.info.dtype).newbyteorder("<")).tobytes()
        shard.file.write(data)
        shard.digest.update(data)
        entry["n_images"] += len(part)
        entry["bytes"] += len(data)
        return shard.number, start, len(part)

    def preview(self) -> Dataset:
        """Return what has been appended so far as a dataset, to draw pictures of before the folder is renamed."""
        for shard in self.open.values():
            shard.file.flush()
        index = self._index()
        maps = tuple(_map(self.folder, entry, self.info) for entry in self.shards)
        return Dataset(self.folder, self.info, Rows.of(index.with_columns(schema.treatment(index))), maps)

    def _index(self) -> pl.DataFrame:
        if not self.tables:
            raise schema.InvalidIndex(f"{self.root}: there are no images to write.")
        return schema.validate(pl.concat(self.tables, how="diagonal_relaxed"), str(self.root))

    def _next_shard(self, kind: bool | None) -> _OpenShard:
        if kind in self.open:
            self._close_shard(self.open.pop(kind))
        number = len(self.shards)
        name = f"images/{number:05d}.bin"
        self.shards.append({"file": name, "n_images": 0, "bytes": 0, "sha256": ""})
        self.open[kind] = _OpenShard(number, (self.folder / name).open("wb"), hashlib.sha256())
        return self.open[kind]

    def _close_shard(self, shard: _OpenShard) -> None:
        with shard.file as file:
            file.flush()
            os.fsync(file.fileno())
        self.shards[shard.number]["sha256"] = shard.digest.hexdigest()

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: Any) -> None:
        try:
            if error is None:
                self._finish()
        except BaseException as late:
            self._discard(late)
            raise
        if error is not None:
            self._discard(error)

    def _discard(self, error: BaseException) -> None:
        for shard in self.open.values():
            with contextlib.suppress(OSError):  # the disk is full: what was buffered is being thrown away anyway
                shard.file.close()
        self.open.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            what = os.strerror(error.errno)
            raise OSError(error.errno, f"writing {self.root} failed: {what}. Nothing was left behind.") from error

    def _finish(self) -> None:
        for shard in self.open.values():
            self._close_shard(shard)
        index = schema.lower(self._index())
        buffer = io.BytesIO()  # polars' own writer would not say that the disk is full
        index.write_parquet(buffer)
        data = buffer.getvalue()
        entry = {"file": "index.parquet", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        stored = {**FORMAT, "n_images": index.height, **asdict(self.info), "index": entry, "shards": self.shards}
        write_bytes(self.folder / "index.parquet", data)
        write_bytes(self.folder / "dataset.json", json.dumps(stored, indent=1, ensure_ascii=False).encode())
        replace_folder(self.folder, self.root)


def _is_control(rows: pl.DataFrame) -> np.ndarray:
    """Say which rows are controls, (n,); none where that is not known, of which the index's check complains."""
    if "is_control" not in rows.columns or rows["is_control"].dtype != pl.Boolean:
        return np.zeros(rows.height, bool)
    return rows["is_control"].fill_null(False).to_numpy()


def write_dataset(
    root: str | Path, info: DatasetInfo, images: np.ndarray, index: pl.DataFrame, overwrite: bool = False
) -> Path:
    """Write images and their index at once."""
    with DatasetWriter(root, info, overwrite=overwrite) as writer:
        writer.append(images, index)
    return Path(root)
