"""Counts, layout, confounding, and molecules of small indices whose answers are known."""

from pathlib import Path

import polars as pl
import pytest

from tests.toy_screen import write_screen
from virtassay.card import design
from virtassay.data.dataset.store import Dataset, open_dataset
from virtassay.schema import treatment, validate


@pytest.fixture
def screen(tmp_path: Path) -> Dataset:
    """2 batches of one plate with 4 wells of DMSO (A), taxol (B) and ethanol (C), 2 images each."""
    return open_dataset(write_screen(tmp_path / "screen", images_per_well=2))


def table(rows: list[tuple[str, str, str, str, bool]], **columns: list[object]) -> pl.DataFrame:
    names = ["plate", "well", "batch", "perturbation", "is_control"]
    index = pl.DataFrame(rows, names, orient="row").with_columns(image_id=pl.format("i{}", pl.int_range(pl.len())))
    index = validate(index.with_columns(pl.Series(name, values, strict=False) for name, values in columns.items()))
    return index.with_columns(treatment(index))


def test_everything_is_counted(screen: Dataset):
    assert design.totals(screen.index) == {
        "images": 48, "wells": 24, "plates": 2, "batches": 2, "perturbations": 2, "treatments": 2,
        "control_images": 16, "control_wells": 8,
    }  # fmt: skip
    first = design.by(screen.index, "batch").row(0, named=True)
    assert first == {
        "batch": "week1", "images": 24, "wells": 12, "plates": 1, "batches": 1, "treatments": 2, "control_wells": 4
    }  # fmt: skip
    assert [line["split"] for line in design.splits(screen.index)] == ["test", "train", "val"]
    assert {line["unseen_perturbations"] for line in design.splits(screen.index)} == {0}
    assert design.splits(screen.index.drop("split")) == []
    assert design.control_types(screen.index) == [{"control_type": None, "name": "DMSO", "wells": 8, "images": 16}]


def test_perturbations_that_training_lacks_are_counted(screen: Dataset):
    held_out = screen.index.with_columns(
        split=pl.when(pl.col("treatment").str.contains("taxol")).then(pl.lit("test")).otherwise(pl.lit("train"))
    )
    assert {line["split"]: line["unseen_perturbations"] for line in design.splits(held_out)} == {"test": 1, "train": 0}


def test_doses_are_listed_in_their_order_and_of_combinations_together():
    names = ["drug", "drug", "drug", "drug+other", "drug+other", "DMSO"]
    rows = [("p", f"A{i:02d}", "b", name, name == "DMSO") for i, name in enumerate(names)]
    doses = [[10.0], [3.0], [3.0], [3.0, 1.0], [3.0, 1.0], [None]]
    index = table(rows, dose_um=doses, perturbation=[name.split("+") for name in names])
    alone, both = design.doses(index)
    assert alone["perturbation"] == "drug" and alone["images"] == 3
    assert alone["doses"] == [{"dose_um": [3.0], "images": 2, "wells": 2}, {"dose_um": [10.0], "images": 1, "wells": 1}]
    assert both["perturbation"] == "drug + other" and both["doses"][0]["dose_um"] == [3.0, 1.0]
    assert design.doses(index.drop("dose_um"))[0]["doses"][0]["dose_um"] is None


def test_controls_on_the_edge_are_found(screen: Dataset):
    assert design.layout(screen.index) == {
        "format": 96, "control_wells_on_edge": 1.0, "treated_wells_on_edge": 0.25, "wells_not_placed": 0
    }  # fmt: skip
    assert design.layout(screen.index.with_columns(well=pl.lit("well ") + pl.col("well"))) is None
    large = screen.index.with_columns(well=pl.col("well").str.replace("C04", "P24"))
    found = design.layout(large)
    assert found is not None and found["format"] == 384 and found["treated_wells_on_edge"] == 3 / 8
    odd = design.layout(screen.index.with_columns(well=pl.col("well").str.replace("A01", "x")))
    assert odd is not None and odd["wells_not_placed"] == 2


def test_what_cannot_be_told_from_its_batch_is_named():
    rows = [("p1", "A01", "b1", "DMSO", True), ("p1", "A02", "b1", "x", False), ("p1", "A03", "b1", "y", False)]
    rows += [("p2", f"A{i:02d}", "b2", "DMSO", True) for i in range(1, 5)] + [("p2", "B01", "b2", "x", False)]
    rows += [("p3", "A01", "b3", "x", False), ("p3", "A02", "b3", "y", False)]
    found = design.confounding(table(rows))
    assert found == {
        "batches_without_controls": ["b3"], "batches_of_one_treatment": ["b2"], "plates_without_controls": ["p3"],
        "plates_of_few_controls": ["p1"], "treatments_in_one_batch": 0,
    }  # fmt: skip
    one = design.confounding(table(rows).filter(pl.col("batch") == "b2"))
    assert one["batches_of_one_treatment"] == [] and one["treatments_in_one_batch"] is None


def test_molecules_are_read_and_salts_and_second_names_found():
    smiles = ["CCO", "OCC", "CC(=O)[O-].[Na+]", None, "not a molecule", None]
    names = ["ethanol", "alcohol", "acetate", "secret", "wrong", "DMSO"]
    rows = [("p", f"A{i:02d}", "b", name, name == "DMSO") for i, name in enumerate(names)]
    assert design.molecules(table(rows, smiles=smiles)) == {  # type: ignore[arg-type]
        "perturbations": 5, "with_smiles": 4, "smiles": 4, "unreadable": ["not a molecule"], "salts": 1,
        "structures": 2, "same_structure": [["alcohol", "ethanol"]],
    }  # fmt: skip
    assert design.molecules(table(rows)) is None


def test_flags_of_the_fields_are_counted_by_reason(screen: Dataset):
    assert design.flagged(screen.index) is None
    reasons = ["out of focus: DNA"] * 3 + ["saturated: actin"] + [None] * 44
    told = screen.index.with_columns(flagged=pl.Series(reasons))
    assert design.flagged(told) == {"out of focus: DNA": 3, "saturated: actin": 1}
    assert design.flagged(screen.index.with_columns(flagged=pl.lit(False))) == {}
