"""BBBC021 in the crops of IMPA, which CellFlux and Jones et al. train on: one 96×96×3 uint8 npy file a cell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from virtassay.data.prepare.annotation import Annotation, kept, read_table
from virtassay.data.prepare.public import bbbc021
from virtassay.data.prepare.public.downloads import PublishedFile
from virtassay.data.prepare.public.public_set import OfficialScreen, absent_files, require_columns, require_tables
from virtassay.data.prepare.sources import FilePerCrop
from virtassay.data.prepare.splits import split_by_well
from virtassay.schema import InvalidIndex

ADDRESS = "https://zenodo.org/records/8307629/files"  # of Palma et al.; IMPA's repository names the record
ARCHIVE, BYTES, UNPACKED = "IMPA_reproducibility.zip", 12_500_000_000, 15_000_000_000  # about, as others report
IMPA_TABLE = "bbbc021_df_all.csv"
IMPA_COLUMNS = ("SAMPLE_KEY", "CPD_NAME", "ANNOT", "STATE", "SPLIT", "BATCH", "DOSE")
# Week1_22123_1_11_3.0 is week, plate, table, image (field) and cell; the file is Week1/22123/1_11_3.0.npy
IMPA_KEY = r"^(?<week>[^_]+)_(?<number>[^_]+)_(?<table>\d+)_(?<image>\d+)_(?<cell>.+)$"
COLUMNS = {"image_id": "SAMPLE_KEY", "batch": "BATCH", "perturbation": "CPD_NAME", "dose_um": "DOSE", "moa": "ANNOT"}
CHANNELS = ("actin", "tubulin", "DAPI")
LICENCE = (
    "of the crops: see https://zenodo.org/records/8307629; of the images: see https://bbbc.broadinstitute.org/BBBC021"
)
CITATION = f"{bbbc021.CITATION}; crops by Palma et al. 2025 (IMPA, doi 10.1038/s41467-024-55707-8), Zenodo 8307629"


def split_published(index: pl.DataFrame, *, seed: int = 0, val: float = 0.05) -> pl.DataFrame:
    """Keep the test split of IMPA's drop, in column `published`; hold out `val` of its training wells to watch."""
    watched = split_by_well(index, seed=seed, val=val, test=0.0)
    return watched.with_columns(split=pl.when(pl.col("published") == "test").then(pl.lit("test")).otherwise("split"))


@dataclass(frozen=True)
class BBBC021Impa:
    """BBBC021 in IMPA's drop: `bbbc021_df_all.csv` and one 96×96×3 uint8 npy file a crop, scaled by IMPA.

    In the folder: the table and the crops, or the zip file and what it unpacks to. keep: {column of the table, or
    plate: values}. compounds: the official table BBBC021_v1_compound.csv, joined for the SMILES. fields: the official
    BBBC021_v1_image.csv, joined for the wells; without it each field counts as a well. Raises InvalidIndex where a
    field is not in it. Source: Ljosa et al. 2012 (BBBC021v1); crops by Palma et al. 2023 (Zenodo 8307629).
    """

    compounds: str | Path | None = None
    fields: str | Path | None = None
    address: str = ADDRESS

    def missing_files(self, folder: Path, keep: Mapping[str, Sequence[Any]]) -> Iterator[list[PublishedFile]]:
        """Yield the zip file where the table or crops of it are missing."""
        path = _find(folder)
        if not path.is_file():
            yield [self._archive()]
            return
        files = kept(crops(path), keep, str(path))["source_file"]
        yield [self._archive()] if absent_files(_base(folder, files[0]), files).any() else []

    def read(self, folder: Path, keep: Mapping[str, Sequence[Any]], on_error: str) -> OfficialScreen:
        path = _find(folder)
        require_tables([PublishedFile(IMPA_TABLE, self._archive().url, 0)], path.parent, "IMPA's drop of BBBC021")
        table = kept(crops(path), keep, str(path))
        base = _base(folder, table["source_file"][0])
        if self.compounds is not None:
            known = bbbc021.smiles(Path(self.compounds)).rename({"compound": "CPD_NAME"})
            table = table.drop("smiles").join(known, on="CPD_NAME", how="left", maintain_order="left")
        if self.fields is not None:
            wells = read_table(Path(self.fields)).select(
                plate=pl.col("Image_Metadata_Plate_DAPI").cast(pl.String),
                field=pl.format("{}_{}", "TableNumber", "ImageNumber"),
                well=pl.col("Image_Metadata_Well_DAPI").cast(pl.String),
            )
            table = table.rename({"well": "field"})
            table = table.join(wells, on=["plate", "field"], how="left", maintain_order="left")
            lost = table.filter(pl.col("well").is_null())["SAMPLE_KEY"].head(5).to_list()
            if lost:
                raise InvalidIndex(f"{path}: {self.fields} has no field for SAMPLE_KEY {lost}.")
        # keep is applied already: it says that files of others are no concern
        annotation = Annotation(COLUMNS, {"cell_type": "MCF7"}, keep, controls=["DMSO"])
        needed = base, table.select("plate", path="source_file")
        return OfficialScreen(table, annotation, FilePerCrop(str(base)), CHANNELS, LICENCE, CITATION, needed)

    def _archive(self) -> PublishedFile:
        return PublishedFile(ARCHIVE, f"{self.address}/{ARCHIVE}?download=1", BYTES, UNPACKED)


def crops(path: Path) -> pl.DataFrame:
    """Map IMPA's table onto the index, a row a crop; `published` is its split, and each field counts as a well."""
    table = read_table(path, Annotation({"image_id": "SAMPLE_KEY", "batch": "BATCH", "perturbation": "CPD_NAME"}))
    require_columns(table, IMPA_COLUMNS, path, "IMPA's table")
    key = table["SAMPLE_KEY"].str.extract_groups(IMPA_KEY).struct.unnest()
    if key["cell"].null_count():
        bad = table.filter(key["cell"].is_null())["SAMPLE_KEY"].head(5).to_list()
        raise InvalidIndex(f"{path}: SAMPLE_KEY {bad} is not like Week1_22123_1_11_3.0.")
    rest = key["table"] + "_" + key["image"] + "_" + key["cell"]
    return table.with_columns(
        plate=key["week"] + "_" + key["number"],
        well=key["table"] + "_" + key["image"],
        site=key["image"],
        smiles=pl.lit(None, pl.String),
        source_file=key["week"] + "/" + key["number"] + "/" + rest + ".npy",
        published=table["SPLIT"],
        **bbbc021.kinds(pl.col("CPD_NAME")),
    )


def _find(folder: Path) -> Path:
    """Where the table lies: in the folder itself, or at some depth in what the zip file unpacks to."""
    if (folder / IMPA_TABLE).is_file():
        return folder / IMPA_TABLE
    return next(iter(sorted(folder.rglob(IMPA_TABLE))), folder / IMPA_TABLE)


def _base(folder: Path, first: str) -> Path:
    """The folder that the names of the crops count from: it holds Week1/22123, at any depth of the zip file."""
    if (folder / first).parent.is_dir():
        return folder
    plate = str(Path(first).parent)
    return next((path.parents[1] for path in sorted(folder.rglob(plate)) if path.is_dir()), folder)
