"""Whole files: written under a temporary name beside their place and renamed: nobody ever reads half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; renamed to `path` at the end, removed where the block raises."""
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")  # process ids repeat on other machines
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a whole file of UTF-8 text and return its path."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path
