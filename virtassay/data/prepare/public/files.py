"""What a public set consists of: the files at its publisher, which of them are missing here, and how they are got."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from virtassay.data.prepare.public.archives import unpack
from virtassay.data.prepare.sources import UnreadableImage
from virtassay.files import fetch_into, in_words, lock, require_space, size_at
from virtassay.schema import InvalidIndex

log = logging.getLogger(__name__)
AT_ONCE = 4  # downloads


@dataclass(frozen=True)
class Part:
    """One file of a set at its publisher; a zip file is unpacked where it lies.

    name: its path inside the set's folder. size: bytes, about, as the publisher or others say; the server's word goes
    before it. unpacked: bytes, about, of what a zip file holds.
    """

    name: str
    url: str
    size: int
    unpacked: int = 0


def missing(parts: Sequence[Part], folder: Path) -> list[Part]:
    """Return the parts that do not lie in `folder`."""
    return [part for part in parts if not (folder / part.name).is_file()]


def report(parts: Sequence[Part], folder: Path) -> None:
    """Log which parts are missing in `folder` and how large they are; nothing is written.

    Sizes are the server's where it answers, and marked as published where it does not.
    """
    if not parts:
        log.info("nothing is missing in %s", folder)
        return
    asked = size_at(parts[0].url)  # one that does not answer is not asked again for each file
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rest = pool.map(size_at, [part.url for part in parts[1:]]) if asked is not None else [None] * (len(parts) - 1)
        sizes = [asked, *rest]
    log.info("missing in %s:", folder)
    total = 0
    for part, size in zip(parts, sizes, strict=True):
        there = (folder / part.name).is_file()
        total += 0 if there else size or part.size
        how = "here, to be unpacked" if there else in_words(size) if size else f"about {in_words(part.size)}, published"
        log.info("  %s (%s) from %s", part.name, how, part.url)
    unpacked = sum(part.unpacked for part in parts)
    log.info("%d files, %s to download%s", len(parts), in_words(total), _more(unpacked))


def obtain(parts: Sequence[Part], folder: Path) -> None:
    """Download the parts into `folder` and unpack those that are zip files; what is there already is only verified.

    Raises OSError(ENOSPC) before anything is written if the disk has no room, and as `fetch_into` and `unpack` do.
    """
    if not parts:
        return
    coming = sum(part.size for part in missing(parts, folder))
    require_space(folder, coming + sum(part.unpacked for part in parts), f"downloading {len(parts)} files")
    log.info("downloading %d files, about %s, into %s", len(parts), in_words(coming), folder)
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder), ThreadPoolExecutor(AT_ONCE) as pool:
        for place in pool.map(lambda part: fetch_into(folder, part.name, part.url), parts):
            if place.suffix == ".zip":
                unpack(place, place.parent)
    log.info("their SHA-256 is in %s/SHA256SUMS: none is published, so that the first download is trusted", folder)


def require_tables(parts: Sequence[Part], folder: Path, what: str) -> None:
    """Raise FileNotFoundError naming the tables that are not in `folder`, and what to do."""
    absent = missing(parts, folder)
    if absent:
        raise FileNotFoundError(
            f"{folder} has no {', '.join(part.name for part in absent)}: is it the folder of {what}? Name it by "
            f"paths.data=…, or give download=true, which fetches {absent[0].url} … (dry_run=true says how much)."
        )


def require_columns(table: pl.DataFrame, columns: Sequence[str], path: Path, what: str) -> None:
    """Raise InvalidIndex naming the columns that a table of the set lacks."""
    absent = [name for name in columns if name not in table.columns]
    if absent:
        raise InvalidIndex(f"{path}: column(s) {absent} are missing: is this {what}? It has {table.columns}.")


def absent_files(folder: Path, paths: pl.Series) -> pl.Series:
    """Say which paths, relative to `folder`, are no files there; each of their folders is listed once."""
    split = pl.DataFrame({"path": paths}).with_columns(
        parent=pl.col("path").str.extract(r"^(.*)/[^/]*$").fill_null(""),
        name=pl.col("path").str.extract(r"([^/]*)$"),
    )
    there = [
        pl.DataFrame(
            {"name": [entry.name for entry in (folder / parent).iterdir()]}, schema={"name": pl.String}
        ).with_columns(parent=pl.lit(parent))
        for parent in split["parent"].unique().to_list()
        if (folder / parent).is_dir()
    ]
    if not there:
        return pl.repeat(True, split.height, eager=True)
    listed = pl.concat(there).with_columns(there=True)
    found = split.join(listed, on=["parent", "name"], how="left", maintain_order="left")
    return found["there"].is_null()


def require_images(folder: Path, needed: pl.DataFrame, on_error: str) -> None:
    """Raise UnreadableImage counting the images of `needed` (plate, path) that are not there, by plate.

    With on_error="skip" they are only warned of: `prepare_table` lists each.
    """
    absent = needed.filter(absent_files(folder, needed["path"]))
    if not absent.height:
        return
    counts = absent.group_by("plate", maintain_order=True).len()
    shown = ", ".join(f"{plate} ({n} files)" for plate, n in counts.head(5).iter_rows())
    message = (
        f"{folder} lacks {absent.height} of the {needed.height} image files that the table names, in {counts.height} "
        f"of {needed['plate'].n_unique()} plates: {shown}{', …' if counts.height > 5 else ''}; the first are "
        f"{absent['path'].head(5).to_list()}."
    )
    if on_error == "raise":
        raise UnreadableImage(
            f"{message} download=true fetches them, keep={{plate: [...]}} prepares only the plates you name, and "
            "on_error=skip leaves such images out and lists them."
        )
    log.warning(message)


def _more(unpacked: int) -> str:
    return f", and about {in_words(unpacked)} when unpacked" if unpacked else ""
