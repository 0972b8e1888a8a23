"""Anybody's screen → a dataset folder: a table that says what was done to each image, and the images."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from virtassay.data.dataset.store import Dataset, DatasetInfo, DatasetWriter
from virtassay.data.prepare import leaks
from virtassay.data.prepare.annotation import Annotation, load_table, make_index, one_pixel_size
from virtassay.data.prepare.fields.cells import CellCrops, FieldReader
from virtassay.data.prepare.inventory import take_inventory
from virtassay.data.prepare.reader import Reader, scalars
from virtassay.data.prepare.scaling import Scaling, rescale
from virtassay.data.prepare.sources import Described, ImageSource
from virtassay.data.prepare.splits import Split, write_split
from virtassay.files import require_space
from virtassay.report.pictures import treatment_sheet
from virtassay.report.plates import plate_layout
from virtassay.schema import InvalidIndex, require_controls

log = logging.getLogger(__name__)


def prepare_table(
    *,
    root: str | Path,
    table: str | Path | pl.DataFrame,
    images: ImageSource,
    channels: Sequence[str] | None,
    scaling: Scaling | None,
    split: Split | None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    keep: Mapping[str, Sequence[Any]] | None = None,
    controls: Sequence[str] | None = None,
    separator: str | None = None,
    crop: int | None = None,
    size: int | None = None,
    cells: CellCrops | None = None,
    dtype: str = "uint8",
    pixel_size_um: float | None = None,
    licence: str | None = None,
    citation: str | None = None,
    accept: Sequence[str] = (),
    on_error: str = "raise",
    overwrite: bool = False,
) -> Path:
    """Write the dataset folder of a screen, with a contact sheet and a plate layout.

    table: csv, tsv or parquet, a row an image. columns, constants, keep, controls, separator: what it says of each
    image, as `annotation.Annotation` explains. channels: their names, in order; None where the files say them (OME).
    crop: edge, in raw pixels, of what is cut out around the image's centre, or around each cell; size: edge that it is
    resized to. cells: where a row of the table is a whole field, each of whose cells becomes an image.
    scaling: None where the images are stored as they are (already 8 or 16 bit and scaled). split: None where the table
    has a column for it; split.csv keeps it. pixel_size_um: of the raw images, by default from a column of that name, or
    as the files say. licence, citation: of the data. accept: checks of the leak audit (`leaks.LEAKS`) that may fail,
    which audit.json then says. on_error: "raise", or "skip" to leave missing and unreadable images out (skipped.csv
    names them). Image files that no row names are listed in unlisted.csv. Raises InvalidIndex, LeakFound,
    UnreadableImage and ValueError naming rows, files and the fix, and OSError where the disk is too small.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error={on_error!r}: give raise or skip.")
    for name, value in (("crop", crop), ("size", size)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: give pixels, 1 or more, or null to leave the images as they are.")
    annotation = Annotation(columns or {}, constants or {}, keep or {}, controls, separator)
    rows, provenance = load_table(table, annotation)
    source = provenance["source"]
    index = _split(make_index(rows, source, annotation), split, source)
    checks = leaks.refuse_leaks(leaks.audit_index(index), accept, source)
    pixel_size_um = one_pixel_size(index, pixel_size_um, source)
    channels, pixel_size_um = _completed(images, index, channels, pixel_size_um)
    unlisted = take_inventory(images, index, everything=not keep, skip=on_error == "skip", pixel_size_um=pixel_size_um)
    reader = Reader(images, channels, crop, size, on_error == "skip", pixel_size_um)
    if cells is not None and crop is None:
        raise ValueError("cells are cut out of whole fields: give crop, the edge of a cell's image in raw pixels.")
    raw_shape, shape, raw_dtype = reader.look(index)
    if cells is not None and crop is not None:
        reader = FieldReader(reader, cells, crop, index)
    if scaling is None and raw_dtype != dtype:
        raise ValueError(
            f"the images are {raw_dtype} and shall be stored as {dtype}: choose a scaling, or dtype={raw_dtype}."
        )
    limits, stored_scaling = None, None
    if scaling is not None:
        limits = scaling.limits(reader.some_controls(index))
        low, high = limits.T.tolist()
        stored_scaling = {"kind": type(scaling).__name__, "low": low, "high": high}
    if pixel_size_um is not None:
        pixel_size_um *= (crop or raw_shape[1]) / shape[1]
    provenance |= {"raw": f"{raw_dtype} {raw_shape}", "crop": crop, "skipped": 0}
    name = Path(root).name
    info = DatasetInfo(name, channels, shape, dtype, pixel_size_um, stored_scaling, provenance, licence, citation)
    needed = index.height * int(np.prod(shape)) * np.dtype(dtype).itemsize
    require_space(root, needed, f"a dataset of {index.height} images")
    clipped = np.zeros(len(channels))
    with DatasetWriter(root, info, overwrite=overwrite) as writer:
        for raw_images, chunk in reader.chunks(index):
            stored = raw_images if limits is None else rescale(raw_images, limits, dtype)
            clipped += 0 if limits is None else (raw_images > limits[:, 1, None, None]).mean((2, 3)).sum(0)
            writer.append(stored, chunk.drop("_number"))
        dataset = writer.preview()
        if reader.skipped:  # they may have been all the controls of a batch
            provenance["skipped"] = len(reader.skipped)
            list_skipped(writer, pl.DataFrame(reader.skipped, schema=["image_id", "reason"], orient="row"), "images")
            left_out = f"{len(reader.skipped)} images were left out, the first because {reader.skipped[0][1]}"
            require_controls(dataset.index, f"{source} ({left_out.rstrip('.')})")
        if isinstance(reader, FieldReader):
            require_controls(dataset.index, f"{source} (cells found)")
            reader.draw_flagged(writer.folder / "flagged.png")
            provenance["cells"] = dict(reader.counts)
            log.info("%s", ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in reader.counts.items()))
        checks += leaks.refuse_leaks(leaks.audit_images(dataset), accept, source)
        describe_split(writer, dataset, index, split, checks)
        if unlisted:
            pl.DataFrame({"file": unlisted}).write_csv(writer.folder / "unlisted.csv")
            log.warning("%d image files are named by no row; %s/unlisted.csv lists them", len(unlisted), root)
    for name, fraction in zip(channels, clipped / len(dataset), strict=True):
        if fraction > 0.01:
            log.warning("%.1f %% of the pixels of %s are brighter than its scaling: raise it", 100 * fraction, name)
    for what, text in (("licence", licence), ("please cite", citation)):
        if text is not None:
            log.info("%s: %s", what, text)
    log.info("wrote %d images to %s; look at contact_sheet.png and plate_layout.png there", len(dataset), root)
    return Path(root)


def list_skipped(writer: DatasetWriter, skipped: pl.DataFrame, what: str) -> None:
    """Write skipped.csv into a folder that is being written: `image_id` and `reason` of the rows that were left out."""
    (writer.folder / "skipped.csv").write_text(skipped.write_csv(), encoding="utf-8")
    log.warning("%d %s were left out; %s/skipped.csv names them", skipped.height, what, writer.root)


def describe_split(
    writer: DatasetWriter, dataset: Dataset, index: pl.DataFrame, split: Split | None, checks: Sequence[leaks.LeakCheck]
) -> None:
    """Write the audit, the split that `split` made, and the pictures into a folder that is being written."""
    leaks.write_audit(writer.folder / "audit.json", checks, dataset.index)
    write_split(writer.folder / "split.csv", index, writer.info.name, split)
    treatment_sheet(writer.folder / "contact_sheet.png", dataset, title=writer.info.name)
    plate_layout(writer.folder / "plate_layout.png", dataset.index)


def _completed(
    images: ImageSource, index: pl.DataFrame, channels: Sequence[str] | None, pixel_size_um: float | None
) -> tuple[tuple[str, ...], float | None]:
    """Complete the channels' names and the pixel size by what the first image's file says of itself."""
    described = images.describe(next(scalars(index[:1]))) if isinstance(images, Described) else (None, None)
    names = channels or described[0]
    if names is None:
        raise ValueError("channels=null, and the images do not say what theirs are: name them.")
    if not 1 <= len(names) <= 12:
        raise ValueError(f"{len(names)} channels: an image has 1 to 12.")
    if len(set(names)) < len(names):
        raise ValueError(f"channels {list(names)}: each needs a name of its own.")
    return tuple(names), pixel_size_um or described[1]


def _split(index: pl.DataFrame, split: Split | None, source: str) -> pl.DataFrame:
    if split is not None:
        return split(index)
    if "split" not in index.columns or index["split"].null_count():
        raise InvalidIndex(f"{source}: without a split function, each row needs train, val or test in column 'split'.")
    return index
