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
            f"{what} needs {_bytes(needed)} in {folder}, and {there} has {_bytes(free)} free: make room, or choose "
            "another folder. Nothing was written",
        )


def _bytes(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"
