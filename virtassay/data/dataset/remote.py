"""Dataset folders elsewhere: files of an object store or a web server, and a bounded cache of shards on this disk.

Addresses are those of fsspec: s3://bucket/folder, gs://…, https://…; s3:// needs the package s3fs, gs:// gcsfs.
"""

import contextlib
import hashlib
import os
import posixpath
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from virtassay.files import cache_folder, lock
from virtassay.schema import BrokenDataset

BLOCK = 8 << 20  # bytes that are read at once
STALE_SECONDS = 3600  # a part that was not written to for so long was left by a process that was killed


def read_remote(root: str, entry: dict[str, Any] | None = None) -> bytes:
    """Read a whole file that dataset.json names in `entry`, verified; dataset.json itself by default.

    Raises FileNotFoundError for dataset.json, and BrokenDataset naming the file for others.
    """
    if entry is None:
        file_system, path = fsspec.core.url_to_fs(root)
        return file_system.cat_file(posixpath.join(path, "dataset.json"))
    file_system, path = _locate(root, entry["file"])
    try:
        data = file_system.cat_file(path)
    except OSError as error:
        raise _unreadable(root, entry["file"], error) from error
    verify(f"{root}/{entry['file']}", entry, len(data), hashlib.sha256(data).hexdigest())
    return data


@dataclass(frozen=True)
class ShardCache:
    """Shards of folders elsewhere on the local disk, at most `limit_bytes` of them: the least recently used go first.

    They lie in shards/ of the cache folder under their SHA-256, for all processes of a machine together.
    """

    root: str
    limit_bytes: int
    folder: Path = field(default_factory=lambda: cache_folder() / "shards")

    def place(self, entry: dict[str, Any]) -> Path:
        """Return where a shard lies, or would lie."""
        return self.folder / f"{entry['sha256']}.bin"

    def fetch(self, entry: dict[str, Any]) -> Path:
        """Return where a shard lies, fetched and verified if need be. Raises BrokenDataset naming the file."""
        place = self.place(entry)
        self.folder.mkdir(parents=True, exist_ok=True)
        with lock(place):  # whoever needs the same shard waits for it
            if place.exists():
                os.utime(place)
                return place
            part = place.with_suffix(".part")
            self._reserve(part, entry)
            try:
                self._copy(entry, part)
                os.replace(part, place)
            finally:
                part.unlink(missing_ok=True)
        return place

    def _reserve(self, part: Path, entry: dict[str, Any]) -> None:
        """Remove what was used least recently until the shard fits, and claim its room."""
        if entry["bytes"] > self.limit_bytes:
            raise ValueError(f"{self.root}/{entry['file']} has {entry['bytes']:,} bytes: loader.cache_gib is less.")
        with lock(self.folder):
            parts = _sizes_and_times(self.folder, "part")  # first: what ends meanwhile counts twice, not never
            files = _sizes_and_times(self.folder, "bin")
            parts.pop(part, None)
            used = sum(size for size, _ in [*parts.values(), *files.values()])
            stale = time.time() - STALE_SECONDS
            files |= {path: (size, used_at) for path, (size, used_at) in parts.items() if used_at < stale}
            for path, (size, _) in sorted(files.items(), key=lambda item: item[1][1]):
                if used + entry["bytes"] <= self.limit_bytes:
                    break
                path.unlink(missing_ok=True)
                used -= size
            with part.open("wb") as file:
                file.truncate(entry["bytes"])

    def _copy(self, entry: dict[str, Any], part: Path) -> None:
        digest, size = hashlib.sha256(), 0
        with part.open("r+b") as file:
            for block in _blocks(self.root, entry["file"]):
                digest.update(block)
                file.write(block)
                size += len(block)
        verify(f"{self.root}/{entry['file']}", entry, size, digest.hexdigest())


@dataclass(eq=False)
class RemoteShard:
    """One shard of a folder elsewhere, read like an array of images: from the local disk while `local` maps it there,
    else image by image, by byte ranges."""

    cache: ShardCache
    entry: dict[str, Any]
    image_shape: tuple[int, ...]
    dtype: np.dtype
    local: np.ndarray | None = None

    def __len__(self) -> int:
        return self.entry["n_images"]

    def __getitem__(self, offset: np.ndarray) -> np.ndarray:
        if self.local is not None:
            return self.local[offset]
        size = int(np.prod(self.image_shape)) * self.dtype.itemsize
        different, place = np.unique(offset, return_inverse=True)
        file_system, path = _locate(self.cache.root, self.entry["file"])
        starts = (different * size).tolist()
        try:
            ends = [start + size for start in starts]
            parts = file_system.cat_ranges([path] * len(starts), starts, ends, on_error="raise")
        except OSError as error:
            raise _unreadable(self.cache.root, self.entry["file"], error) from error
        if any(len(part) != size for part in parts):
            raise BrokenDataset(
                f"{self.cache.root}/{self.entry['file']} did not send the {size} bytes of an image that were "
                "requested: it is cut short, or its server knows no byte ranges. Copy the folder to the local disk."
            )
        images = np.frombuffer(b"".join(parts), self.dtype).reshape(-1, *self.image_shape)
        return images[place]

    def hold(self) -> None:
        """Bring the shard to the local disk, verified, and read it from there."""
        place = self.cache.fetch(self.entry)
        if self.local is None:
            self.local = np.memmap(place, dtype=self.dtype, mode="r", shape=(len(self), *self.image_shape))

    def release(self) -> None:
        """Let go of the local copy, which the cache may then remove."""
        self.local = None


def _blocks(root: str, name: str) -> Iterator[bytes]:
    """Read a file from its beginning to its end. Raises BrokenDataset naming it."""
    file_system, path = _locate(root, name)
    try:
        with file_system.open(path, "rb", block_size=BLOCK) as source:
            while block := source.read(BLOCK):
                yield block
    except OSError as error:
        raise _unreadable(root, name, error) from error


def _locate(root: str, name: str) -> tuple[Any, str]:
    """Return the file system of a folder (made anew in each process) and the path of a file in it.

    Raises BrokenDataset where the name leads out of the folder.
    """
    if posixpath.isabs(name) or ".." in name.split("/") or "://" in name:
        raise BrokenDataset(f"{root}/dataset.json names {name!r}, which lies outside the folder: refused.")
    file_system, path = fsspec.core.url_to_fs(root)
    return file_system, posixpath.join(path, name)


def _sizes_and_times(folder: Path, suffix: str) -> dict[Path, tuple[int, float]]:
    """Return the size and the time of last use of each file of a kind; files may go while we look."""
    files = {}
    for path in folder.glob(f"*.{suffix}"):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            files[path] = stat.st_size, stat.st_mtime
    return files


def verify(path: str | Path, entry: dict[str, Any], size: int, digest: str) -> None:
    """Raise BrokenDataset unless a file has the size and the SHA-256 that `entry` of dataset.json gives."""
    if size != entry["bytes"]:
        raise BrokenDataset(f"{path} has {size} bytes instead of {entry['bytes']}: copy it again.")
    if digest != entry["sha256"]:
        raise BrokenDataset(f"{path} is damaged: its SHA-256 is {digest[:12]}…, not {entry['sha256'][:12]}….")


def _unreadable(root: str, name: str, error: OSError) -> BrokenDataset:
    what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
    return BrokenDataset(f"{root}/{name} {what}. Copy the dataset there again, or correct the address.")
