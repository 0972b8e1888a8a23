"""The SBS example plate: a reporter (FKHR-EGFP) that moves into the nucleus as the dose of two inhibitors rises."""

from pathlib import Path

import polars as pl

from virtassay.schema import InvalidIndex

COLUMNS = ("ImageNumber", "Column", "Row", "SBS_Doses", "SBS_Controls")
HIGHEST_UM = {"compound_A": 0.25, "compound_B": 80.0}  # at level 9; each level below is half of the next
POSITIVE_UM = {"compound_A": 0.15, "compound_B": 80.0}  # at level 10, the positive controls


def plate_map(path: str | Path) -> pl.DataFrame:
    """Read the plate's map (ImageNumber, Column, Row, SBS_Doses 0–10, SBS_Controls −1/0/1) as a table, a row a well.

    The map gives levels and names no compound. Its layout and file names are those of BBBC013, whose plate maps give
    0.98, 1.95 … 250 nM in rows A–D (wortmannin), 0.31, 0.63 … 80 µM in rows E–H (LY294002), and 150 nM and 80 µM as
    positive controls: those are `dose_um`; the level is kept as `dose_level`. Level 0 is an untreated control. Raises
    FileNotFoundError or InvalidIndex. Source: BBBC013v1, provided by Ilya Ravkin; Ljosa et al. 2012, Nat. Methods 9.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no plate map {path}: correct paths.data, the folder that it lies in.")
    table = pl.read_csv(path)
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InvalidIndex(f"{path}: column(s) {missing} are missing; there are {table.columns}.")
    level = pl.col("SBS_Doses")
    table = table.with_columns(
        compound=pl.when(pl.col("Row").is_in(list("ABCD"))).then(pl.lit("compound_A")).otherwise(pl.lit("compound_B")),
        control_type=pl.col("SBS_Controls").replace_strict({-1: "untreated", 0: None, 1: "positive"}),
    )
    highest, positive = (pl.col("compound").replace_strict(doses) for doses in (HIGHEST_UM, POSITIVE_UM))
    return table.select(
        image_number="ImageNumber",
        row="Row",
        column="Column",
        well=pl.format("{}{}", "Row", pl.col("Column").cast(pl.String).str.zfill(2)),
        perturbation=pl.when(level == 0).then(pl.lit("untreated")).otherwise("compound"),
        dose_um=pl.when(level == 0).then(None).when(level == 10).then(positive).otherwise(highest * 2.0 ** (level - 9)),
        dose_level=level,
        control_type="control_type",
        is_control=level == 0,
    )
