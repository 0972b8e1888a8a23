"""Files and folders on the local disk: written whole or not at all, locked, and not begun without room for them."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write a file to; renamed to `path` once its bytes are on the disk.

    So nobody reads half of a file. Where the block raises, `path` stays as it was and the temporary file is removed.
    """
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")  # process ids repeat on other machines
    try:
        yield partial
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a whole file and return its path. Raises OSError, with nothing half written left."""
    with whole(path) as partial:
        partial.write_bytes(data)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a whole file of UTF-8 text and return its path. Raises OSError, with nothing half written left."""
    return write_bytes(path, text.encode())


def replace_folder(folder: Path, path: Path) -> None:
    """Rename a finished `folder` to `path`, in place of a folder that stands there, which stays where that fails."""
    if not path.exists():
        os.rename(folder, path)
        return
    old = folder.with_name(f"{folder.name}-old")
    os.rename(path, old)
    try:
        os.rename(folder, path)
    except BaseException:
        os.rename(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def lock(path: Path) -> FileLock:
    """Return the lock of a folder, or of a file that is there or will be; held as a context, by one process at a time.

    It is a file itself: .lock in the folder, NAME.lock beside the file.
    """
    return FileLock(path / ".lock" if path.is_dir() else path.with_name(f"{path.name}.lock"))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_space(folder: str | Path, needed: int, what: str) -> None:
    """Raise OSError(ENOSPC) unless the disk that `folder` lies on, or will lie on, has `needed` bytes free."""
    existing = Path(folder).absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"{what} needs {in_words(needed)} in {folder}, and {existing} has {in_words(free)} free: make room, or "
            "choose another folder. Nothing was written",
        )


def in_words(size: int) -> str:
    """Write a number of bytes as people do: 839 MB."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size / 1e3:.3g} kB"
