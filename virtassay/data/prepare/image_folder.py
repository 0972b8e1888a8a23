"""Folders of images as other tools write them: image files, and one table beside them that says what each shows."""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from virtassay.data.dataset.store import Dataset, DatasetInfo, open_dataset
from virtassay.data.prepare.annotation import read_table
from virtassay.data.prepare.leaks import LEAKS
from virtassay.data.prepare.sources import READERS, FilePerCrop
from virtassay.data.prepare.table import prepare_table
from virtassay.schema import InvalidIndex

TABLES = (".csv", ".tsv", ".parquet")
NAMED_BY = ("source_file", "image_id")  # columns that may name an image's file, the first that is there


def open_image_folder(
    folder: str | Path, cache: str | Path, *, like: DatasetInfo | None = None, verify: bool = True
) -> Dataset:
    """Open a dataset folder, or a folder of PNG, TIFF, JPEG or npy images named by one csv, tsv or parquet table in it.

    The table needs batch and perturbation and, to name the files, source_file or image_id (with or without the file's
    ending); dose_um, smiles, moa … as in any index. Real images also need plate, well and is_control, and are all of
    the test split where the table has no column for it. npy files hold (h, w) or (h, w, c). `like` says that the
    images are generated, to be compared with such: they get its channels and its size (resized if need be), and must
    have its pixel type and scale. What is no dataset folder is turned into one below `cache`, which must stay while the
    dataset is used. Raises ValueError or FileNotFoundError naming what is missing or does not fit.
    """
    folder = Path(folder)
    if (folder / "dataset.json").is_file() or not folder.is_dir():
        return open_dataset(folder, verify=verify)
    tables = sorted(path for path in folder.iterdir() if path.suffix in TABLES)
    if len(tables) != 1:
        raise ValueError(
            f"{folder} is no dataset folder (it has no dataset.json), and to be a folder of images it needs one table "
            f"({', '.join(TABLES)}) that names them; it has {[path.name for path in tables] or 'none'}."
        )
    source, columns = _source(folder, tables[0])
    image = source.read(read_table(tables[0]).row(0, named=True))
    _check(folder, image, like)
    constants = {"split": "generated"} if like is not None else {} if "split" in columns else {"split": "test"}
    mapped: dict[str, str] = {}
    if like is not None:  # wells mean nothing here: each image is one of its own
        constants |= {} if "is_control" in columns else {"is_control": False}
        named_by = next(name for name in NAMED_BY if name in columns)
        mapped = {"plate": "{batch}", "well": f"{{{named_by}}}"}
    square = like is not None and like.image_shape[1] == like.image_shape[2]
    root = prepare_table(
        root=Path(tempfile.mkdtemp(dir=cache)) / folder.name,
        table=tables[0],
        images=source,
        channels=like.channels if like is not None else [f"channel {i + 1}" for i in range(len(image))],
        scaling=None,
        split=None,
        columns=mapped,
        constants=constants,
        size=like.image_shape[1] if like is not None and square else None,
        dtype=str(image.dtype),
        accept=LEAKS,  # these images are judged as they come: the log says what their split shares
    )
    return open_dataset(root, verify=False)


def _source(folder: Path, table: Path) -> tuple[FilePerCrop, list[str]]:
    """Find out how the table names the files, from its first row."""
    rows = read_table(table)
    column = next((name for name in NAMED_BY if name in rows.columns), None)
    if column is None or not rows.height:
        raise InvalidIndex(
            f"{table} names no files: it needs a row for each image, and a column {' or '.join(NAMED_BY)}; it has "
            f"{rows.height} rows of {rows.columns}."
        )
    names = rows[column].cast(pl.String)
    outside = names.str.contains(r"^([/\\~]|\w:)|(^|[/\\])\.\.([/\\]|$)")
    if outside.any():
        raise InvalidIndex(f"{table} names files outside its folder, first {names.filter(outside)[0]!r}: refused.")
    endings = [ending for ending in ("", *READERS) if (folder / f"{names[0]}{ending}").is_file()]
    if not endings:
        raise FileNotFoundError(
            f"{table} begins with {column} {names[0]!r}, and there is no such file in {folder}, with none of the "
            f"endings {', '.join(READERS)}."
        )
    return FilePerCrop(str(folder), f"{{{column}}}{endings[0]}"), rows.columns


def _check(folder: Path, image: np.ndarray, like: DatasetInfo | None) -> None:
    """Raise ValueError where the first image cannot be compared with the real ones."""
    as_prepared = "or prepare them: virtassay prepare data=table"
    if str(image.dtype) not in ("uint8", "uint16"):
        raise ValueError(f"the images of {folder} are {image.dtype}; write them with 8 or 16 bits, {as_prepared}.")
    if like is None:
        return
    if len(image) != len(like.channels):
        raise ValueError(
            f"the images of {folder} have {len(image)} channels, the real ones {len(like.channels)}: "
            f"{', '.join(like.channels)}. Both must show the same, in this order."
        )
    if str(image.dtype) != like.dtype:
        raise ValueError(
            f"the images of {folder} are {image.dtype}, the real ones {like.dtype}: write them on the same scale, "
            f"{as_prepared}."
        )
