"""The map of the real translocation plate."""

from pathlib import Path

import polars as pl

from virtassay.data.prepare.public.sbs_plate import plate_map


def test_the_map_of_the_translocation_plate(shared_data: Path):
    table = plate_map(shared_data / "sbs_plate" / "plate_map.csv")
    assert table.height == 96 and table["well"].n_unique() == 96
    assert table["is_control"].sum() == 16
    assert table.filter(pl.col("is_control"))["dose_um"].null_count() == 16
    assert table.filter(control_type="positive").group_by("perturbation").len().sort("perturbation").rows() == [
        ("compound_A", 4),
        ("compound_B", 4),
    ]
    rising = table.filter(pl.col("row") == "E", pl.col("dose_level").is_between(1, 9)).sort("dose_level")["dose_um"]
    assert rising.is_sorted() and rising[0] == 0.31 and rising[-1] == 80
