"""Public screens, each one small function onto the one index."""

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from virtassay.data.annotation import read_table
from virtassay.data.sources import FilePerCrop
from virtassay.data.splits import split_by_well
from virtassay.data.table import prepare_table
from virtassay.schema import InvalidIndex

IMPA_TABLE = "bbbc021_df_all.csv"
IMPA_COLUMNS = ("SAMPLE_KEY", "CPD_NAME", "ANNOT", "STATE", "SPLIT", "BATCH", "DOSE")
# Week1_22123_1_11_3.0 is week, plate, table, image (field) and cell; the file is Week1/22123/1_11_3.0.npy
IMPA_KEY = r"^(?<week>[^_]+)_(?<number>[^_]+)_(?<table>\d+)_(?<image>\d+)_(?<cell>.+)$"


def split_published(index: pl.DataFrame, *, seed: int = 0, val: float = 0.05) -> pl.DataFrame:
    """Keep the test split of IMPA's drop, in column `published`; hold out `val` of its training wells to watch."""
    watched = split_by_well(index, seed=seed, val=val, test=0.0)
    return watched.with_columns(split=pl.when(pl.col("published") == "test").then(pl.lit("test")).otherwise("split"))


def prepare_bbbc021_impa(
    *,
    root: str | Path,
    folder: str | Path,
    compounds: str | Path | None = None,
    fields: str | Path | None = None,
    split: Callable[[pl.DataFrame], pl.DataFrame] = split_published,
    accept: Sequence[str] = (),
    on_error: str = "raise",
    overwrite: bool = False,
) -> Path:
    """Prepare BBBC021 from IMPA's drop: `bbbc021_df_all.csv` and one 96×96×3 uint8 npy file a crop.

    Source: Ljosa et al. 2012 (BBBC021v1); crops by Palma et al. 2023 (Zenodo 8307629). `compounds`: the official table
    BBBC021_v1_compound.csv, joined for the SMILES. `fields`: the official BBBC021_v1_image.csv, joined for the wells;
    without it each field counts as a well. `split`: the drop's own, or one of virtassay.data.splits. `accept`: checks
    of the leak audit that may fail.
    Raises InvalidIndex naming what does not fit.
    """
    path = Path(folder) / IMPA_TABLE
    table = read_table(path, {"image_id": "SAMPLE_KEY", "batch": "BATCH", "perturbation": "CPD_NAME"}, {})
    missing = [name for name in IMPA_COLUMNS if name not in table.columns]
    if missing:
        raise InvalidIndex(f"{path}: column(s) {missing} are missing: is this IMPA's table? It has {table.columns}.")
    key = table["SAMPLE_KEY"].str.extract_groups(IMPA_KEY).struct.unnest()
    if key["cell"].null_count():
        bad = table.filter(key["cell"].is_null())["SAMPLE_KEY"].head(5).to_list()
        raise InvalidIndex(f"{path}: SAMPLE_KEY {bad} is not like Week1_22123_1_11_3.0.")
    rest = key["table"] + "_" + key["image"] + "_" + key["cell"]
    table = table.with_columns(
        plate=key["week"] + "_" + key["number"],
        well=key["table"] + "_" + key["image"],
        site=key["image"],
        smiles=pl.lit(None, pl.String),
        source_file=key["week"] + "/" + key["number"] + "/" + rest + ".npy",
        published=table["SPLIT"],
    )
    if compounds is not None:
        table = table.drop("smiles").join(_smiles(Path(compounds)), on="CPD_NAME", how="left", maintain_order="left")
    if fields is not None:
        table = table.rename({"well": "field"}).join(
            _wells(Path(fields)), on=["plate", "field"], how="left", maintain_order="left"
        )
        lost = table.filter(pl.col("well").is_null())["SAMPLE_KEY"].head(5).to_list()
        if lost:
            raise InvalidIndex(f"{path}: {fields} has no field for SAMPLE_KEY {lost}.")

    return prepare_table(
        root=root,
        table=table,
        columns={
            "image_id": "SAMPLE_KEY",
            "batch": "BATCH",
            "perturbation": "CPD_NAME",
            "dose_um": "DOSE",
            "moa": "ANNOT",
        },
        constants={"cell_type": "MCF7"},
        controls=["DMSO"],
        images=FilePerCrop(str(folder)),
        channels=("actin", "tubulin", "DAPI"),
        scaling=None,  # already 8 bit, scaled by IMPA
        split=split,
        accept=accept,
        on_error=on_error,
        overwrite=overwrite,
    )


def _smiles(path: Path) -> pl.DataFrame:
    table = read_table(path, {"perturbation": "compound"}, {})
    return table.select(CPD_NAME="compound", smiles="smiles").unique("CPD_NAME", maintain_order=True)


def _wells(path: Path) -> pl.DataFrame:
    return read_table(path, {}, {}).select(
        plate=pl.col("Image_Metadata_Plate_DAPI").cast(pl.String),
        field=pl.format("{}_{}", "TableNumber", "ImageNumber"),
        well=pl.col("Image_Metadata_Well_DAPI").cast(pl.String),
    )
