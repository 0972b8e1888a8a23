"""A public set: which files its publisher gives out, how its official table becomes rows, and who is to be cited."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from virtassay.data.prepare.annotation import Annotation
from virtassay.data.prepare.fields.cells import CellCrops
from virtassay.data.prepare.public.downloads import PublishedFile, missing, obtain, report
from virtassay.data.prepare.scaling import Scaling
from virtassay.data.prepare.sources import ImageSource, UnreadableImage
from virtassay.data.prepare.splits import Split
from virtassay.data.prepare.table import prepare_table
from virtassay.schema import InvalidIndex, some

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OfficialScreen:
    """A public set as `prepare_table` takes it: a table with a row an image, how to read it, and where the images lie.

    needed: the folder of the images, and `plate` and `path` in it of each file that must be there; None where `read`
    has looked. pixel_size_um: as published, where it is.
    """

    table: pl.DataFrame
    annotation: Annotation
    images: ImageSource
    channels: Sequence[str]
    licence: str
    citation: str
    needed: tuple[Path, pl.DataFrame] | None = None
    pixel_size_um: float | None = None


class PublicSet(Protocol):
    """What is in `folder`, of the rows that `keep` names: {column of the official table: values}.

    `missing_files` yields the files to fetch, in steps: each may need the tables that the one before it has brought.
    `read` raises FileNotFoundError, InvalidIndex and UnreadableImage naming tables, columns and plates.
    """

    def missing_files(self, folder: Path, keep: Mapping[str, Sequence[Any]]) -> Iterator[list[PublishedFile]]: ...

    def read(self, folder: Path, keep: Mapping[str, Sequence[Any]], on_error: str) -> OfficialScreen: ...


def prepare_public(
    public_set: PublicSet,
    *,
    root: str | Path,
    folder: str | Path,
    scaling: Scaling | None,
    split: Split,
    keep: Mapping[str, Sequence[Any]] | None = None,
    crop: int | None = None,
    size: int | None = None,
    pixel_size_um: float | None = None,
    cells: CellCrops | None = None,
    accept: Sequence[str] = (),
    download: bool = False,
    dry_run: bool = False,
    on_error: str = "raise",
    overwrite: bool = False,
) -> Path | None:
    """Write the dataset folder `root` of a public set whose files lie in `folder`; None after a dry run.

    keep: {column of the official table: values} of the rows to prepare, and of their files to fetch. download: fetch
    what is missing; dry_run: log what that is and how large, and write nothing. scaling, split, crop, size,
    pixel_size_um (by default as published), cells, accept, on_error: as in `table.prepare_table`.
    Raises FileNotFoundError, InvalidIndex, LeakFound and UnreadableImage naming tables, columns and plates.
    """
    folder, keep = Path(folder), keep or {}
    steps = public_set.missing_files(folder, keep)
    if dry_run:
        report([file for files in steps for file in files], folder)
        return None
    if download:
        for files in steps:
            obtain(files, folder)
    screen = public_set.read(folder, keep, on_error)
    if screen.needed is not None:
        require_images(*screen.needed, on_error)
    return prepare_table(
        root=root,
        table=screen.table,
        images=screen.images,
        channels=screen.channels,
        scaling=scaling,
        split=split,
        columns=screen.annotation.columns,
        constants=screen.annotation.constants,
        keep=screen.annotation.keep,
        controls=screen.annotation.controls,
        crop=crop,
        size=size,
        cells=cells,
        pixel_size_um=screen.pixel_size_um if pixel_size_um is None else pixel_size_um,
        licence=screen.licence,
        citation=screen.citation,
        accept=accept,
        on_error=on_error,
        overwrite=overwrite,
    )


def require_tables(files: Sequence[PublishedFile], folder: Path, what: str) -> None:
    """Raise FileNotFoundError naming the tables that are not in `folder`, and what to do."""
    absent = missing(files, folder)
    if absent:
        raise FileNotFoundError(
            f"{folder} has no {', '.join(file.name for file in absent)}: is it the folder of {what}? Name it by "
            f"paths.data=…, or give download=true, which fetches {absent[0].url} … (dry_run=true says how much)."
        )


def require_columns(table: pl.DataFrame, columns: Sequence[str], path: Path, what: str) -> None:
    """Raise InvalidIndex naming the columns that a table of the set lacks."""
    absent = [name for name in columns if name not in table.columns]
    if absent:
        raise InvalidIndex(f"{path}: column(s) {absent} are missing: is this {what}? It has {table.columns}.")


def absent_files(folder: Path, paths: pl.Series) -> pl.Series:
    """Say which paths, relative to `folder`, are no files there; each of their folders is listed once."""
    parents = paths.str.extract(r"^(.*/)[^/]*$").fill_null("").unique().to_list()
    folders = [(parent, folder / parent) for parent in parents if (folder / parent).is_dir()]
    present = [f"{parent}{entry.name}" for parent, place in folders for entry in place.iterdir()]
    return ~paths.is_in(pl.Series(present, dtype=pl.String).implode()).fill_null(False)


def require_images(folder: Path, needed: pl.DataFrame, on_error: str) -> None:
    """Raise UnreadableImage counting the images of `needed` (plate, path) that are not there, by plate.

    With on_error="skip" they are only warned of: `prepare_table` lists each.
    """
    absent = needed.filter(absent_files(folder, needed["path"]))
    if not absent.height:
        return
    counts = absent.group_by("plate", maintain_order=True).len()
    shown = some([f"{plate} ({n} files)" for plate, n in counts.iter_rows()])
    message = (
        f"{folder} lacks {absent.height} of the {needed.height} image files that the table names, in {counts.height} "
        f"of {needed['plate'].n_unique()} plates: {shown}; the first are "
        f"{absent['path'].head(5).to_list()}."
    )
    if on_error == "raise":
        raise UnreadableImage(
            f"{message} download=true fetches them, keep={{plate: [...]}} prepares only the plates you name, and "
            "on_error=skip leaves such images out and lists them."
        )
    log.warning(message)
