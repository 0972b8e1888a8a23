"""Whole scaffolds and clusters of compounds are held out."""

import polars as pl
import pytest

from tests.data.prepare.splits.screens import DRUG_LIKE, SCAFFOLDS, compounds
from virtassay.data.prepare import splits
from virtassay.schema import InvalidIndex


@pytest.mark.parametrize("seed", range(5))
def test_whole_scaffolds_are_held_out(seed: int):
    index = compounds(**DRUG_LIKE)
    held = splits.by_scaffold(index, fraction=0.4, seed=seed)
    assert 2 <= len(held) <= 3 and held == splits.by_scaffold(index.reverse(), fraction=0.4, seed=seed)
    assert all(group <= set(held) or not group & set(held) for group in SCAFFOLDS)
    split = splits.split_unseen(index, perturbations=lambda i: splits.by_scaffold(i, fraction=0.4, seed=seed))
    unseen = split.filter(held_out="perturbation")["perturbation"].explode(empty_as_null=False)
    assert set(unseen) == set(held) and set(split.filter(pl.col("perturbation").list.first().is_in(held))["split"]) == {
        "test"
    }


def test_whole_clusters_are_held_out():
    alike = {"a": "CCCCCCCCO", "b": "CCCCCCCCCO", "c": "CCCCCCCCCCO", "d": "c1ccc2ccccc2c1", "e": "O=C(O)c1ccncc1"}
    for seed in range(5):
        held = set(splits.by_cluster(compounds(**alike), fraction=0.6, similarity=0.5, seed=seed))
        assert held and ({"a", "b", "c"} <= held or not {"a", "b", "c"} & held)


def test_two_names_of_one_molecule_are_held_out_together():
    index = compounds(one="Cc1ccccc1", two="c1ccccc1C", three="CCO", four="c1ccncc1")
    held = [set(splits.by_scaffold(index, fraction=0.5, seed=seed)) for seed in range(8)]
    assert all({"one", "two"} <= names or not {"one", "two"} & names for names in held)
    assert any({"one", "two"} <= names for names in held)


def test_what_the_audit_takes_for_one_compound_is_held_out_together():
    index = compounds(Amine="NC1CCCCC1", amine="CCCCCCN", salt="CCCCCCN.Cl", other="c1ccncc1", last="c1ccccc1")
    for choose in (splits.by_scaffold, splits.by_cluster):
        held = [set(choose(index, fraction=0.6, seed=seed)) for seed in range(8)]
        group = {"Amine", "amine", "salt"}  # by name, and by parent
        assert all(group <= names or not group & names for names in held) and any(group <= names for names in held)


def test_a_salt_with_rings_is_held_out_with_its_base():
    smiles = {
        "base": "CCCCCCCCCCCCN",
        "benzoate": "CCCCCCCCCCCCN.OC(=O)c1ccccc1",
    }  # two scaffolds: the base has no ring
    index = compounds(**smiles, other="c1ccncc1", last="C1CCCCC1")
    for choose in (splits.by_scaffold, splits.by_cluster):
        held = [set(choose(index, fraction=0.5, seed=seed)) for seed in range(8)]
        assert all(len({"base", "benzoate"} & names) != 1 for names in held)
        assert any({"base", "benzoate"} <= names for names in held)


def test_structures_are_needed_to_group_by_structure(index: pl.DataFrame):
    for choose in (splits.by_scaffold, splits.by_cluster):
        with pytest.raises(InvalidIndex, match="there is no column 'smiles'"):
            choose(index)
        with pytest.raises(InvalidIndex, match="1 have SMILES: 2 are needed"):
            choose(compounds(one="CCO"))
        with pytest.raises(ValueError, match=r"fraction=1\.5"):
            choose(compounds(**DRUG_LIKE), fraction=1.5)
    with pytest.raises(InvalidIndex, match="all 2 compounds fall into one group"):
        splits.by_scaffold(compounds(one="CCO", two="CCC"))
