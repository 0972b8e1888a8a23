"""Plates as pictures."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from virtassay.report.plates import ordered_treatments, plate_layout
from virtassay.schema import treatment, validate


def saved(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def table(wells: list[str], plates: int = 2) -> pl.DataFrame:
    drugs = [("DMSO", None), ("taxol", 10.0), ("taxol", 3.0), ("ALLN", 5.0)]
    rows = []
    for p in range(plates):
        for number, well in enumerate(wells):
            name, dose = drugs[number % len(drugs)]
            rows.append(
                {"image_id": f"{p}-{well}", "plate": f"P{p}", "well": well, "batch": "b", "perturbation": [name],
                 "dose_um": [dose], "is_control": name == "DMSO"}
            )  # fmt: skip
    index = validate(pl.DataFrame(rows, infer_schema_length=None))
    return index.with_columns(treatment(index))


def test_treatments_are_ordered_controls_first_then_by_name_and_rising_dose():
    index = table([f"A{i:02d}" for i in range(1, 9)])
    both = index.head(1).with_columns(
        perturbation=pl.Series([["ALLN", "taxol"]]), is_control=pl.lit(False), treatment=pl.lit("mix")
    )
    order = ordered_treatments(pl.concat([both, index]))["treatment"].to_list()
    assert order == ["DMSO", "ALLN 5 µM", "taxol 3 µM", "taxol 10 µM", "mix"]


@pytest.mark.parametrize(
    "wells", [["A01", "B02", "h12"], ["P24", "A01"], ["AF48", "Z03", "AA01"], ["field 1", "field 2"], ["B2"]]
)
def test_plates_of_every_size_are_drawn(tmp_path: Path, wells: list[str]):
    plate_layout(tmp_path / "plates.png", table(wells))
    drawn = saved(tmp_path / "plates.png")
    assert len(np.unique(drawn[..., :3].reshape(-1, 3), axis=0)) > 20


def test_further_plates_are_left_out(tmp_path: Path):
    index = table(["A01", "B02"], plates=5)
    plate_layout(tmp_path / "first.png", index, most=3)
    plate_layout(tmp_path / "alone.png", index.filter(pl.col("plate").is_in(["P0", "P1", "P2"])))
    np.testing.assert_array_equal(saved(tmp_path / "first.png"), saved(tmp_path / "alone.png"))
