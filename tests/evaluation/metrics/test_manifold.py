"""Manifolds against prdc, cases worked by hand, and the failures that each score is for."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc

from tests.evaluation.by_hand import Treated, Untreated, candidate, described
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics import distance
from virtassay.evaluation.metrics.manifold import manifold, manifolds


def sets(n, m, d, seed=0):
    local = np.random.default_rng(seed)
    return local.normal(size=(n, d)), 0.8 * local.normal(size=(m, d)) + 0.3


@pytest.mark.parametrize("block", [7, 2048])
@pytest.mark.parametrize(("n", "m", "d", "k"), [(60, 45, 3, 5), (40, 80, 20, 5), (30, 30, 2, 1), (9, 7, 4, 3)])
def test_manifold_agrees_with_prdc(monkeypatch, n, m, d, k, block):
    monkeypatch.setattr(distance, "BLOCK", block)
    x, y = sets(n, m, d)
    oracle = compute_prdc(x, y, nearest_k=k)
    scores = manifold(x, y, k)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(scores, name).mean() == pytest.approx(oracle[name], abs=1e-12), name


def means(found):
    return found.precision.mean(), found.recall.mean(), found.density.mean(), found.coverage.mean()


def test_manifold_by_hand():
    real, generated = np.array([[0.0], [1.0], [10.0]]), np.array([[0.5], [1.5], [5.0]])
    # real balls [-1, 1], [0, 2], [1, 19]; generated balls [-.5, 1.5], [.5, 2.5], [1.5, 8.5]
    scores = manifold(real, generated, k=1)
    assert scores.precision.mean() == pytest.approx(1)  # .5 in the first two, 1.5 in two, 5 in the third
    assert scores.recall.mean() == pytest.approx(2 / 3)  # 10 is in none
    assert scores.density.mean() == pytest.approx((2 + 2 + 1) / 3)
    assert scores.coverage.mean() == pytest.approx(1)


def test_sets_from_one_distribution_are_right():
    local = np.random.default_rng(1)
    x, y = local.normal(size=(1500, 4)), local.normal(size=(1500, 4))
    scores = manifold(x, y)
    assert scores.coverage.mean() == pytest.approx(
        1 - 2**-5, abs=0.015
    )  # unless the five nearest of either kind are real
    assert scores.density.mean() == pytest.approx(1, abs=0.05)
    assert scores.precision.mean() > 0.9
    assert scores.recall.mean() > 0.9


def test_collapse_keeps_precision_and_loses_recall_and_coverage():
    local = np.random.default_rng(2)
    scores = manifold(local.normal(size=(400, 3)), 0.01 * local.normal(size=(400, 3)))
    assert scores.precision.mean() == 1
    assert scores.density.mean() > 1.3  # above the 1 of a right model: why density is no verdict
    assert scores.recall.mean() < 0.05
    assert scores.coverage.mean() < 0.3


def test_noise_around_the_data_keeps_recall_and_loses_precision():
    local = np.random.default_rng(3)
    scores = manifold(local.normal(size=(400, 3)), 10 * local.normal(size=(400, 3)))
    assert scores.recall.mean() > 0.9
    assert scores.precision.mean() < 0.2
    far = manifold(local.normal(size=(50, 3)), local.normal(size=(50, 3)) + 1e4)
    assert means(far) == (0, 0, 0, 0)


def test_half_of_the_modes_is_half_of_the_coverage():
    local = np.random.default_rng(4)
    one, other = local.normal(size=(200, 3)), local.normal(size=(200, 3)) + 100
    scores = manifold(np.concatenate([one, other]), local.normal(size=(400, 3)))
    assert scores.coverage.mean() == pytest.approx(0.5, abs=0.01)
    assert scores.recall.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_a_copy_is_inside_also_where_images_are_repeated(offset):
    x = np.repeat(sets(4, 2, 6)[0] + offset, 8, axis=0)  # more copies than k: every ball has radius 0
    assert means(manifold(x, x)) == pytest.approx((1, 1, 8 / 5, 1))  # 8 balls hold each image
    apart = manifold(x, x + 1)
    assert (apart.precision.mean(), apart.recall.mean(), apart.coverage.mean()) == (0, 0, 0)


def test_ties_are_inside_whatever_the_rounding():
    x = sets(300, 2, 20)[0]
    assert manifold(x, x).density.mean() == pytest.approx(6 / 5, abs=1e-12)  # the image itself, and its five nearest


def test_constant_features_hold_each_other():
    assert means(manifold(np.ones((7, 3)), np.ones((6, 3)))) == pytest.approx((1, 1, 7 / 5, 1))


def test_no_manifold_of_k_images_or_fewer():
    x, y = sets(20, 5, 3)
    scores = manifold(x, y)
    assert np.isnan(scores.recall.mean())
    assert np.isfinite([scores.precision.mean(), scores.density.mean(), scores.coverage.mean()]).all()
    scores = manifold(y, x)
    assert np.isfinite(scores.recall.mean())
    assert np.isnan([scores.precision.mean(), scores.density.mean(), scores.coverage.mean()]).all()
    assert np.isfinite(means(manifold(x, sets(2, 6, 3)[1]))).all()  # k + 1 images are enough


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_features_that_are_no_numbers_give_none(value, side):
    both = sets(20, 20, 3)
    both[side][4, 1] = value
    assert np.isnan(means(manifold(*both))).all()


@pytest.mark.parametrize(
    ("x", "y", "k", "match"),
    [
        (np.zeros((9, 2)), np.zeros((9, 3)), 5, "same d"),
        (np.zeros((9, 2)), np.zeros((0, 2)), 5, "two or more"),
        (np.zeros((9, 2)), np.zeros((9, 2)), 0, "k is 0"),
    ],
)
def test_wrong_arguments_are_named(x, y, k, match):
    with pytest.raises(ValueError, match=match):
        manifold(x, y, k)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(7, 20), m=st.integers(7, 20), k=st.integers(1, 6))
def test_properties(seed, n, m, k):
    x, y = sets(n, m, 3, seed)
    local = np.random.default_rng(seed)
    scores, swapped = manifold(x, y, k), manifold(y, x, k)
    assert (scores.precision.mean(), scores.recall.mean()) == (swapped.recall.mean(), swapped.precision.mean())
    assert means(manifold(local.permutation(x), local.permutation(y), k)) == pytest.approx(means(scores))
    assert means(manifold(4 * x + 2, 4 * y + 2, k)) == pytest.approx(means(scores))
    wider = manifold(x, y, k + 1) if min(n, m) > k + 1 else scores
    assert wider.precision.mean() >= scores.precision.mean()
    assert wider.coverage.mean() >= scores.coverage.mean()


def test_memory_does_not_grow_with_the_square_of_the_images(monkeypatch):
    monkeypatch.setattr(distance, "BLOCK", 256)
    x, y = sets(4000, 4000, 8)
    tracemalloc.start()
    manifold(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6  # one 4000 × 4000 matrix has 128 MB


def test_the_usual_neighbourhood_reaches_to_the_fifth_image():
    real = np.arange(7.0)[:, None]  # the ball of 0 reaches to 5, that of 6 to 1, that of 3 to ±3, of 1 and 5 to ±4
    scores = manifold(real, np.array([[-3.5], [9.5]] * 4))
    # −3.5 is within 4.5 of 1; 3.5 of 0, 5.5 of 2, 6.5 of 3: in the balls of 0 (radius 5) and no other but 1's is 4
    assert scores.density.tolist() == pytest.approx([1 / 5] * 8)
    assert scores.coverage.tolist() == [1, 0, 0, 0, 0, 0, 1]


NO_CONTROLS = {"one": Untreated([], [], []), "two": Untreated([], [], [])}


def test_manifolds_of_a_candidate_by_hand():
    # real balls [-1, 1], [0, 2], [1, 19], [10, 190]; generated ones [-6.5, .5], [-.5, 1.5], [.5, 2.5], [4.8, 5.2],
    # [5, 5.4]
    treated = [Treated("one", "p", [[0], [1]], [-3, 0.5]), Treated("two", "q", [[10, 100]], [1.5, 5, 5.2])]
    scores = manifolds(*candidate(treated, NO_CONTROLS), k=1)
    values = {metric: score.value for (metric, stratum), score in scores.items() if stratum == POOLED}
    # −3 is in no real ball, .5 and 1.5 are in two, 5 and 5.2 in one; 0 and 1 are in generated balls, 10 and 100 are
    # not; the ball of 100 is empty
    assert values == pytest.approx({"precision": 4 / 5, "recall": 2 / 4, "density": 6 / 5, "coverage": 3 / 4})
    for score in scores.values():
        assert (score.n_real, score.n_generated, score.detail["neighbours"]) == (4, 5, 1)
        assert score.detail["interval"] == "bootstrap over 2 perturbations"
    assert (scores["recall", POOLED].detail["n"], scores["precision", POOLED].detail["n"]) == (4, 5)


def test_the_usual_manifold_of_a_candidate_has_five_neighbours():
    treated = [Treated("one", "p", [np.arange(6)], np.arange(7))]
    scores = manifolds(*candidate(treated, NO_CONTROLS))
    assert {score.detail["neighbours"] for score in scores.values()} == {5}
    assert np.isfinite([score.value for score in scores.values()]).all()


@pytest.mark.parametrize(("real", "generated"), [(2, 2), (1, 2), (2, 1), (2, 0)])
def test_manifolds_need_two_images_on_either_side(real, generated):
    treated = [Treated("one", "p", [np.arange(real)], np.arange(generated))]
    scores = manifolds(*candidate(treated, NO_CONTROLS), k=1)
    assert [metric for metric, _ in scores] == ["precision", "recall", "density", "coverage"]
    values = [score.value for score in scores.values()]
    if min(real, generated) == 2:
        assert values == [1, 1, 2, 1]
    else:
        assert np.isnan(values).all() and scores["recall", POOLED].detail == {"interval": "none"}
    assert (scores["recall", POOLED].n_real, scores["recall", POOLED].n_generated) == (real, generated)


def test_which_way_is_better_is_said():
    assert described(manifolds) == {
        "precision": ("↑", True),
        "recall": ("↑", True),
        "density": ("→ 1", True),
        "coverage": ("↑", True),
    }
