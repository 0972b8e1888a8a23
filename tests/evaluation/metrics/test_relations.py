"""Pairs that are known: made from labels, read from a user's table."""

import logging

import numpy as np
import polars as pl
import pytest

from tests.evaluation.oracles import efaar
from virtassay.evaluation.metrics import relations

NAMES = ["tubulin", "actin", "MYC", "TP53"]


def test_pairs_of_a_label_by_hand():
    labels = ["a", "b", None, "a", "b", "a", "c"]
    assert relations.pairs_of_label(labels).tolist() == [[0, 3], [0, 5], [1, 4], [3, 5]]


@pytest.mark.parametrize("labels", [["a", "b", None], [None, None], []])
def test_labels_that_nobody_shares_are_refused(labels):
    with pytest.raises(ValueError, match="no pair is known"):
        relations.pairs_of_label(labels)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_pairs_of_a_table_become_rows_once_each(tmp_path, suffix, caplog):
    path = tmp_path / f"pairs.{suffix}"
    table = pl.DataFrame({"one": ["TP53", "MYC", "actin", "MYC"], "other": ["MYC", "TP53", "tubulin", "MYC"]})
    (table.write_csv if suffix == "csv" else table.write_parquet)(path)
    assert relations.read_pairs(path, NAMES).tolist() == [[0, 1], [2, 3]]
    assert caplog.text == ""


def test_names_that_are_not_on_the_map_are_counted_and_named(tmp_path, caplog):
    path = tmp_path / "pairs.csv"
    path.write_text("a,b\nMYC,TP53\nMYC,KRAS\nEGFR,KRAS\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert relations.read_pairs(path, NAMES).tolist() == [[2, 3]]
    assert "2 of 3 pairs are left out; 2 of its names are not on the map, the first: ['EGFR', 'KRAS']" in caplog.text


def test_names_that_look_like_numbers_stay_names(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("a,b\n007,1.50\n", encoding="utf-8")
    assert relations.read_pairs(path, ["007", "7", "1.50", "1.5"]).tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a,b\n", "0 rows"),
        ("a,b,score\nMYC,TP53,1\n", "no columns but the two names"),
        ("a\nMYC\n", "no columns but the two names"),
        ("a,b\nMYC,\nTP53,MYC\n", r"1 rows lack a name, the first: \[1\]"),
        ("a,b\nmyc,tp53\n", r"none of 1 pairs are two perturbations of the map.*written as \['tubulin'"),
        ("a,b\nMYC,MYC\n", "none of 1 pairs"),
        ("a,b\nMYC,TP53,x\n", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_table_that_holds_no_pairs_is_refused(tmp_path, text, match):
    path = tmp_path / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=match):
        relations.read_pairs(path, NAMES)


def test_a_missing_table_and_a_name_twice_on_the_map_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="put it there"):
        relations.read_pairs(tmp_path / "none.csv", NAMES)
    path = tmp_path / "pairs.csv"
    path.write_text("a,b\nMYC,TP53\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"1 names more than once: \['MYC'\]"):
        relations.read_pairs(path, [*NAMES, "MYC"])


def test_pairs_of_a_table_agree_with_efaar(monkeypatch, tmp_path):
    benchmarking = efaar(monkeypatch, "benchmarking")
    names = [f"gene{i}" for i in range(30)]
    ends = np.random.default_rng(0).choice(names, (300, 2))
    pl.DataFrame(ends, schema=["entity1", "entity2"]).write_csv(tmp_path / "complexes.txt")
    theirs = benchmarking.get_benchmark_relationships(tmp_path, "complexes")
    ours = relations.read_pairs(tmp_path / "complexes.txt", names)
    assert {tuple(sorted((names[i], names[j]))) for i, j in ours} == set(theirs.itertuples(index=False, name=None))
    assert len(ours) == len(theirs) < 300


def test_pairs_are_split_by_what_was_seen():
    pairs = np.array([[0, 1], [0, 2], [2, 3]])
    split = relations.pairs_by_seen(pairs, [True, True, False, False])
    assert {name: mask.tolist() for name, mask in split.items()} == {
        "seen_seen": [True, False, False],
        "seen_unseen": [False, True, False],
        "unseen_unseen": [False, False, True],
    }


@pytest.mark.parametrize("pairs", [[[0, 0]], [[0, 4]], [[-1, 2]]])
def test_pairs_off_the_map_are_refused(pairs):
    with pytest.raises(ValueError, match=r"1 of 2 known pairs are not two rows of a map of 4"):
        relations.check_pairs(np.array([[0, 1], *pairs]), 4)


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="k ≥ 1"):
        relations.check_pairs(np.zeros((0, 2), np.int64), 4)
