"""Anybody's screen → a dataset folder: a table that says what was done to each image, and the images."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from skimage.transform import resize
from tqdm.auto import tqdm

from virtassay.data.molecules import canonical_column
from virtassay.data.scaling import Scaling, rescale
from virtassay.data.sources import ImageSource, UnreadableImage
from virtassay.data.store import DatasetInfo, DatasetWriter, open_dataset
from virtassay.pictures import plate_layout, treatment_sheet
from virtassay.schema import COLUMNS, InvalidIndex, require_controls, validate

log = logging.getLogger(__name__)
CHUNK = 256  # images held at once: memory does not grow with the screen
SCALED_ON = 512  # control images that the limits are estimated on
DTYPES = ("uint8", "uint16", "float32", "float64")


def prepare_table(
    *,
    root: str | Path,
    table: str | Path | pl.DataFrame,
    images: ImageSource,
    channels: Sequence[str],
    scaling: Scaling | None,
    split: Callable[[pl.DataFrame], pl.DataFrame],
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    keep: Mapping[str, Sequence[Any]] | None = None,
    controls: Sequence[str] | None = None,
    crop: int | None = None,
    size: int | None = None,
    dtype: str = "uint8",
    pixel_size_um: float | None = None,
    on_error: str = "raise",
    overwrite: bool = False,
) -> Path:
    """Write the dataset folder of a screen, with a contact sheet and a plate layout.

    table: csv or parquet, a row an image. columns: {column of the index: column of the table}; unmapped columns are
    kept under their own names. constants: {column of the index: one value for all}. keep: {column of the table: values}
    of the rows to keep. controls: names of perturbations that are controls (instead of a column is_control); their dose
    is left out. crop: centre crop in raw pixels; size: edge that the crop is resized to. scaling: None where the images
    are stored as they are (already 8 or 16 bit and scaled). on_error: "raise", or "skip" to leave unreadable images out
    (skipped.csv names them). Raises InvalidIndex, UnreadableImage and ValueError naming rows, files and the fix.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error={on_error!r}: give raise or skip.")
    if not 1 <= len(channels) <= 12:
        raise ValueError(f"{len(channels)} channels: an image has 1 to 12.")
    source = "the table" if isinstance(table, pl.DataFrame) else str(table)
    raw = table if isinstance(table, pl.DataFrame) else read_table(Path(table))
    index = make_index(raw, source, columns or {}, constants or {}, keep or {}, controls)
    index = split(index)
    reader = _Reader(images, tuple(channels), crop, size, on_error == "skip")
    limits = None if scaling is None else scaling.limits(reader.some_controls(index))
    shape, raw_dtype = reader.look(index)
    if scaling is None and raw_dtype != dtype:
        raise ValueError(f"the images are {raw_dtype} and shall be stored as {dtype}: choose a scaling, or dtype={raw_dtype}.")
    info = DatasetInfo(
        name=Path(root).name,
        channels=tuple(channels),
        image_shape=shape,
        dtype=dtype,
        pixel_size_um=pixel_size_um,
        scaling=None if limits is None else {"kind": type(scaling).__name__, "low": limits[:, 0].tolist(), "high": limits[:, 1].tolist()},
        provenance={"source": source, "skipped": 0},
    )
    with DatasetWriter(root, info, overwrite=overwrite) as writer:
        for part, rows in reader.chunks(index):
            writer.append(part if limits is None else rescale(part, limits, dtype), rows.drop("_row"))
        if reader.skipped and info.provenance is not None:
            info.provenance["skipped"] = len(reader.skipped)
            pl.DataFrame(reader.skipped, schema=["image_id", "reason"], orient="row").write_csv(writer.folder / "skipped.csv")
            log.warning("%d images were left out; %s/skipped.csv names them", len(reader.skipped), root)
    draw_pictures(Path(root))
    return Path(root)


def draw_pictures(root: Path) -> None:
    """Write contact_sheet.png and plate_layout.png into a dataset folder."""
    dataset = open_dataset(root, verify=False)
    treatment_sheet(root / "contact_sheet.png", dataset)
    plate_layout(root / "plate_layout.png", dataset.index)
    log.info("wrote %d images to %s; look at contact_sheet.png and plate_layout.png there", len(dataset), root)


def read_table(path: Path) -> pl.DataFrame:
    """Read a csv or parquet table; raises FileNotFoundError or InvalidIndex."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no table {path}: correct data.prepare.table, or paths.data where it lies.")
    try:
        return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise InvalidIndex(f"{path} cannot be read as a table: {error}.") from error


def make_index(
    raw: pl.DataFrame,
    source: str,
    columns: Mapping[str, str],
    constants: Mapping[str, Any],
    keep: Mapping[str, Sequence[Any]],
    controls: Sequence[str] | None,
) -> pl.DataFrame:
    """Turn a table into an index in normal form, plus `_row`, the number of each row in the table."""
    if raw.height == 0:
        raise InvalidIndex(f"{source}: the table is empty; it needs one row for each image.")
    wrong = sorted(set(columns) - set(COLUMNS)) + sorted(set(constants) - set(COLUMNS))
    if wrong:
        raise InvalidIndex(f"{source}: {wrong} are no columns of the index; those are {list(COLUMNS)}.")
    missing = sorted((set(columns.values()) | set(keep)) - set(raw.columns))
    if missing:
        raise InvalidIndex(f"{source}: the mapping names column(s) {missing}; the table has {raw.columns}.")
    table = raw.with_row_index("_row")
    for name, values in keep.items():
        table = table.filter(pl.col(name).is_in(list(values)))
    if table.height == 0:
        raise InvalidIndex(f"{source}: no row is left by keep={dict(keep)}; {raw.height} rows were read.")
    table = table.with_columns(**{name: pl.col(of) for name, of in columns.items()})
    table = table.with_columns(**{name: pl.lit(value) for name, value in constants.items()})
    if controls is not None:
        table = table.with_columns(is_control=pl.col("perturbation").is_in(list(controls)))
    if "image_id" not in table.columns:
        table = table.with_columns(image_id=pl.format("row-{}", "_row"))
    index = validate(table, source)
    if "smiles" in index.columns:
        empty = pl.element().is_in(["", "NA", "nan"])
        index = index.with_columns(pl.col("smiles").list.eval(pl.when(~empty).then(pl.element())))
        index = index.with_columns(canonical_column(index["smiles"], source))
    if "dose_um" in index.columns:  # a control has no dose: its 0 (or its solvent's %) is not a concentration of it
        nothing = pl.col("dose_um").list.eval(pl.lit(None, pl.Float64))
        index = index.with_columns(dose_um=pl.when("is_control").then(nothing).otherwise("dose_um"))
    require_controls(index, source)
    return index


class _Reader:
    """Reads, checks, crops and resizes the images of an index, in chunks; remembers which were left out."""

    def __init__(
        self, images: ImageSource, channels: tuple[str, ...], crop: int | None, size: int | None, skip: bool
    ) -> None:
        self.images, self.channels, self.crop, self.size, self.skip = images, channels, crop, size, skip
        self.skipped: list[tuple[str, str]] = []
        self.first: tuple[str, tuple[int, ...], np.dtype] | None = None

    def some_controls(self, index: pl.DataFrame) -> np.ndarray:
        """Read up to SCALED_ON control images of the training split, spread over it."""
        chosen = index.filter(pl.col("is_control") & (pl.col("split") == "train"))
        if not chosen.height:
            raise InvalidIndex("the training split holds no control images to scale on: change the split.")
        return self._some(chosen.gather_every(max(1, chosen.height // SCALED_ON)).head(SCALED_ON))

    def look(self, index: pl.DataFrame) -> tuple[tuple[int, int, int], str]:
        """Return the shape (c, h, w) after cropping and resizing, and the raw dtype."""
        for start in range(0, index.height, CHUNK):
            images = self._some(index[start : start + 1])
            if len(images) and self.first is not None:
                return images.shape[1:], str(self.first[2])
        raise UnreadableImage("none of the images can be read.")

    def _some(self, rows: pl.DataFrame) -> np.ndarray:
        images = [image for _, image in self._read(rows, [])]
        return np.stack(images) if images else np.empty((0, len(self.channels), 1, 1), np.uint8)

    def chunks(self, index: pl.DataFrame) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        """Yield (images, their rows) over the index, CHUNK rows at a time."""
        with tqdm(total=index.height, unit="img", desc="prepare", dynamic_ncols=True) as bar:
            for start in range(0, index.height, CHUNK):
                rows = index[start : start + CHUNK]
                read = list(self._read(rows, self.skipped))
                if read:
                    yield np.stack([image for _, image in read]), rows[[number for number, _ in read]]
                bar.update(rows.height)

    def _read(self, rows: pl.DataFrame, skipped: list[tuple[str, str]]) -> Iterator[tuple[int, np.ndarray]]:
        scalars = rows.with_columns(pl.col(c).list.first() for c, t in rows.schema.items() if isinstance(t, pl.List))
        for number, row in enumerate(scalars.iter_rows(named=True)):
            try:
                image = self.images.read(row)
                self._check(image, self.images.name(row))
            except UnreadableImage as error:
                if not self.skip:
                    raise UnreadableImage(f"{error} on_error=skip leaves such images out and lists them.") from error
                skipped.append((row["image_id"], str(error)))
                continue
            yield number, self._fit(image)

    def _check(self, image: np.ndarray, name: str) -> None:
        if len(image) != len(self.channels):
            raise UnreadableImage(f"{name} has {len(image)} channels, and {len(self.channels)} are named: {self.channels}.")
        if str(image.dtype) not in DTYPES:
            raise UnreadableImage(f"{name} is {image.dtype}; images are one of {', '.join(DTYPES)}.")
        if not np.isfinite(image).all():
            raise UnreadableImage(f"{name} holds values that are not finite.")
        if self.first is None:
            self.first = (name, image.shape, image.dtype)
        if (image.shape, image.dtype) != self.first[1:]:
            raise UnreadableImage(
                f"{name} is {image.dtype} {image.shape}, where {self.first[0]} is {self.first[2]} {self.first[1]}: "
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
        smaller = resize(image, (len(image), self.size, self.size), order=1, anti_aliasing=True, preserve_range=True)
        return smaller.astype(image.dtype) if np.issubdtype(image.dtype, np.floating) else smaller.round().astype(image.dtype)
