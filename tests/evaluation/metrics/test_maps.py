"""Recall against EFAAR, concordance against scipy, targets against scikit-learn, and what must not fool them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.evaluation.oracles import efaar
from virtassay.evaluation.metrics import maps
from virtassay.evaluation.metrics.recall import cosines
from virtassay.evaluation.metrics.relations import pairs_of_label

rng = np.random.default_rng(0)
seeds = st.integers(0, 2**32 - 1)


def upper(vectors):
    return cosines(vectors, vectors)[np.triu_indices(len(vectors), 1)]


def all_pairs(n):
    return np.stack(np.triu_indices(n, 1), 1)


# the map


def test_map_weighs_batches_and_not_images():
    x = [[1.0, 0], [3, 0], [10, 2], [7, 7], [0, 1]]
    names, vectors = maps.perturbation_map(x, ["p", "p", "p", "a", "p"], ["1", "1", "2", "1", "3"])
    assert names == ["a", "p"]
    assert vectors == pytest.approx(np.array([[7, 7], [(2 + 10 + 0) / 3, (0 + 2 + 1) / 3]]))


def test_map_of_an_image_that_is_not_finite_loses_its_perturbation_only():
    vectors = maps.perturbation_map([[1.0], [np.nan], [2.0]], ["p", "p", "q"], ["1", "2", "2"])[1]
    np.testing.assert_array_equal(vectors, [[np.nan], [2.0]])


def test_map_does_not_depend_on_the_order_of_images():
    x, p, b = rng.normal(size=(40, 3)), rng.choice(list("pqr"), 40), rng.choice(list("12"), 40)
    order = rng.permutation(40)
    once, again = (maps.perturbation_map(x[o], p[o].tolist(), b[o].tolist())[1] for o in (np.arange(40), order))
    np.testing.assert_allclose(once, again)


def test_map_of_columns_that_do_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\(n,\)"):
        maps.perturbation_map(np.ones((3, 2)), ["p", "q"], ["1", "1", "1"])


# relation recall


@pytest.mark.parametrize("n", [7, 8, 21, 41, 60])
@pytest.mark.parametrize("block", [5, 512])
def test_relation_recall_agrees_with_efaar(monkeypatch, n, block):
    benchmarking = efaar(monkeypatch, "benchmarking")
    monkeypatch.setattr(maps, "BLOCK", block)
    vectors = rng.normal(size=(n, 4))
    similarity = cosines(vectors, vectors)
    for pair, found in zip(all_pairs(n), maps.relation_recall(vectors, all_pairs(n)), strict=True):
        result = benchmarking.compute_recall(upper(vectors), similarity[tuple(pair)][None], [(0.05, 0.95)])
        assert found == result["recall_0.05_0.95"]


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_relation_recall_agrees_with_efaar_where_many_pairs_are_tied(seed):
    with pytest.MonkeyPatch.context() as patch:
        benchmarking = efaar(patch, "benchmarking")
    vectors = np.random.default_rng(seed).integers(-1, 2, (25, 3)) + np.array([0, 0, 0.5])
    pairs = all_pairs(25)[::3]
    similarity = np.round(cosines(vectors, vectors), 9)
    null = similarity[np.triu_indices(25, 1)]
    result = benchmarking.compute_recall(null, similarity[pairs[:, 0], pairs[:, 1]], [(0.05, 0.95)])
    assert maps.relation_recall(vectors, pairs).mean() == pytest.approx(result["recall_0.05_0.95"])


def test_relation_recall_by_hand():
    # seven directions in the plane, 21 pairs: one at either end is within 5 %
    angle = np.radians([0, 1, 10, 30, 60, 100, 175])
    found = maps.relation_recall(np.stack([np.cos(angle), np.sin(angle)], 1), all_pairs(7))
    assert all_pairs(7)[found == 1].tolist() == [[0, 1], [0, 6]]  # the closest, and the most opposite


def test_relation_recall_of_pairs_at_random_is_a_tenth():
    pairs = all_pairs(300)
    found = maps.relation_recall(rng.normal(size=(300, 20)), pairs)
    assert found.sum() == pytest.approx(2 * (len(pairs) // 20), abs=4)  # but for those tied on the grid
    assert maps.relation_recall(rng.normal(size=(300, 20)), pairs[:20_000]).mean() == pytest.approx(0.1, abs=0.01)


def test_relation_recall_finds_mechanisms_and_opposites():
    centre = rng.normal(size=(30, 40))
    vectors = np.repeat(centre, 4, 0) + 0.3 * rng.normal(size=(120, 40))
    pairs = pairs_of_label([str(i // 4) for i in range(120)])
    assert maps.relation_recall(vectors, pairs).mean() == 1
    assert maps.relation_recall(vectors * np.where(np.arange(120) % 2, -1, 1)[:, None], pairs).mean() == 1
    assert maps.relation_recall(rng.permutation(vectors), pairs).mean() < 0.3


def test_a_map_without_differences_finds_nothing():
    assert maps.relation_recall(np.tile(rng.normal(size=5), (30, 1)), all_pairs(30)).max() == 0
    assert maps.relation_recall(np.zeros((30, 5)), all_pairs(30)).max() == 0


@pytest.mark.parametrize("nowhere", [0.0, np.nan, np.inf])
def test_perturbations_that_point_nowhere_are_never_found_and_push_no_other_pair(nowhere):
    # all others share an effect: cosine 0 would put the missing ones into the lowest 5 %
    vectors = rng.normal(size=(40, 6)) + 3
    expected = maps.relation_recall(vectors, all_pairs(40))
    more = np.r_[vectors, np.full((5, 6), nowhere)]
    found = maps.relation_recall(more, all_pairs(45))
    missing = (all_pairs(45) >= 40).any(1)
    assert found[missing].max() == 0
    assert found[~missing].tolist() == expected.tolist()


def test_a_map_too_small_for_a_tail_is_no_number():
    assert np.isnan(maps.relation_recall(rng.normal(size=(6, 3)), all_pairs(6))).all()


def test_relation_recall_ranks_cosines_that_differ_little():
    # a shared effect a million times as large: all cosines are 1 within 1e-11
    small = rng.normal(size=(40, 3))
    vectors = np.c_[small, np.full(40, 1e5)]
    distance = np.linalg.norm(small[:, None] - small, axis=2)[np.triu_indices(40, 1)]
    found = maps.relation_recall(vectors, all_pairs(40))
    near = (distance < np.quantile(distance, 0.04)) | (distance > np.quantile(distance, 0.96))
    assert found[near].mean() > 0.95
    assert found.mean() <= 0.1


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_relation_recall_depends_on_directions_only(seed):
    local = np.random.default_rng(seed)
    vectors = local.normal(size=(30, 5))
    found = maps.relation_recall(vectors, all_pairs(30))
    turn = np.linalg.qr(local.normal(size=(5, 5)))[0]
    assert (
        maps.relation_recall(vectors * local.uniform(0.1, 9, (30, 1)) @ turn, all_pairs(30)).tolist() == found.tolist()
    )
    order = local.permutation(30)
    assert maps.relation_recall(vectors[order], np.argsort(order)[all_pairs(30)]).tolist() == found.tolist()


def test_recall_samples_weigh_a_pair_by_both_of_its_ends(monkeypatch):
    pairs, found = np.array([[0, 1], [1, 2], [0, 2]]), np.array([1.0, 0.0, 0.0])
    weight = maps.multinomial(3, 200, 7)
    with np.errstate(invalid="ignore"):
        together = weight[:, 0] * weight[:, 1] + weight[:, 1] * weight[:, 2] + weight[:, 0] * weight[:, 2]
        expected = weight[:, 0] * weight[:, 1] / together
    for block in (2, 512):
        monkeypatch.setattr(maps, "PAIRS", block)
        np.testing.assert_allclose(maps.recall_samples(found, pairs, 3, 200, 7), expected)
    assert np.isnan(expected).any()  # one perturbation drawn three times has no pair


def test_recall_samples_cover_the_truth():
    inside = []
    for seed in range(100):
        local = np.random.default_rng(seed)
        kind = local.random(40) < 0.5  # a pair is found if both are of this kind: a quarter
        found = kind[all_pairs(40)].all(1).astype(float)
        low, high = np.percentile(maps.recall_samples(found, all_pairs(40), 40, 200, seed), [2.5, 97.5])
        inside.append(low <= 0.25 <= high)
    assert 0.85 <= np.mean(inside) <= 1


# concordance


def spearman(a, b):
    result: Any = stats.spearmanr(upper(a), upper(b))
    return result.statistic


@pytest.mark.parametrize("block", [3, 512])
def test_concordance_agrees_with_scipy(monkeypatch, block):
    monkeypatch.setattr(maps, "BLOCK", block)
    rng = np.random.default_rng(0)
    real = rng.normal(size=(30, 6))
    generated = real + rng.normal(size=(30, 6))
    assert maps.map_concordance(generated, real) == pytest.approx(spearman(generated, real), abs=5e-5)
    assert maps.map_concordance(real, real) == pytest.approx(1)
    half = real[:, :3]  # another featurizer has another d
    assert maps.map_concordance(half, real) == pytest.approx(spearman(half, real), abs=5e-5)


def test_concordance_shares_ranks_among_ties():
    real = rng.integers(-1, 2, (20, 4)) + np.array([0.5, 0, 0, 0])
    generated = rng.integers(-1, 2, (20, 4)) + np.array([0.5, 0, 0, 0])
    a, b = np.round(upper(generated), 9), np.round(upper(real), 9)
    result: Any = stats.spearmanr(a, b)
    assert maps.map_concordance(generated, real) == pytest.approx(result.statistic, abs=1e-9)


def test_concordance_of_maps_at_random_is_zero_and_of_mirrored_ones_is_the_same():
    values = [maps.map_concordance(rng.normal(size=(20, 5)), rng.normal(size=(20, 5))) for _ in range(30)]
    assert np.mean(values) == pytest.approx(0, abs=0.05)
    g, r = rng.normal(size=(20, 5)), rng.normal(size=(20, 5))
    assert maps.map_concordance(-3 * g, r) == pytest.approx(maps.map_concordance(g, r))
    assert maps.map_concordance(r, g) == pytest.approx(maps.map_concordance(g, r))


def test_concordance_of_a_generated_map_without_differences_is_zero():
    real = rng.normal(size=(10, 4))
    for same in (np.ones((10, 4)), np.zeros((10, 4)), np.full((10, 4), np.nan)):
        assert maps.map_concordance(same, real) == 0
    assert np.isnan(maps.map_concordance(real, np.ones((10, 4))))


@pytest.mark.parametrize("nowhere", [0.0, np.nan])
def test_missing_perturbations_pull_concordance_towards_zero(nowhere):
    real = rng.normal(size=(40, 6))
    values = []
    for missing in (0, 10, 20, 30):
        generated = real.copy()
        generated[:missing] = nowhere
        values.append(maps.map_concordance(generated, real))
    assert values[0] == pytest.approx(1)
    assert np.all(np.diff(values) < -0.1) and values[-1] > 0


def test_concordance_refuses_maps_that_do_not_fit():
    real = rng.normal(size=(5, 3))
    with pytest.raises(ValueError, match="expected the same 3 or more"):
        maps.map_concordance(real[:4], real)
    with pytest.raises(ValueError, match="2 generated and 2 real"):
        maps.map_concordance(real[:2], real[:2])
    real[1], real[3] = 0, np.nan
    with pytest.raises(ValueError, match=r"2 real vectors zero or not finite \(rows \[1, 3\]\)"):
        maps.map_concordance(np.ones((5, 3)), real)


# compounds and genes


@pytest.mark.parametrize("whole", [False, True])
def test_targets_agree_with_scikit_learn(whole):
    # 21 targets in all, so that a compound's negatives are all others: no draw differs
    draw = (lambda *size: rng.integers(-1, 2, size) + 0.0) if whole else (lambda *size: rng.normal(size=size))
    compounds, genes = draw(21, 3) + np.array([0.5, 0, 0]), draw(21, 3) + np.array([0.5, 0, 0])
    found = maps.compound_gene_ap(compounds, genes, np.stack([np.arange(21)] * 2, 1))
    score = np.round(np.abs(cosines(compounds, genes)), 9)
    for i in range(21):
        right = np.arange(21) == i
        assert found.ap[i] == pytest.approx(average_precision_score(right, score[i]))
        assert found.auc[i] == pytest.approx(roc_auc_score(right, score[i]))
    assert found.chance == pytest.approx(1 / 21)


def test_targets_are_compared_with_draws_of_other_targets_only():
    compounds, genes = rng.normal(size=(40, 4)), rng.normal(size=(60, 4))
    genes[40:] = compounds[0]  # nobody's target, though the nearest of all
    known = np.stack([np.arange(40)] * 2, 1)
    found = maps.compound_gene_ap(compounds, genes, known)
    score = np.abs(cosines(compounds, genes[:40]))
    everyone = [roc_auc_score(np.arange(40) == i, score[i]) for i in range(40)]
    assert found.auc == pytest.approx(everyone, abs=0.05)  # the mean over draws of 20 among 39
    again = maps.compound_gene_ap(compounds, genes, known)
    assert again.ap.tolist() == found.ap.tolist()
    other = maps.compound_gene_ap(compounds, genes, known, seed=1)
    assert other.ap.tolist() != found.ap.tolist()
    assert other.ap == pytest.approx(found.ap, abs=0.1)


def test_targets_of_noise_are_found_by_chance_and_of_opposites_always():
    known = np.stack([np.arange(200) % 50, np.arange(200) % 40], 1)
    noise = maps.compound_gene_ap(rng.normal(size=(50, 8)), rng.normal(size=(40, 8)), known)
    assert np.nanmean(noise.auc) == pytest.approx(0.5, abs=0.1)
    genes = rng.normal(size=(40, 60))
    exact = maps.compound_gene_ap(-genes, genes, np.stack([np.arange(40)] * 2, 1))
    assert exact.ap.tolist() == exact.auc.tolist() == [1.0] * 40


def test_targets_of_compounds_without_differences_are_chance():
    known = np.stack([np.arange(25)] * 2, 1)
    found = maps.compound_gene_ap(np.zeros((25, 3)), rng.normal(size=(25, 3)), known)
    assert found.auc == pytest.approx(0.5)
    assert found.ap == pytest.approx(found.chance)


def test_targets_that_cannot_be_asked_are_no_number():
    compounds, genes = rng.normal(size=(24, 3)), rng.normal(size=(24, 3))
    known = np.stack([np.arange(23)] * 2, 1)
    found = maps.compound_gene_ap(compounds, genes, known)
    assert np.isnan(found.ap[23]) and np.isnan(found.chance[23])  # no known target
    few = maps.compound_gene_ap(compounds[:20], genes[:20], known[:20])
    assert np.isnan(few.ap).all()  # 19 other targets, 20 are needed


def test_compounds_and_genes_that_are_lost_only_cost():
    compounds, genes = rng.normal(size=(24, 3)), rng.normal(size=(24, 3))
    known = np.stack([np.arange(24)] * 2, 1)
    whole = maps.compound_gene_ap(compounds, genes, known)
    compounds[0] = genes[5] = np.nan
    found = maps.compound_gene_ap(compounds, genes, known)
    assert found.ap[0] == found.auc[0] == found.auc[5] == 0
    assert (found.ap <= whole.ap).all() and (found.auc <= whole.auc).all()


def test_targets_off_the_tables_are_refused():
    with pytest.raises(ValueError, match="rows below 3 and 2"):
        maps.compound_gene_ap(np.ones((3, 2)), np.ones((2, 2)), np.array([[0, 2]]))
