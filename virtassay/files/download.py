"""Files from the network, fetched once into a folder: with a checksum, resumed where they were cut."""

import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pooch
import requests
from tqdm.auto import tqdm

from virtassay.files.disk import lock, sha256

pooch.get_logger().setLevel(logging.WARNING)  # it would advise on its own arguments where a checksum is not known
TIMEOUT = (10, 60)  # seconds to connect, and seconds without a byte
BLOCK = 1 << 16
SUMS = "SHA256SUMS"  # of a folder that fetch_into has filled; `sha256sum -c SHA256SUMS` reads it too


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
        own = Path(path).expanduser()
        if not own.is_file():
            raise FileNotFoundError(f"there is no file {own}: correct the path, or put {file.url} there.")
        return _verified(own, file)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / file.name):
        return _fetched(file, folder)


def fetch_into(folder: str | Path, name: str, url: str) -> Path:
    """Return folder/name, downloaded from `url` unless it lies there: for files whose checksum nobody publishes.

    Trust on first use: the SHA-256 of what is downloaded is written into folder/SHA256SUMS, and whatever that table
    names is verified against it from then on. Put a table of your own there to have the first download verified too.
    Threads may call it at once; processes must not, in one folder. Raises as `fetch` does.
    """
    folder = Path(folder)
    known = _known(folder / SUMS).get(name)
    if known is None and (folder / name).is_file():
        return folder / name
    place = _fetched(RemoteFile(name, url, known or ""), folder)
    if known is None:
        with lock(folder / SUMS), (folder / SUMS).open("a", encoding="utf-8") as sums:
            sums.write(f"{sha256(place)}  {name}\n")
    return place


def _known(sums: Path) -> dict[str, str]:
    """Read lines of `SHA-256  name`, as sha256sum writes them."""
    if not sums.is_file():
        return {}
    lines = [line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines() if line.strip()]
    bad = [" ".join(line) for line in lines if len(line) != 2 or len(line[0]) != 64]
    if bad:
        raise ValueError(f"{sums}: {bad[:5]} is not of the form 'SHA-256  name', as sha256sum writes it.")
    return {name.lstrip("*").strip(): digest.lower() for digest, name in lines}


def _fetched(file: RemoteFile, folder: Path) -> Path:
    place, part = folder / file.name, folder / f"{file.name}.part"
    if place.is_file():
        return _verified(place, file)
    place.parent.mkdir(parents=True, exist_ok=True)
    resume: Any = partial(_resume, part=part)  # pooch's own type for it is another one's
    try:
        known = f"sha256:{file.sha256}" if file.sha256 else None
        pooch.retrieve(file.url, known, place.name, place.parent, downloader=resume)
    except requests.RequestException as error:
        raise FileNotFoundError(
            f"{file.name} is not in {folder} and could not be downloaded ({error}). Try again (what has come is "
            f"kept), or download {file.url} elsewhere and put it at {place}"
        ) from error
    except ValueError as error:  # pooch has thrown away what came
        raise ValueError(f"{file.url} is not the file expected: {error} Try again, or report it.") from error
    return place


def _verified(path: Path, file: RemoteFile) -> Path:
    digest = sha256(path)
    if digest != file.sha256:
        raise ValueError(
            f"{path} is refused: its SHA-256 is {digest}, that of {file.name} is {file.sha256}. Remove it, and it is "
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
            have = 0  # the server sends the whole file, whatever was requested
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        bar = tqdm(total=total, initial=have, desc=part.stem, unit="B", unit_scale=True, leave=False, disable=None)
        with part.open("ab" if have else "wb") as file, bar:
            for block in answer.iter_content(BLOCK):
                file.write(block)
                bar.update(len(block))
    if total is not None and _size(part) != total:
        raise requests.ConnectionError(f"{url} was cut after {_size(part)} of {total} bytes")


def size_at(url: str) -> int | None:
    """Return the bytes that the server says `url` has, or None where it does not say or cannot be reached."""
    try:
        answer = requests.head(url, headers={"Accept-Encoding": "identity"}, allow_redirects=True, timeout=TIMEOUT)
        answer.raise_for_status()
        return int(answer.headers["Content-Length"])
    except (requests.RequestException, KeyError, ValueError):
        return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
