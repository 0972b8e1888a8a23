"""Enrichment with answers known by hand, and truth carried from the library into the report."""

import numpy as np
import polars as pl
import pytest

from virtassay.screening.enrichment import actives, enrichment_curve, enrichment_factor, roc_auc
from virtassay.screening.library import InvalidLibrary, LibraryColumns, prepare_library

ACTIVE = np.array([1, 0, 1, 0, 0, 0, 0, 0, 0, 0])


def test_a_ranking_by_hand():
    scores = -np.arange(10.0)  # the actives are first and third
    assert roc_auc(ACTIVE, scores) == pytest.approx(15 / 16)
    assert enrichment_factor(ACTIVE, scores, 0.1) == pytest.approx(5)
    assert enrichment_factor(ACTIVE, scores, 0.3) == pytest.approx(1 / 0.3)
    assert enrichment_factor(ACTIVE, scores, 0.01) == pytest.approx(5)  # one compound is the least that can be tested
    assert enrichment_factor(ACTIVE, scores, 1) == pytest.approx(1)
    curve = enrichment_curve(ACTIVE, scores)
    assert curve.screened.tolist() == pytest.approx(np.linspace(0, 1, 11))
    assert curve.recovered.tolist() == [0, 0.5, 0.5, *[1.0] * 8]
    assert roc_auc(ACTIVE, -scores) == pytest.approx(1 / 16) and enrichment_factor(ACTIVE, -scores, 0.5) == 0


def test_scores_that_are_all_the_same_are_chance():
    assert roc_auc(ACTIVE, np.zeros(10)) == 0.5
    assert [enrichment_factor(ACTIVE, np.zeros(10), f) for f in (0.1, 0.35, 1)] == pytest.approx([1, 1, 1])
    assert enrichment_curve(ACTIVE, np.zeros(10)).screened.tolist() == [0, 1]


def test_chance_is_one_and_the_best_is_what_there_is():
    rng = np.random.default_rng(0)
    active = np.arange(5000) < 250
    chance = [enrichment_factor(active, rng.random(5000), 0.01) for _ in range(300)]
    assert np.mean(chance) == pytest.approx(1, abs=0.15)
    assert enrichment_factor(active, active, 0.01) == pytest.approx(20)  # 1 / share of actives
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        enrichment_factor(active, active, 1.5)


def test_what_counts_as_active():
    assert actives([0, 1, 1, 0]).tolist() == [False, True, True, False]
    assert actives(np.arange(20)).sum() == 2
    with pytest.raises(ValueError, match="3 of 3 compounds are active"):
        actives([1, 1, 1])


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_truth_is_kept_beside_the_molecule(tmp_path, ending):
    path = tmp_path / f"library{ending}"
    table = pl.DataFrame({"smiles": ["CCO", "CCN", "CCC"], "name": ["a", "b", "c"], "works": [1.0, None, 0.0]})
    if ending == ".parquet":
        table.write_parquet(path)
    else:
        table.write_csv(path, separator="\t" if ending == ".tsv" else ",")
    found = prepare_library(path, tmp_path / "out", LibraryColumns(truth="works"))
    assert pl.read_parquet(found.table)["truth"].to_list() == [1, None, 0]
    without = prepare_library(path, tmp_path / "other")
    assert pl.read_parquet(without.table)["truth"].null_count() == 3 and without.sha256 == found.sha256


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("smiles,works\nCCO,yes\n", r"row 1: works is 'yes'; truth is 0, 1 or another number"),
        ("smiles,works\nCCO,1\nCCN,inf\n", r"row 2: works is 'inf'"),
        ("smiles,works\nCCO,1\nCCN,1\n", r"works must tell compounds apart; its values are \[1.0\]"),
        ("smiles,work\nCCO,1\n", "no column 'works'; it has"),
    ],
)
def test_a_truth_that_tells_nothing_is_refused(tmp_path, text, error):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InvalidLibrary, match=error):
        prepare_library(tmp_path / "x.csv", tmp_path / "out", LibraryColumns(truth="works"))
    (tmp_path / "x.smi").write_text("CCO a\n")
    with pytest.raises(InvalidLibrary, match="a smi holds SMILES and names only"):
        prepare_library(tmp_path / "x.smi", tmp_path / "out", LibraryColumns(truth="works"))


def test_the_part_that_is_tested_is_whole_compounds():
    # 0.07 of a hundred is seven, although 0.07 · 100 is 7.000000000000001; 0.071 of them eight
    active, scores = np.arange(100) == 7, -np.arange(100.0)  # the eighth is active
    assert enrichment_factor(active, scores, 0.07) == 0
    assert enrichment_factor(active, scores, 0.071) == pytest.approx(100 / 8)
    for wrong in (0.0, -0.1):
        with pytest.raises(ValueError, match="above 0 and up to 1"):
            enrichment_factor(active, scores, wrong)


def test_the_highest_tenth_is_active_where_truth_is_a_number():
    assert np.flatnonzero(actives([0.5, 1, 0, 0.2, 0.1, 0, 0, 0, 0, 0, 0])).tolist() == [0, 1]
    with pytest.raises(ValueError, match="0 of 2 compounds are active"):
        actives([0, 0])


def test_one_active_compound_of_twenty_is_one():
    assert np.flatnonzero(actives([0.0] * 13 + [1] + [0] * 6)).tolist() == [13]  # not the highest tenth of the values


def test_compounds_that_tie_are_one_step_of_the_curve():
    curve = enrichment_curve([0, 1, 0, 1], [3.0, 2, 2, 1])
    assert curve.screened.tolist() == [0, 0.25, 0.75, 1] and curve.recovered.tolist() == [0, 0, 0.5, 1]
    assert enrichment_factor([0, 1, 0, 1], [3.0, 2, 2, 1], 0.5) == pytest.approx(0.25 / 0.5), "half of a half"
