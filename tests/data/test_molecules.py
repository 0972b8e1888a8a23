"""SMILES → canonical SMILES → fingerprint."""

import numpy as np
import polars as pl
import pytest

from virtassay.data.molecules import InvalidSmiles, Morgan, canonical_column, canonical_smiles


def test_two_texts_of_one_molecule_are_one_and_cxsmiles_suffixes_are_dropped():
    assert canonical_smiles("OCC") == canonical_smiles("CCO") == "CCO"
    assert canonical_smiles("CCO |c:1,2|") == "CCO"
    assert canonical_smiles("not a molecule") is None
    assert canonical_smiles("") is None


def test_an_invalid_smiles_is_named_with_its_row():
    column = pl.Series("smiles", [["CCO"], [None], ["C1CC"], ["CCO", "xyz"]], pl.List(pl.String))
    with pytest.raises(InvalidSmiles, match=r"plates.csv: 2 SMILES .*row 2: 'C1CC', row 3: 'xyz'"):
        canonical_column(column, "plates.csv")


def test_nulls_and_order_stay():
    column = pl.Series("smiles", [["OCC", None], None, ["C"]], pl.List(pl.String))
    assert canonical_column(column, "x").to_list() == [["CCO", None], None, ["C"]]


def test_morgan_bits_and_counts():
    bits, counts = Morgan()(["CCO", "CCCCCCCCCC"]), Morgan(counts=True, size=512)(["CCO", "CCCCCCCCCC"])
    assert bits.shape == (2, 2048) and bits.dtype == np.uint8 and set(np.unique(bits)) == {0, 1}
    assert counts.shape == (2, 512) and counts.max() > 1
    assert not np.array_equal(bits[0], bits[1])
    assert Morgan()([]).shape == (0, 2048)
