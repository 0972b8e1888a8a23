"""Public screens, each one small function onto the one index."""

from pathlib import Path

import polars as pl

from virtassay.data.sources import FilePerCrop
from virtassay.data.splits import split_by_well
from virtassay.data.table import prepare_table, read_table
from virtassay.schema import InvalidIndex

IMPA_TABLE = "bbbc021_df_all.csv"
IMPA_COLUMNS = ("SAMPLE_KEY", "CPD_NAME", "ANNOT", "STATE", "SPLIT", "BATCH", "DOSE")
# Week1_22123_1_11_3.0 is week, plate, field number, crop …; the file is Week1/22123/1_11_3.0.npy
IMPA_KEY = r"^(?<week>[^_]+)_(?<plate>[^_]+)_(?<rest>.+)$"


def prepare_bbbc021_impa(
    *,
    root: str | Path,
    folder: str | Path,
    compounds: str | Path | None = None,
    val: float = 0.05,
    seed: int = 0,
    on_error: str = "raise",
    overwrite: bool = False,
) -> Path:
    """Prepare BBBC021 from IMPA's drop: `bbbc021_df_all.csv` and one 96×96×3 uint8 npy file a crop.

    Source: Ljosa et al. 2012 (BBBC021v1); crops by Palma et al. 2023 (Zenodo 8307629). The drop's own test split is kept;
    `val` of its training wells are held out to watch the training. `compounds`: the official compound table, joined for
    the SMILES. The drop names no wells: (plate, field number) stands for them. Raises InvalidIndex on other columns.
    """
    path = Path(folder) / IMPA_TABLE
    table = read_table(path)
    missing = [name for name in IMPA_COLUMNS if name not in table.columns]
    if missing:
        raise InvalidIndex(f"{path}: column(s) {missing} are missing: is this IMPA's table? It has {table.columns}.")
    key = table["SAMPLE_KEY"].cast(pl.String).str.extract_groups(IMPA_KEY).struct.unnest()
    if key["rest"].null_count():
        bad = table.filter(key["rest"].is_null())["SAMPLE_KEY"].head(5).to_list()
        raise InvalidIndex(f"{path}: SAMPLE_KEY {bad} is not like Week1_22123_1_11_3.0.")
    control = table["CPD_NAME"].str.to_lowercase() == "dmso"
    index = table.with_columns(
        image_id="SAMPLE_KEY",
        plate=key["week"] + "_" + key["plate"],
        well=key["rest"].str.extract(r"^([^_]+_[^_]+)"),
        batch=key["week"],
        perturbation="CPD_NAME",
        dose_um=pl.col("DOSE").cast(pl.Float64),
        moa="ANNOT",
        is_control=control,
        cell_type=pl.lit("MCF7"),
        source_file=key["week"] + "/" + key["plate"] + "/" + key["rest"] + ".npy",
        _published=pl.col("SPLIT"),
    )
    if compounds is not None:
        names = read_table(Path(compounds)).select(perturbation="compound", smiles="smiles").unique("perturbation")
        index = index.join(names, on="perturbation", how="left", maintain_order="left")

    def split(table: pl.DataFrame) -> pl.DataFrame:
        watched = split_by_well(table, seed=seed, val=val, test=0.0)
        test = pl.col("_published") == "test"
        return watched.with_columns(split=pl.when(test).then(pl.lit("test")).otherwise("split")).drop("_published")

    return prepare_table(
        root=root,
        table=index,
        images=FilePerCrop(str(folder)),
        channels=("actin", "tubulin", "DAPI"),
        scaling=None,  # already 8 bit, scaled by IMPA
        split=split,
        on_error=on_error,
        overwrite=overwrite,
    )
