"""Room on the disk, asked for before writing begins rather than found missing hours later."""

import errno
import shutil
from pathlib import Path


def require_space(folder: str | Path, needed: int, what: str) -> None:
    """Raise OSError(ENOSPC) unless the disk that `folder` lies on, or will lie on, has `needed` bytes free."""
    there = Path(folder).absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"{what} needs {in_words(needed)} in {folder}, and {there} has {in_words(free)} free: make room, or choose "
            "another folder. Nothing was written",
        )


def in_words(size: int) -> str:
    """Write a number of bytes as people do: 839 MB."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size / 1e3:.3g} kB"
