"""The SBS example plate: a reporter (FKHR-EGFP) that moves into the nucleus as the dose of two inhibitors rises."""

from pathlib import Path

import polars as pl

from virtassay.schema import InvalidIndex

COLUMNS = ("ImageNumber", "Column", "Row", "SBS_Doses", "SBS_Controls")
DOSES_UM = {  # of levels 1 to 10, the last being the positive controls
    "compound_A": (0.00098, 0.00195, 0.00391, 0.00781, 0.01563, 0.03125, 0.0625, 0.125, 0.25, 0.15),
    "compound_B": (0.31, 0.63, 1.25, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 80.0),
}


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
    doses = [(name, n, dose) for name, row in DOSES_UM.items() for n, dose in enumerate(row, 1)]
    doses = pl.DataFrame(doses, schema=["compound", "SBS_Doses", "dose_um"], orient="row")
    table = table.join(doses, on=["compound", "SBS_Doses"], how="left", maintain_order="left")
    return table.select(
        image_number="ImageNumber",
        row="Row",
        column="Column",
        well=pl.format("{}{}", "Row", pl.col("Column").cast(pl.String).str.zfill(2)),
        perturbation=pl.when(level == 0).then(pl.lit("untreated")).otherwise("compound"),
        dose_um="dose_um",
        dose_level=level,
        control_type="control_type",
        is_control=level == 0,
    )
