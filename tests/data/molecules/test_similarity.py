"""Which molecules are the same, and how alike the others are, against the definitions."""

import numpy as np
import polars as pl
import pytest

from virtassay.data.molecules import Morgan, clusters, fingerprints, inchikey, nearest, scaffold, skeleton, tanimoto
from virtassay.data.molecules.descriptors import inchikey_column
from virtassay.data.molecules.similarity import plain

ASPIRIN, SALICYLIC, HEXANE, HEPTANE = "CC(=O)Oc1ccccc1C(=O)O", "O=C(O)c1ccccc1O", "CCCCCC", "CCCCCCC"


def test_an_inchikey_names_a_molecule_however_it_is_written_and_keeps_its_salt():
    assert inchikey("OCC") == inchikey("CCO") == "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"
    assert inchikey("CC(=O)[O-].[Na+]") != inchikey("CC(=O)O")
    assert inchikey("*") is None
    column = inchikey_column(pl.Series("smiles", [["CCO", None], None, ["*"]], pl.List(pl.String)))
    assert column.name == "inchikey" and column.to_list() == [[inchikey("CCO"), None], None, [None]]


def test_a_skeleton_is_that_of_the_parent_whatever_its_salt_charge_isotope_or_stereochemistry():
    for other in ("CC(=O)[O-]", "CC(=O)O.[Na+]", "CC(=O)[O-].[Na+]", "[13CH3]C(=O)O"):
        assert skeleton(other) == skeleton("CC(=O)O"), other
    assert skeleton("C[C@H](N)C(=O)O") == skeleton("C[C@@H](N)C(=O)O") != skeleton("CC(=O)O")


def test_a_scaffold_is_the_rings_and_their_linkers():
    assert scaffold(ASPIRIN) == scaffold(SALICYLIC) == "c1ccccc1" and scaffold(HEXANE) == ""
    assert scaffold("CC(=O)Nc1ccc(Cc2ccncc2)cc1") == scaffold("c1ccc(Cc2ccncc2)cc1") != "c1ccccc1"


def test_a_name_is_compared_without_case_and_signs():
    assert plain("5-Fluoro-Uracil ") == plain("5 fluorouracil") == "5fluorouracil"


def test_similarity_is_bits_in_both_over_bits_in_either_to_the_bit():
    smiles = [ASPIRIN, SALICYLIC, HEXANE, HEPTANE, "[Na+]"]
    bits = Morgan(radius=2, size=2048)(smiles).astype(bool)
    prints = fingerprints(smiles)
    for row, fingerprint in enumerate(prints):
        both, either = (bits[row] & bits).sum(1), (bits[row] | bits).sum(1)
        assert np.array_equal(tanimoto(fingerprint, prints), both / either)


def test_the_nearest_is_the_most_similar():
    number, similarity = nearest([SALICYLIC, HEXANE], [HEPTANE, ASPIRIN, HEXANE])
    assert number.tolist() == [1, 2] and similarity[1] == 1 and 0 < similarity[0] < 1
    with pytest.raises(ValueError, match="no molecules to be near to"):
        nearest([HEXANE], [])


def test_clusters_hold_what_is_similar_to_their_centre():
    smiles = [ASPIRIN, HEXANE, SALICYLIC, HEPTANE]
    groups = clusters(smiles, 0.3)
    assert sorted(map(sorted, groups)) == [[0, 2], [1, 3]]
    assert sorted(map(sorted, clusters(smiles, 1.0))) == [[0], [1], [2], [3]]
    assert clusters([HEXANE], 0.5) == [[0]]
    with pytest.raises(ValueError, match="too many to cluster"):
        clusters([HEXANE] * 10_001, 0.5)
