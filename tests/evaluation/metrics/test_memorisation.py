"""Memorisation against brute force, and with copies planted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from tests.evaluation.by_hand import Treated, Untreated, candidate, described
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics import distance
from virtassay.evaluation.metrics.memorisation import memorisation, memorised


def sets(*sizes, d=5, seed=0):
    local = np.random.default_rng(seed)
    return [local.normal(size=(n, d)) for n in sizes]


def oracle(generated, held_out, train):
    """Every distance written out: the ratio, and which images are authentic."""
    to_train, inside = cdist(generated, train), cdist(train, train)
    np.fill_diagonal(inside, np.inf)
    ratio = np.median(to_train.min(1)) / np.median(cdist(held_out, train).min(1))
    return ratio, to_train.min(1) > inside.min(1)[to_train.argmin(1)]


@pytest.mark.parametrize("block", [7, 2048])
def test_memorisation_agrees_with_brute_force(monkeypatch, block):
    monkeypatch.setattr(distance, "BLOCK", block)
    generated, held_out, train = sets(40, 31, 60)
    generated[:20] *= 0.5
    labels = np.array(["b", "a"] * 20)
    ratio, authentic = oracle(generated, held_out, train)
    scores = memorisation(generated, held_out, train, list(labels))
    assert scores.distance_ratio == pytest.approx(ratio, rel=1e-12)
    assert scores.authpct == {x: pytest.approx(100 * authentic[labels == x].mean()) for x in ("a", "b")}
    assert scores.authpct_held_out == pytest.approx(100 * oracle(held_out, held_out, train)[1].mean())


def test_memorisation_by_hand():
    train, held_out = [[0.0], [1.0], [5.0]], [[2.0], [4.0]]  # held-out images are 1 away
    scores = memorisation([[0.25], [7.0], [10.0]], held_out, train, ["p", "q", "q"])
    assert scores.distance_ratio == pytest.approx(2)  # 0.25, 2, 5
    assert scores.authpct == {"p": 0, "q": 50}  # 5 has its nearest 4 away: 10 is authentic, 7 is not
    assert scores.authpct_held_out == pytest.approx(0)


def test_new_images_of_the_distribution_are_right():
    generated, held_out, train = sets(1500, 1500, 1500, seed=1)
    scores = memorisation(generated, held_out, train, ["p"] * 1500)
    assert scores.distance_ratio == pytest.approx(1, abs=0.06)
    assert scores.authpct["p"] == pytest.approx(scores.authpct_held_out, abs=5)
    assert 30 < scores.authpct_held_out < 55


@pytest.mark.parametrize("offset", [0.0, 1e4])  # large features: products would round a copy away from its original
def test_copies_have_no_distance_and_are_not_authentic(offset):
    generated, held_out, train = (x + offset for x in sets(90, 50, 80))
    copied = memorisation(train[:30], held_out, train, ["p"] * 30)
    assert copied.distance_ratio == 0
    assert copied.authpct == {"p": 0}
    repeated = memorisation(train[:30], held_out, np.repeat(train, 3, axis=0), ["p"] * 30)
    assert repeated.authpct == {"p": 0}
    generated[:30] = train[:30]
    partly = memorisation(generated, held_out, train, ["copied"] * 30 + ["new"] * 60)
    assert partly.authpct["copied"] == 0
    assert partly.authpct["new"] > 20
    assert partly.distance_ratio > 0.5  # the median does not see them


def test_a_training_image_that_is_there_twice_makes_other_images_authentic():
    train = np.repeat(sets(20)[0], 2, axis=0)
    generated, held_out = sets(10, 10, seed=3)
    assert memorisation(generated, held_out, train, ["p"] * 10).authpct == {"p": 100}


def test_images_far_from_the_data_are_authentic_and_distant():
    generated, held_out, train = sets(30, 30, 60)
    scores = memorisation(generated + 100, held_out, train, ["p"] * 30)
    assert scores.distance_ratio > 50
    assert scores.authpct == {"p": 100}


def test_held_out_copies_leave_nothing_to_compare_with():
    generated, _, train = sets(10, 10, 20)
    scores = memorisation(generated, train[:10], train, ["p"] * 10)
    assert np.isnan(scores.distance_ratio)
    assert scores.authpct_held_out == 0
    constant = memorisation(np.ones((4, 2)), np.ones((4, 2)), np.ones((4, 2)), ["p"] * 4)
    assert np.isnan(constant.distance_ratio)
    assert constant.authpct == {"p": 0}


def test_an_empty_side_gives_no_number():
    generated, held_out, train = sets(10, 10, 20)
    none, labels = np.zeros((0, 5)), ["p"] * 10
    assert np.isnan(memorisation(none, held_out, train, []).distance_ratio)
    assert memorisation(none, held_out, train, []).authpct == {}
    alone = memorisation(generated, none, train, labels)
    assert np.isnan([alone.distance_ratio, alone.authpct_held_out]).all()
    assert np.isfinite(alone.authpct["p"])
    for few in (none, train[:1]):
        scores = memorisation(generated, held_out, few, labels)
        assert np.isnan([scores.distance_ratio, scores.authpct["p"], scores.authpct_held_out]).all()
    one = memorisation(generated[:1], held_out[:1], train[:2], ["p"])
    assert np.isfinite([one.distance_ratio, one.authpct["p"], one.authpct_held_out]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_spoil_what_they_are_in_and_nothing_else(value):
    labels = ["p"] * 5 + ["q"] * 5
    for side, fine in ((0, {"q", "held out"}), (1, {"p", "q"}), (2, set())):
        features = sets(10, 10, 20)
        features[side][2, 1] = value
        scores = memorisation(features[0], features[1], features[2], labels)
        assert np.isnan(scores.distance_ratio)
        values = scores.authpct | {"held out": scores.authpct_held_out}
        assert {name for name, v in values.items() if np.isfinite(v)} == fine


def test_wrong_arguments_are_named():
    generated, held_out, train = sets(10, 10, 20)
    with pytest.raises(ValueError, match="9 labels of 10"):
        memorisation(generated, held_out, train, ["p"] * 9)
    for wrong in (
        (generated[:, :4], held_out, train),
        (generated, held_out[0], train),
        (generated, held_out, train[0]),
    ):
        with pytest.raises(ValueError, match="same d"):
            memorisation(*wrong, ["p"] * 10)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.5, 4.0]))
def test_order_and_unit_change_nothing(seed, scale):
    generated, held_out, train = sets(12, 9, 20, seed=seed)
    local = np.random.default_rng(seed)
    labels = local.choice(["p", "q"], 12)
    scores = memorisation(generated, held_out, train, list(labels))
    order = local.permutation(12)
    g, h, t = (scale * x + 1 for x in (generated[order], local.permutation(held_out), local.permutation(train)))
    again = memorisation(g, h, t, list(labels[order]))
    assert again.distance_ratio == pytest.approx(scores.distance_ratio, rel=1e-9)
    assert again.authpct == scores.authpct
    assert again.authpct_held_out == scores.authpct_held_out


def test_as_near_as_the_next_training_image_is_no_authentic_image():
    # 3 is 2 from 1, whose nearest is 2 away at −1: a tie is a copy; the median of 1 and 2 is 1.5 of a held-out 1
    scores = memorisation([[3.0], [2.0]], [[2.0]], [[-1.0], [1.0]], ["p", "p"])
    assert scores.authpct == {"p": 0} and scores.distance_ratio == pytest.approx(1.5)


NO_CONTROLS = {"one": Untreated([], [], []), "two": Untreated([], [], [])}


def test_generated_images_are_held_against_real_images_of_the_strata_by_hand():
    treated = [Treated("one", "p", [[2], [4]], [0.25]), Treated("two", "q", [[2.5]], [7, 10, 11, 12])]
    scores = memorised(*candidate(treated, NO_CONTROLS, memory=[0, 1, 5]))
    assert list(scores) == [("memorisation", POOLED), ("authenticity", POOLED)]
    near, authentic = scores.values()
    # generated 0.25, 2, 5, 6, 7 away from a training image, held-out ones 1, 1, 1.5
    assert near.value == pytest.approx(5) and near.detail == {"interval": "none"}
    # authentic are those farther than 1 from 0 or 1, or than 4 from 5: 2.5 of the real ones, of p none, of q all but 7
    assert authentic.value == pytest.approx((0 + 3 / 4) / (1 / 3 + 1 / 3))
    assert authentic.detail == {"interval": "bootstrap over 2 perturbations", "n": 2}
    assert [(score.n_real, score.n_generated) for score in scores.values()] == [(3, 5), (3, 5)]


def test_of_no_generated_images_nothing_is_known():
    scores = memorised(*candidate([Treated("one", "p", [[2], [4]], [])], NO_CONTROLS, memory=[0, 1, 5]))
    assert np.isnan([score.value for score in scores.values()]).all()


def test_which_way_is_better_is_said():
    assert described(memorised) == {"memorisation": ("→ 1", True), "authenticity": ("→ 1", True)}
