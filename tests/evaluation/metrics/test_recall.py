"""Retrieval against copairs and scikit-learn, nsc against its own definition and BBBC021's official tables."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

from tests.evaluation.by_hand import Treated, Untreated, candidate, described
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics import recall

rng = np.random.default_rng(0)
seeds = st.integers(0, 2**32 - 1)


def mean(values) -> float:
    return float(np.mean(values))


# pds: candidates and norm-matched distance


def test_pds_within_mechanism_asks_only_those_beside_it():
    real = np.array([[1, 0.0], [0.9, 0.5], [0, 1.0], [0.8, 0.2]])
    generated = np.array([[0.95, 0.3], [0.9, 0.5], [0, 1], [1, 0]])
    moa = np.array(["a", "a", "b", "a"])
    within = recall.pds(generated, real, candidates=moa[:, None] == moa)
    # the first is at 0.31 rad: 0.06 from the fourth, 0.20 from the second and 0.31 from its own
    assert within[[0, 1, 3]] == pytest.approx([0, 1, 0.5])
    assert np.isnan(within[2])  # alone in its mechanism
    assert recall.pds(generated, real)[0] == pytest.approx(1 / 3)


def test_pds_adds_the_own_effect_to_its_candidates():
    real = np.eye(4)
    unseen = np.array([False, False, True, True])
    beside = np.outer(unseen, unseen)
    assert recall.pds(real, real, candidates=beside)[2:] == pytest.approx([1, 1])
    assert recall.pds(real, real, candidates=beside & ~np.eye(4, dtype=bool))[2:] == pytest.approx([1, 1])
    assert beside.tolist() == np.outer(unseen, unseen).tolist()  # what was given is not changed


def test_pds_is_hurt_only_by_candidates_that_are_no_number():
    real, lost = np.eye(4), np.eye(4)
    lost[3] = np.nan
    beside = np.ones((4, 4), bool)
    beside[:2, 3] = False
    assert recall.pds(real, lost, candidates=beside)[:2] == pytest.approx([1, 1])
    assert np.isnan(recall.pds(real, lost, candidates=beside)[2:]).all()
    for closeness in (recall.cosines, recall.norm_matched_l2):
        assert recall.pds(lost, real, closeness=closeness)[:3] == pytest.approx([1, 1, 1])
        assert np.isnan(recall.pds(lost, real, closeness=closeness)[3])


def test_candidates_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="candidates"):
        recall.pds(np.eye(3), np.eye(3), candidates=np.ones(3, bool))


def test_norm_matched_pds_ranks_by_euclidean_distance_at_equal_size():
    g, r = 7 * rng.normal(size=(12, 5)), rng.normal(size=(12, 5)) * rng.uniform(0.2, 3, (12, 1))
    size = np.sqrt([np.square(g).sum(1).mean(), np.square(r).sum(1).mean()])
    distance = cdist(g / size[0], r / size[1])
    k = (distance < np.diag(distance)[:, None]).sum(1)
    assert recall.pds(g, r, closeness=recall.norm_matched_l2) == pytest.approx(1 - k / 11)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, factor=st.floats(1e-3, 1e3))
def test_norm_matched_pds_does_not_reward_exaggeration(seed, factor):
    local = np.random.default_rng(seed)
    g, r = local.normal(size=(8, 4)), local.normal(size=(8, 4))
    plain = recall.pds(g, r, closeness=recall.norm_matched_l2)
    assert recall.pds(factor * g, r, closeness=recall.norm_matched_l2) == pytest.approx(plain)


@pytest.mark.parametrize("closeness", [recall.cosines, recall.norm_matched_l2])
def test_saying_the_same_for_every_treatment_is_chance_exactly(closeness):
    doses = np.linspace(1, 5, 9)[:, None] * [1.0, 0.5]  # real effects differ in strength only
    assert mean(recall.pds(np.tile([2.0, 1.0], (9, 1)), doses, closeness=closeness)) == pytest.approx(0.5, abs=1e-12)
    r = rng.normal(size=(9, 4))
    assert mean(recall.pds(np.ones((9, 4)), r, closeness=closeness)) == pytest.approx(0.5, abs=1e-12)
    assert recall.pds(np.zeros((9, 4)), r).tolist() == [0.5] * 9


# nsc


def nsc_one_by_one(g, r, moa, compound, batch):
    """scikit-learn's 1-NN with cosine, asked one query after the other."""
    answers = np.full(len(g), np.nan)
    for i in range(len(g)):
        gallery = [
            j for j in range(len(r))
            if moa[j] is not None and compound[j] != compound[i] and (batch is None or batch[j] != batch[i])
        ]  # fmt: skip
        if moa[i] is not None and moa[i] in [moa[j] for j in gallery]:
            nearest = KNeighborsClassifier(n_neighbors=1, algorithm="brute", metric="cosine")
            nearest.fit(r[gallery], [moa[j] for j in gallery])
            answers[i] = nearest.predict(g[[i]])[0] == moa[i]
    return answers


@settings(max_examples=8, deadline=None)
@given(seed=seeds, batched=st.booleans(), block=st.sampled_from([7, 1 << 22]))
def test_nsc_agrees_with_scikit_learn(seed, batched, block):
    local = np.random.default_rng(seed)
    g, r = local.normal(size=(14, 3)), local.normal(size=(14, 3))
    moa = [None if m == "none" else m for m in local.choice(["a", "b", "c", "none"], 14).tolist()]
    compound = local.choice(list("pqrstuv"), 14).tolist()
    batch = local.choice(["1", "2", "3"], 14).tolist() if batched else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "BLOCK", block)
        found = recall.nsc(g, r, moa, compound, batch)
    np.testing.assert_array_equal(found, nsc_one_by_one(g, r, moa, compound, batch))


def test_nsc_shares_ties_and_finds_nothing_for_an_effect_that_is_no_number():
    real = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    moa, compound = ["a", "a", "b", "b"], ["p", "q", "r", "s"]
    assert recall.nsc(real, real, moa, compound)[:2] == pytest.approx([0.5, 0.5])  # one "a" and one "b" as near
    lost = real.copy()
    lost[0] = np.nan
    assert recall.nsc(lost, real, moa, compound)[0] == 0
    assert recall.nsc(real, lost, moa, compound)[1:].tolist() == [0, 0, 0]


@pytest.fixture(scope="module")
def bbbc021(shared_data: Path) -> pl.DataFrame:
    """The 103 annotated treatments, and the weeks in which each was run: `week` as published, of all its plates."""
    folder = shared_data / "bbbc021"
    moa = pl.read_csv(folder / "BBBC021_v1_moa.csv").filter(pl.col("compound") != "DMSO")
    image = pl.read_csv(folder / "BBBC021_v1_image.csv", infer_schema_length=None).select(
        pl.col("Image_Metadata_Compound").alias("compound"),
        pl.col("Image_Metadata_Concentration").alias("concentration"),
        pl.col("Image_Metadata_Plate_DAPI").str.split("_").list.first().alias("week"),
    )
    return (
        moa.join(image, on=["compound", "concentration"], how="left")
        .group_by("compound", "concentration", "moa")
        .agg(pl.col("week").unique().sort())
        .sort("compound", "concentration")
    )


def test_nsc_of_bbbc021_asks_103_treatments_and_nscb_92(bbbc021):
    assert bbbc021.height == 103
    assert bbbc021["compound"].n_unique() == 38
    assert bbbc021["moa"].n_unique() == 12
    weeks = bbbc021.explode("week").group_by("moa").agg(pl.col("week").n_unique())
    lonely = set(weeks.filter(pl.col("week") == 1)["moa"])
    assert lonely == {"Cholesterol-lowering", "Kinase inhibitors"}
    several = bbbc021.filter(pl.col("week").list.len() > 1)
    assert several.select("compound", "concentration").rows() == [("taxol", 0.3)]  # the positive control of every plate

    profiles = rng.normal(size=(103, 10))
    moa, compound = bbbc021["moa"].to_list(), bbbc021["compound"].to_list()
    batch = bbbc021["week"].list.join(",").to_list()
    assert np.isfinite(recall.nsc(profiles, profiles, moa, compound)).sum() == 103
    asked = np.isfinite(recall.nsc(profiles, profiles, moa, compound, batch))
    assert asked.sum() == 92
    assert {m for m, known in zip(moa, asked, strict=True) if not known} == lonely
    perfect = np.eye(12)[np.unique(moa, return_inverse=True)[1]]
    assert np.nanmean(recall.nsc(perfect, perfect, moa, compound)) == 1
    assert np.nanmean(recall.nsc(perfect, perfect, moa, compound, batch)) == 1


# retrieval


def retrieval_world(seed):
    local = np.random.default_rng(seed)
    treatment, batch = (
        (local.choice(names, 8).tolist(), local.choice(names, 30).tolist()) for names in (["a", "b", "c"], ["1", "2"])
    )
    return local.normal(size=(8, 4)), local.normal(size=(30, 4)), treatment, batch


@pytest.mark.parametrize("block", [40, 1 << 22])
def test_retrieval_agrees_with_scikit_learn(monkeypatch, block):
    monkeypatch.setattr(recall, "BLOCK", block)
    g, r, treatment, batch = retrieval_world(3)
    close = recall.cosines(g, r)
    expected = []
    for i in range(len(g)):
        right = np.array(treatment[1]) == treatment[0][i]
        ranked = right | (np.array(batch[1]) == batch[0][i])
        expected.append(average_precision_score(right[ranked], close[i, ranked]))
    assert recall.retrieval_map(g, r, treatment, batch) == pytest.approx(expected)


def test_retrieval_agrees_with_copairs():
    copairs = pytest.importorskip("copairs.map")
    import pandas as pd

    g, r, treatment, batch = retrieval_world(4)
    table = pd.DataFrame(
        {
            "treatment": np.concatenate(treatment),
            "batch": np.concatenate(batch),
            "side": ["generated"] * len(g) + ["real"] * len(r),
        }
    )
    result = copairs.average_precision(
        table,
        np.concatenate([g, r]),
        pos_sameby=["treatment"],
        pos_diffby=["side"],
        neg_sameby=["batch"],
        neg_diffby=["treatment", "side"],
        progress_bar=False,
    )
    expected = result["average_precision"].to_numpy()[: len(g)]
    assert recall.retrieval_map(g, r, treatment, batch) == pytest.approx(expected, abs=1e-6)  # it is in float32


def test_retrieval_by_hand():
    real = np.array([[1, 0], [1, 0.2], [1, 0.4], [0, 1]])
    treatment, batch = ["a", "b", "a", "b"], ["1", "1", "2", "2"]
    # in batch 1 a query for "a" ranks rows 0, 1 and 2: right, wrong, right
    found = recall.retrieval_map([[1, 0]], real, (["a"], treatment), (["1"], batch))
    assert found == pytest.approx([(1 + 2 / 3) / 2])
    # in batch 2 the wrong one is row 3, behind both
    assert recall.retrieval_map([[1, 0]], real, (["a"], treatment), (["2"], batch)) == pytest.approx([1])


def test_retrieval_of_ties_is_the_share_of_right_ones_in_any_order():
    g, real = np.ones((2, 3)), np.ones((5, 3))
    for labels in (["a", "a", "b", "b", "b"], ["b", "b", "b", "a", "a"]):
        found = recall.retrieval_map(g, real, (["a", "a"], labels), (["1", "1"], ["1"] * 5))
        assert found == pytest.approx([0.4, 0.4], abs=0)
    assert recall.retrieval_map(0 * g, real, (["a", "a"], labels), (["1", "1"], ["1"] * 5)) == pytest.approx(0.4, abs=0)


def test_retrieval_of_a_lost_query_is_zero_and_of_no_question_no_number():
    real = np.eye(3)
    g = [[np.nan, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]]
    queries = ["a", "z", "a", "a"], ["1", "1", "9", "1"]
    found = recall.retrieval_map(g, real, (queries[0], ["a", "b", "b"]), (queries[1], ["1", "1", "1"]))
    assert found[[0, 3]].tolist() == [0, 1]
    assert np.isnan(found[[1, 2]]).all()  # no replicate of "z"; no negative in batch "9"


def test_retrieval_refuses_lost_replicates_and_other_shapes():
    labels, lost = (["a"], ["a", "b"]), np.array([[1.0, 0], [np.inf, 0]])
    with pytest.raises(ValueError, match=r"1 real profiles are not finite \(rows \[1\]\)"):
        recall.retrieval_map([[1, 0]], lost, labels, labels)
    with pytest.raises(ValueError, match="same d"):
        recall.retrieval_map([[1, 0, 0]], np.eye(2), labels, labels)
    with pytest.raises(ValueError, match="labels"):
        recall.retrieval_map([[1, 0]], np.eye(2), labels, (["a"], ["a"]))


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_average_precision_agrees_with_scikit_learn_where_many_are_tied(seed):
    local = np.random.default_rng(seed)
    scores = local.integers(0, 4, (3, 9)) / 3 + local.choice([0, 1e-15], (3, 9))
    right, ranked = local.random((3, 9)) < 0.4, local.random((3, 9)) < 0.8
    ranked[:, 0] = right[:, 0] = True
    expected = [average_precision_score(a[b], np.round(s[b], 9)) for s, a, b in zip(scores, right, ranked, strict=True)]
    assert recall.average_precision(scores, right, ranked) == pytest.approx(expected)


def test_average_precision_of_nothing_right_is_no_number():
    row = np.zeros((1, 3), bool)
    assert np.isnan(recall.average_precision(np.zeros((1, 3)), row, ~row)).all()
    assert np.isnan(recall.average_precision(np.zeros((1, 3)), ~row, row)).all()


def test_pds_by_hand():
    real = np.eye(3)
    assert recall.pds(real, real) == pytest.approx([1, 1, 1])
    # the first points at the second's effect, then its own, then the third: one of two others is closer
    generated = np.array([[0.5, 1.0, 0.1], [0, 1, 0], [1, 0.9, 0.5]])
    assert recall.pds(generated, real) == pytest.approx([0.5, 1, 0])


def test_pds_of_ties_is_exactly_chance():
    assert recall.pds(np.ones((4, 4)), np.eye(4)) == pytest.approx([0.5] * 4, abs=0)
    assert recall.pds(np.zeros((4, 3)), rng.normal(size=(4, 3))) == pytest.approx([0.5] * 4, abs=0)


def test_pds_of_noise_averages_to_a_half():
    values = [recall.pds(rng.normal(size=(7, 5)), rng.normal(size=(7, 5))).mean() for _ in range(400)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)


def test_pds_subtracts_what_is_shared():
    real, shared = np.eye(3), np.array([5.0, 5.0, 5.0])
    assert recall.pds(real + shared, real + shared, shared) == pytest.approx([1, 1, 1])


def test_pds_of_one_treatment_is_no_number():
    assert np.isnan(recall.pds(np.ones((1, 2)), np.ones((1, 2)))).all()


def test_nsc_by_hand():
    real = np.array([[1, 0.1], [1, 0.0], [0, 1.0], [0.1, 1], [1, 1]])
    moa, compound = ["a", "a", "b", "b", None], ["p", "q", "r", "s", "t"]
    assert recall.nsc(real, real, moa, compound)[:4] == pytest.approx([1, 1, 1, 1])
    assert np.isnan(recall.nsc(real, real, moa, compound)[4])
    swapped = real[[2, 3, 0, 1, 4]]
    assert recall.nsc(swapped, real, moa, compound)[:4] == pytest.approx([0, 0, 0, 0])


def test_nsc_never_matches_a_dose_of_the_same_compound_nor_a_mechanism_without_another():
    real = np.array([[1, 0.0], [1, 0.01], [0, 1.0], [-1, 0.2]])
    moa, compound = ["a", "a", "b", "a"], ["p", "p", "r", "s"]
    answers = recall.nsc(real, real, moa, compound)
    assert answers[[0, 1]] == pytest.approx([0, 0])  # its own other dose is excluded, "r" is nearer than "s"
    assert np.isnan(answers[2])  # "b" has no other compound: not asked


def test_nscb_excludes_the_batch():
    real = np.array([[1, 0.0], [1, 0.01], [0, 1.0], [0.2, 1]])
    moa, compound, batch = ["a", "a", "b", "b"], ["p", "q", "r", "s"], ["1", "1", "1", "2"]
    answers = recall.nsc(real, real, moa, compound, batch)
    assert np.isnan(answers[:2]).all()  # the only other "a" is in the same batch
    assert answers[2:] == pytest.approx([1, 1])


def test_cosines_of_small_effects_and_of_none():
    assert recall.cosines([[1e-5, 0], [0, 0]], [[1e-3, 0], [3e-3, 4e-3], [0, 0]]) == pytest.approx(
        np.array([[1, 0.6, 0], [0, 0, 0]])
    )


def test_norm_matched_closeness_by_hand():
    # root mean squares 0.05 and 2: queries (1, 1), (−1, 1) over … √2; the gallery (1, 0) and (0, 1) once divided
    queries, gallery = 0.05 * np.array([[0.6, 0.8], [0.8, -0.6]]), 2 * np.eye(2)
    assert recall.norm_matched_l2(queries, gallery) == pytest.approx(np.array([[0.2, 0.6], [0.6, -2.2]]))
    assert recall.norm_matched_l2(0 * queries, gallery) == pytest.approx(np.full((2, 2), -1.0))
    lost = np.array([[np.nan, 0], [0.05, 0]])  # the size is that of the queries that are numbers
    assert recall.norm_matched_l2(lost, gallery)[1] == pytest.approx([1, -1])


def test_average_precision_by_hand():
    # ranked: right, wrong, (right and wrong tied), and a right one that is not ranked
    scores = np.array([[4.0, 3, 2, 2, 9]])
    right = np.array([[True, False, True, False, True]])
    ranked = np.array([[True, True, True, True, False]])
    assert recall.average_precision(scores, right, ranked) == pytest.approx([(1 + 2 / 4) / 2])


@pytest.mark.parametrize("is_model", [True, False])
def test_a_generated_effect_finds_the_wells_of_its_treatment_among_those_of_the_batch(is_model):
    # controls of batch one: (1, 2) on the real side, (4, 1) on the generated one; of two: (0, 0) on both
    untreated = {
        "one": Untreated([[0, 2], [2, 2]], [[4, 0], [4, 2]], [[9, 9]]),
        "two": Untreated([[0, 1], [0, -1]], [[1, 0], [-1, 0]], [[9, 9]]),
    }
    treated = [
        Treated("two", "p", [[[-1, 0]]], np.zeros((0, 2))),  # at 180°; nothing was generated
        Treated("one", "p", [[[1, 2], [3, 2]], [[2, 3]]], [[4, 1.2], [6, 1.2]]),  # wells at 0° and 45°, asked at 11.3°
        Treated("one", "q", [[[0, 3], [2, 3]], [[3, 3]]], [[5, 1.9]]),  # at 90° and 26.6°, asked at 42.0°
        Treated("two", "q", [[[0, -1]]], [[-1, -0.5]]),  # at 270°, asked at 206.6°
    ]
    model, space = candidate(treated, untreated, is_model=is_model)
    # p in one: right at 0°, wrong 26.6°, right 45°, wrong 90°, right 180°; q in one: wrong 45°, right 26.6°,
    # wrong 0°, right 90°, right 270°; q in two: wrong 180°, right 270°, right 90°, right 26.6°
    precision = [(1 + 2 / 3 + 3 / 5) / 3, (1 / 2 + 2 / 4 + 3 / 5) / 3, (1 / 2 + 2 / 3 + 3 / 4) / 3]
    scores = recall.retrieved(model, space)
    assert list(scores) == [("retrieval_map", POOLED)]
    score = scores["retrieval_map", POOLED]
    n = 4 if is_model else 3  # what a model lacks is worst, what a baseline lacks is left out
    assert score.value == pytest.approx(sum(precision) / n)
    assert (score.n_real, score.n_generated, score.detail["n"]) == (8, 4, n)
    assert score.detail["interval"] == "bootstrap over 2 perturbations"


def test_which_way_is_better_is_said():
    assert described(recall.retrieved) == {"retrieval_map": ("↑", False)}
