"""Whether a table and the image files beside it fit, found out before hours of reading."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl
import tifffile

from virtassay.data.prepare.reader import scalars
from virtassay.data.prepare.sources import ImageSource, UnreadableImage
from virtassay.schema import InvalidIndex, some

TIFF = (".tif", ".tiff")


@runtime_checkable
class FileSource(Protocol):
    """An image source of files: `files` names those of one row, below `folder`."""

    @property
    def folder(self) -> str: ...
    def files(self, row: dict[str, Any]) -> Sequence[str]: ...


def take_inventory(
    images: ImageSource, index: pl.DataFrame, *, everything: bool, skip: bool, pixel_size_um: float | None
) -> list[str]:
    """Return the image files in the source's folder that no row names (none unless the index is `everything`).

    Raises UnreadableImage where files are missing (unless they shall be skipped), InvalidIndex where two rows name one
    file or, with no pixel size given, TIFFs of different plates have different ones. Sources of other kinds have none.
    """
    if not isinstance(images, FileSource):
        return []
    folder = Path(images.folder)
    present = set(_walk(folder))
    named: dict[str, str] = {}
    missing: list[str] = []
    twice: list[str] = []
    sample: dict[str, Path] = {}
    for row in scalars(index):
        for name in dict.fromkeys(os.path.normpath(file) for file in images.files(row)):
            if name in named:
                twice.append(f"{named[name]} and {row['image_id']} ({name})")
            named[name] = row["image_id"]
            if name not in present and not (folder / name).is_file():  # a path that climbs or is absolute may be there
                missing.append(f"{name} is missing ({row['image_id']}, plate {row['plate']}, well {row['well']})")
            elif row["plate"] not in sample and Path(name).suffix.lower() in TIFF:
                sample[row["plate"]] = folder / name
    if twice:
        raise InvalidIndex(
            f"{len(twice)} file(s) are named by more than one row: {some(twice)}. Give each image one row, or a "
            "pattern that tells them apart."
        )
    endings = {Path(name).suffix for name in named}
    unlisted = sorted(name for name in present - named.keys() if Path(name).suffix in endings) if everything else []
    if missing and not skip:
        spare = f" {len(unlisted)} file(s) there are named by no row: {some(unlisted)}." if unlisted else ""
        raise UnreadableImage(
            f"{len(missing)} of {len(named)} image files cannot be found in {folder}: {some(missing)}.{spare} "
            "Correct the table, pattern or folder. on_error=skip leaves such images out and lists them."
        )
    if pixel_size_um is None:
        _check_pixel_sizes(sample)
    return unlisted


def _walk(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder, followlinks=True):
        below = os.path.relpath(parent, folder)
        yield from (name if below == "." else f"{below}/{name}" for name in names)


def _check_pixel_sizes(sample: dict[str, Path]) -> None:
    """Compare what one TIFF of each plate says of its pixels; those that say nothing do not count."""
    sizes = {path: size for path in sample.values() if (size := _resolution(path)) is not None}
    if not sizes:
        return
    common, _ = Counter(sizes.values()).most_common(1)[0]
    odd = [path for path, size in sizes.items() if not math.isclose(size, common, rel_tol=0.01)]
    if odd:
        like = next(path for path, size in sizes.items() if size == common)
        raise InvalidIndex(
            f"pixel sizes are mixed: {some([f'{path} has {sizes[path]:.4g} µm' for path in odd])}, where {like} has "
            f"{common:.4g} µm, by their TIFF tags. Prepare them apart, at one size; if the tags are wrong, give "
            "pixel_size_um."
        )


def _resolution(path: Path) -> float | None:
    """Read the pixel size in µm from the tags of a TIFF; None where there is none."""
    try:
        with tifffile.TiffFile(path) as file:
            tags = file.pages.first.tags
            if "XResolution" not in tags or "ResolutionUnit" not in tags:
                return None
            count, unit = tags["XResolution"].value, int(tags["ResolutionUnit"].value)
    except Exception:  # whatever is wrong with it is said when it is read
        return None
    per = {2: 25_400.0, 3: 10_000.0}.get(unit)  # inch, centimetre
    return None if per is None or not count[0] else per * count[1] / count[0]
