"""Anybody's screen → a dataset folder: a table that says what was done to each image, and the images."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from skimage.transform import resize
from tqdm.auto import tqdm

from virtassay.data import leaks
from virtassay.data.annotation import make_index, one_pixel_size, read_table
from virtassay.data.disk import require_space
from virtassay.data.inventory import take_inventory
from virtassay.data.scaling import Scaling, rescale
from virtassay.data.sources import ImageSource, UnreadableImage
from virtassay.data.splits import write_split
from virtassay.data.store import DatasetInfo, DatasetWriter
from virtassay.pictures import plate_layout, treatment_sheet
from virtassay.schema import InvalidIndex, require_controls

log = logging.getLogger(__name__)
CHUNK = 256  # images held at once: memory does not grow with the screen
SCALED_ON = 512  # control images that the limits are estimated on
SURVEYED = 64  # images whose commonest size and type is the dataset's
DTYPES = ("uint8", "uint16", "float32", "float64")


def prepare_table(
    *,
    root: str | Path,
    table: str | Path | pl.DataFrame,
    images: ImageSource,
    channels: Sequence[str],
    scaling: Scaling | None,
    split: Callable[[pl.DataFrame], pl.DataFrame] | None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    keep: Mapping[str, Sequence[Any]] | None = None,
    controls: Sequence[str] | None = None,
    separator: str | None = None,
    crop: int | None = None,
    size: int | None = None,
    dtype: str = "uint8",
    pixel_size_um: float | None = None,
    licence: str | None = None,
    citation: str | None = None,
    accept: Sequence[str] = (),
    on_error: str = "raise",
    overwrite: bool = False,
) -> Path:
    """Write the dataset folder of a screen, with a contact sheet and a plate layout.

    table: csv, tsv or parquet, a row an image. columns: {column of the index: column of the table, or a pattern of its
    columns such as "{experiment}_{plate}"}; unmapped columns are kept under their own names. constants: {column of the
    index: one value for all}. keep: {column of the table: values} of the rows to keep. controls: names of perturbations
    that are controls (instead of a column is_control); their dose is left out. separator: what stands between the
    perturbations (SMILES, genes, doses) of a combination. crop: centre crop in raw pixels; size: edge that the crop is
    resized to. scaling: None where the images are stored as they are (already 8 or 16 bit and scaled). split: None
    where the table has a column for it; split.csv keeps it. pixel_size_um: of the raw images, by default from a column
    of that name. licence, citation: of the data. accept: checks of the leak audit (`leaks.LEAKS`) that may fail, which
    audit.json then says. on_error: "raise", or "skip" to leave missing and unreadable images out (skipped.csv names
    them). Image files that no row names are listed in unlisted.csv. Raises InvalidIndex, LeakFound, UnreadableImage and
    ValueError naming rows, files and the fix, and OSError where the disk is too small.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error={on_error!r}: give raise or skip.")
    if not 1 <= len(channels) <= 12:
        raise ValueError(f"{len(channels)} channels: an image has 1 to 12.")
    if len(set(channels)) < len(channels):
        raise ValueError(f"channels {list(channels)}: each needs a name of its own.")
    for name, value in (("crop", crop), ("size", size)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: give pixels, 1 or more, or null to leave the images as they are.")
    provenance: dict[str, Any] = {"source": "a table in memory"}
    if not isinstance(table, pl.DataFrame):
        path, table = Path(table), read_table(Path(table), columns or {}, constants or {})
        provenance = {"source": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    source = provenance["source"]
    index = make_index(table, source, columns or {}, constants or {}, keep or {}, controls, separator)
    index = _split(index, split, source)
    checks = leaks.judge(leaks.audit_index(index), accept, source)
    pixel_size_um = one_pixel_size(index, pixel_size_um, source)
    unlisted = take_inventory(images, index, everything=not keep, skip=on_error == "skip", pixel_size_um=pixel_size_um)
    reader = _Reader(images, tuple(channels), crop, size, on_error == "skip")
    raw, shape, raw_dtype = reader.look(index)
    limits = None if scaling is None else scaling.limits(reader.some_controls(index))
    if scaling is None and raw_dtype != dtype:
        raise ValueError(
            f"the images are {raw_dtype} and shall be stored as {dtype}: choose a scaling, or dtype={raw_dtype}."
        )
    if pixel_size_um is not None:
        pixel_size_um *= (crop or raw[1]) / shape[1]
    info = DatasetInfo(
        name=Path(root).name,
        channels=tuple(channels),
        image_shape=shape,
        dtype=dtype,
        pixel_size_um=pixel_size_um,
        scaling=None if limits is None else {"kind": type(scaling).__name__, **_ranges(limits)},
        provenance=provenance | {"raw": f"{raw_dtype} {raw}", "crop": crop, "skipped": 0},
        licence=licence,
        citation=citation,
    )
    needed = index.height * int(np.prod(shape)) * np.dtype(dtype).itemsize
    require_space(root, needed, f"a dataset of {index.height} images")
    clipped = np.zeros(len(channels))
    with DatasetWriter(root, info, overwrite=overwrite) as writer:
        for part, rows in reader.chunks(index):
            stored = part if limits is None else rescale(part, limits, dtype)
            clipped += 0 if limits is None else (part > limits[:, 1, None, None]).mean((2, 3)).sum(0)
            writer.append(stored, rows.drop("_number"))
        if reader.skipped and info.provenance is not None:
            info.provenance["skipped"] = len(reader.skipped)
            skipped = pl.DataFrame(reader.skipped, schema=["image_id", "reason"], orient="row")
            (writer.folder / "skipped.csv").write_text(skipped.write_csv(), encoding="utf-8")
            log.warning("%d images were left out; %s/skipped.csv names them", len(reader.skipped), root)
        dataset = writer.preview()
        if reader.skipped:  # they may have been all the controls of a batch
            left_out = f"{len(reader.skipped)} images were left out, the first because {reader.skipped[0][1]}"
            require_controls(dataset.index, f"{source} ({left_out.rstrip('.')})")
        checks += leaks.judge(leaks.audit_images(dataset), accept, source)
        leaks.write_audit(writer.folder / "audit.json", checks, dataset.index)
        write_split(writer.folder / "split.csv", index, info.name, split)
        if unlisted:
            pl.DataFrame({"file": unlisted}).write_csv(writer.folder / "unlisted.csv")
            log.warning("%d image files are named by no row; %s/unlisted.csv lists them", len(unlisted), root)
        treatment_sheet(writer.folder / "contact_sheet.png", dataset, title=info.name)
        plate_layout(writer.folder / "plate_layout.png", dataset.index)
    for name, fraction in zip(channels, clipped / len(dataset), strict=True):
        if fraction > 0.01:
            log.warning("%.1f %% of the pixels of %s are brighter than its scaling: raise it", 100 * fraction, name)
    for what, text in (("licence", licence), ("please cite", citation)):
        if text is not None:
            log.info("%s: %s", what, text)
    log.info("wrote %d images to %s; look at contact_sheet.png and plate_layout.png there", len(dataset), root)
    return Path(root)


def _ranges(limits: np.ndarray) -> dict[str, list[float]]:
    return {"low": limits[:, 0].tolist(), "high": limits[:, 1].tolist()}


def _split(index: pl.DataFrame, split: Callable[[pl.DataFrame], pl.DataFrame] | None, source: str) -> pl.DataFrame:
    if split is not None:
        return split(index)
    if "split" not in index.columns or index["split"].null_count():
        raise InvalidIndex(f"{source}: without a split function, each row needs train, val or test in column 'split'.")
    return index


class _Reader:
    """Reads, checks, crops and resizes the images of an index, in chunks; remembers which were left out."""

    def __init__(
        self, images: ImageSource, channels: tuple[str, ...], crop: int | None, size: int | None, skip: bool
    ) -> None:
        self.images, self.channels, self.crop, self.size, self.skip = images, channels, crop, size, skip
        self.skipped: list[tuple[str, str]] = []
        self.typical: tuple[str, tuple[int, ...], np.dtype] | None = None

    def some_controls(self, index: pl.DataFrame) -> np.ndarray:
        """Read up to SCALED_ON control images of the training split, spread over it."""
        chosen = index.filter(pl.col("is_control") & (pl.col("split") == "train"))
        if not chosen.height:
            raise InvalidIndex("the training split holds no control images to scale on: change the split.")
        images = [image for _, image in self._read(chosen.gather_every(-(-chosen.height // SCALED_ON)), [])]
        if not images:
            raise UnreadableImage("none of the control images of the training split can be read.")
        return np.stack(images)

    def look(self, index: pl.DataFrame) -> tuple[tuple[int, ...], tuple[int, int, int], str]:
        """Return the raw shape (c, h, w), that after cropping and resizing, and the raw dtype."""
        # the commonest of images spread over the index: one odd image, were it the first, must not oust all others
        unread: list[tuple[str, str]] = []
        spread = list(self._checked(index.gather_every(-(-index.height // SURVEYED)), unread))
        if not spread:
            raise UnreadableImage(f"none of {len(unread)} images spread over the table can be read: {unread[0][1]}")
        (shape, dtype), _ = Counter((image.shape, image.dtype) for _, _, image in spread).most_common(1)[0]
        name = next(name for _, name, image in spread if (image.shape, image.dtype) == (shape, dtype))
        self.typical = (name, shape, dtype)
        height, width = self._fit(np.zeros(shape, dtype)).shape[1:]
        return shape, (shape[0], height, width), str(dtype)

    def chunks(self, index: pl.DataFrame) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        """Yield (images, their rows) over the index, CHUNK rows at a time."""
        with tqdm(total=index.height, unit=" images", desc="preparing", dynamic_ncols=True) as bar:
            for start in range(0, index.height, CHUNK):
                rows = index[start : start + CHUNK]
                read = list(self._read(rows, self.skipped))
                if read:
                    yield np.stack([image for _, image in read]), rows[[number for number, _ in read]]
                bar.update(rows.height)

    def _read(self, rows: pl.DataFrame, skipped: list[tuple[str, str]]) -> Iterator[tuple[int, np.ndarray]]:
        for number, _, image in self._checked(rows, skipped):
            yield number, self._fit(image)

    def _checked(self, rows: pl.DataFrame, skipped: list[tuple[str, str]]) -> Iterator[tuple[int, str, np.ndarray]]:
        scalars = rows.with_columns(pl.col(c).list.first() for c, t in rows.schema.items() if isinstance(t, pl.List))
        for number, row in enumerate(scalars.iter_rows(named=True)):
            try:
                image = self.images.read(row)
                name = self.images.name(row)
                self._check(image, name)
            except UnreadableImage as error:
                if not self.skip:
                    raise UnreadableImage(f"{error} on_error=skip leaves such images out and lists them.") from error
                skipped.append((row["image_id"], str(error)))
                continue
            yield number, name, image

    def _check(self, image: np.ndarray, name: str) -> None:
        if len(image) != len(self.channels):
            raise UnreadableImage(
                f"{name} has {len(image)} channels, and {len(self.channels)} are named: {', '.join(self.channels)}."
            )
        if str(image.dtype) not in DTYPES:
            raise UnreadableImage(f"{name} is {image.dtype}; images are one of {', '.join(DTYPES)}.")
        if not np.isfinite(image).all():
            raise UnreadableImage(f"{name} holds values that are not finite.")
        if self.typical is not None and (image.shape, image.dtype) != self.typical[1:]:
            other, shape, dtype = self.typical
            raise UnreadableImage(
                f"{name} is {image.dtype} {image.shape}, where {other} is {dtype} {shape}: "
                "all images of a dataset have one size and type."
            )

    def _fit(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[1:]
        if self.crop is not None:
            if self.crop > min(height, width):
                raise ValueError(f"crop={self.crop} is larger than the images, {height}×{width}.")
            top, left = (height - self.crop) // 2, (width - self.crop) // 2
            image = image[:, top : top + self.crop, left : left + self.crop]
        if self.size is None or image.shape[1:] == (self.size, self.size):
            return image
        if image.shape[1] != image.shape[2]:
            raise ValueError(f"size={self.size} would squeeze images of {height}×{width} pixels: give a crop as well.")
        shape = (len(image), self.size, self.size)
        fitted = np.asarray(resize(image, shape, order=1, anti_aliasing=True, preserve_range=True))
        if np.issubdtype(image.dtype, np.integer):
            fitted = fitted.round()
        return fitted.astype(image.dtype)
