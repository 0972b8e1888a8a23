"""The plate for the lab: compounds unlike each other, controls spread over it."""

import polars as pl
import pytest

from virtassay.screening.plate import Plate, diverse, plate_map

HITS = pl.DataFrame(
    {
        "name": ["ethanol", "propanol", "benzene", "toluene", "glycine", "alanine"],
        "smiles": ["CCO", "CCCO", "c1ccccc1", "Cc1ccccc1", "NCC(=O)O", "NC(C)C(=O)O"],
        "dose_um": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    }
)


def test_the_best_and_what_is_unlike_it():
    assert diverse(HITS, 3, among=6)["name"].to_list() in (
        ["ethanol", "benzene", "glycine"], ["ethanol", "benzene", "alanine"], ["ethanol", "toluene", "glycine"],
        ["ethanol", "toluene", "alanine"],
    )  # fmt: skip
    assert diverse(HITS, 2, among=2)["name"].to_list() == ["ethanol", "propanol"]
    assert diverse(HITS, 9, among=9).equals(HITS)


def test_what_is_known_already_is_not_picked():
    picked = diverse(HITS, 2, among=6, known=["CCO", "NCC(=O)O", "NC(C)C(=O)O"])["name"].to_list()
    assert len(picked) == 2 and {"ethanol", "glycine", "alanine"}.isdisjoint(picked)
    assert diverse(HITS, 1, among=6, known=["OCC"])["name"][0] != "ethanol"


def test_controls_are_spread_and_compounds_fill_the_rest():
    table = plate_map(HITS, wells=96, controls=8)
    assert table.filter("is_control").height == 8 and table.filter(~pl.col("is_control")).height == 6
    assert table.filter("is_control")["well"].str.head(1).n_unique() == 8
    assert dict(table.filter(~pl.col("is_control")).select("name", "dose_um").iter_rows())["glycine"] == 5.0
    assert plate_map(HITS, 96, 94)["plate"].n_unique() == 3
    with pytest.raises(ValueError, match="a plate of 100 wells is unknown"):
        plate_map(HITS, 100, 4)
    with pytest.raises(ValueError, match="leave no room"):
        plate_map(HITS, 96, 96)
    with pytest.raises(ValueError, match="give 1 or more"):
        diverse(HITS, 0, 5)


def test_a_plate_is_the_map_of_what_is_unlike():
    known = ["CCO"]
    table = Plate(wells=96, controls=8, compounds=2, among=6)(HITS, known)
    assert table.equals(plate_map(diverse(HITS, 2, 6, known), 96, 8))
