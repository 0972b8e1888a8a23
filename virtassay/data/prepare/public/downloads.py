"""The files of a public set at its publisher: which are missing, how large they are, fetched and unpacked safely.

Archives of strangers are unpacked only where nothing in them could be written outside of the folder.
"""

import logging
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from xml.etree import ElementTree

import requests
from tqdm.auto import tqdm

from virtassay.files import fetch_into, in_words, lock, require_space, size_at, whole
from virtassay.files.download import TIMEOUT

log = logging.getLogger(__name__)
AT_ONCE = 4  # downloads


class UnsafeArchive(ValueError):
    """An archive that is refused, damaged, or would write outside of its folder; nothing of it was unpacked."""


@dataclass(frozen=True)
class PublishedFile:
    """One file of a set at its publisher; a zip file is unpacked where it lies.

    name: its path inside the set's folder. size: bytes, about, as the publisher or others say; the server's word goes
    before it. unpacked: bytes, about, of what a zip file holds.
    """

    name: str
    url: str
    size: int
    unpacked: int = 0


def missing(files: Sequence[PublishedFile], folder: Path) -> list[PublishedFile]:
    """Return the files that do not lie in `folder`."""
    return [file for file in files if not (folder / file.name).is_file()]


def report(files: Sequence[PublishedFile], folder: Path) -> None:
    """Log which files are missing in `folder` and how large they are; nothing is written.

    Sizes are the server's where it answers, and marked as published where it does not.
    """
    if not files:
        log.info("nothing is missing in %s", folder)
        return
    first = size_at(files[0].url)  # one that does not answer is not asked again for each file
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rest = pool.map(size_at, [file.url for file in files[1:]]) if first is not None else [None] * (len(files) - 1)
        sizes = [first, *rest]
    log.info("missing in %s:", folder)
    total = 0
    for file, size in zip(files, sizes, strict=True):
        downloaded = (folder / file.name).is_file()
        total += 0 if downloaded else size or file.size
        said = in_words(size) if size else f"about {in_words(file.size)}, published"
        how = "here, to be unpacked" if downloaded else said
        log.info("  %s (%s) from %s", file.name, how, file.url)
    unpacked = sum(file.unpacked for file in files)
    more = f", and about {in_words(unpacked)} when unpacked" if unpacked else ""
    log.info("%d files, %s to download%s", len(files), in_words(total), more)


def obtain(files: Sequence[PublishedFile], folder: Path) -> None:
    """Download the files into `folder` and unpack those that are zip files; what is there already is only verified.

    Raises OSError(ENOSPC) before anything is written if the disk has no room, and as `fetch_into` and `unpack` do.
    """
    if not files:
        return
    coming = sum(file.size for file in missing(files, folder))
    require_space(folder, coming + sum(file.unpacked for file in files), f"downloading {len(files)} files")
    log.info("downloading %d files, about %s, into %s", len(files), in_words(coming), folder)
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder), ThreadPoolExecutor(AT_ONCE) as pool:
        for place in pool.map(lambda file: fetch_into(folder, file.name, file.url), files):
            if place.suffix == ".zip":
                unpack(place, place.parent)
    log.info("their SHA-256 is in %s/SHA256SUMS: none is published, so that the first download is trusted", folder)


def list_bucket(address: str, prefix: str) -> Iterator[tuple[str, int]]:
    """Yield the key and the bytes of every object of a public S3 bucket under `prefix`, listed without an account.

    A thousand a request (ListObjectsV2). Raises FileNotFoundError where the bucket does not answer or holds none.
    """
    token, n_objects = "", 0
    while True:
        query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
        try:
            answer = requests.get(f"{address}/", params=query, timeout=TIMEOUT)
            answer.raise_for_status()
            page = ElementTree.fromstring(answer.content)
        except (requests.RequestException, ElementTree.ParseError) as error:
            raise FileNotFoundError(f"{address} could not be listed under {prefix} ({error}). Try again.") from error
        for entry in page.iterfind("{*}Contents"):
            n_objects += 1
            yield entry.findtext("{*}Key", ""), int(entry.findtext("{*}Size", "0"))
        token = page.findtext("{*}NextContinuationToken", "")
        if not token:
            break
    if not n_objects:
        raise FileNotFoundError(f"{address} has nothing under {prefix}: correct the names of batch and plate.")


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpack a zip file into `folder`; files that are there already, of the same size, are left as they are.

    So that what was cut goes on. Each file is written whole or not at all, and its CRC is checked.
    Raises UnsafeArchive naming the members with absolute paths, paths that climb out, or links; UnsafeArchive if the
    file is damaged; OSError(ENOSPC) before anything is written if the disk has no room.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            unsafe = [member.filename for member in members if not _is_safe(member)]
            if unsafe:
                raise UnsafeArchive(
                    f"{archive} is refused: {len(unsafe)} of its {len(members)} files would be written outside of "
                    f"{folder}, or are links: {unsafe[:5]}. Nothing was unpacked; fetch it again from its publisher."
                )
            lacking = [member for member in members if _size(folder / member.filename) != member.file_size]
            require_space(folder, sum(member.file_size for member in lacking), f"unpacking {archive.name}")
            for member in tqdm(lacking, desc=f"unpacking {archive.name}", unit=" files", leave=False, disable=None):
                place = folder / member.filename
                place.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as packed, whole(place) as partial, partial.open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UnsafeArchive(f"{archive} cannot be unpacked ({error}): remove it, and fetch it again.") from error
    log.info("unpacked %d files of %s; the archive itself is no longer needed", len(lacking), archive)


def _is_safe(member: zipfile.ZipInfo) -> bool:
    posix, windows = PurePosixPath(member.filename), PureWindowsPath(member.filename)
    absolute = posix.is_absolute() or bool(windows.drive) or bool(windows.root)
    link = stat.S_ISLNK(member.external_attr >> 16)
    return not (absolute or link or ".." in (*posix.parts, *windows.parts))


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
