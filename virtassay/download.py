"""Files from the network, fetched once into a cache folder: with a checksum, resumed where they were cut."""

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pooch
import requests
from filelock import FileLock
from tqdm.auto import tqdm

TIMEOUT = (10, 60)  # seconds to connect, and seconds without a byte
BLOCK = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A file that never changes: its name in the cache, its address, the SHA-256 of its bytes (64 hex digits)."""

    name: str
    url: str
    sha256: str


def cache_folder() -> Path:
    """Return the folder of downloads: $VIRTASSAY_CACHE, or the user's cache folder of the operating system."""
    return Path(os.environ.get("VIRTASSAY_CACHE") or pooch.os_cache("virtassay"))


def fetch(file: RemoteFile, path: str | Path | None = None) -> Path:
    """Return where `file` lies, checksum verified: at the `path` given, or in the cache, downloaded if need be.

    A download that is cut goes on as long as each attempt brings something, and what has come is kept in NAME.part for
    the next call. Processes that ask for the same file wait for one another.
    Raises FileNotFoundError, saying what to put where, if there is no such file and it cannot be downloaded; ValueError
    with both checksums if its bytes are not those expected.
    """
    if path is not None:
        given = Path(path).expanduser()
        if not given.is_file():
            raise FileNotFoundError(f"there is no file {given}: correct the path, or put {file.url} there.")
        return _verified(given, file)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    place, part = folder / file.name, folder / f"{file.name}.part"
    resume: Any = partial(_resume, part=part)  # pooch's own type for it is another one's
    with FileLock(folder / f"{file.name}.lock"):
        if place.is_file():
            return _verified(place, file)
        try:
            pooch.retrieve(file.url, f"sha256:{file.sha256}", file.name, folder, downloader=resume)
        except requests.RequestException as error:
            raise FileNotFoundError(
                f"{file.name} is not in the cache and could not be downloaded ({error}). Try again (what has come is "
                f"kept), or download {file.url} elsewhere and put it at {place}"
            ) from error
        except ValueError as error:  # pooch has thrown away what came
            raise ValueError(f"{file.url} is not the file expected: {error} Try again, or report it.") from error
    return place


def _verified(path: Path, file: RemoteFile) -> Path:
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != file.sha256:
        raise ValueError(
            f"{path} is refused: its SHA-256 is {found}, that of {file.name} is {file.sha256}. Remove it, and it is "
            f"downloaded again from {file.url}"
        )
    return path


def _resume(url: str, output_file: Any, _: Any, *, part: Path) -> None:
    """Download into `part`, going on where it ends, and move it to `output_file` (a downloader as pooch calls it)."""
    while True:
        before = _size(part)
        try:
            _go_on(url, part)
            break
        except requests.HTTPError:
            raise
        except requests.RequestException:
            if _size(part) <= before:
                raise
    os.replace(part, output_file)


def _go_on(url: str, part: Path) -> None:
    have = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            return  # nothing is left to send; whether it is right is for the checksum to say
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            have = 0  # the server sends the whole file, whatever it was asked for
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(total=total, initial=have, desc=part.stem, unit="B", unit_scale=True, disable=None) as bar,
        ):
            for block in answer.iter_content(BLOCK):
                file.write(block)
                bar.update(len(block))
    if total is not None and _size(part) != total:
        raise requests.ConnectionError(f"{url} was cut after {_size(part)} of {total} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
