"""Accuracies against loops over scikit-learn, and the generators that they must catch."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from tests.evaluation.by_hand import Treated, Untreated, candidate, described
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.classifier import folds
from virtassay.evaluation.metrics.classify import (
    _at_most_each,
    batch_leak,
    batches_shown,
    cross_accuracy,
    recognised,
)

D, LABELS, WELLS, PER_WELL = 6, 4, 5, 12
centres = np.random.default_rng(99).normal(size=(LABELS, D)) * 1.2
of_well = np.repeat(np.arange(LABELS), WELLS)
y = np.repeat(of_well, PER_WELL)
wells = np.repeat(np.arange(LABELS * WELLS), PER_WELL)
names = np.array(["a", "b", "c", "d"])[y]


def draw(seed, labels=y, size=1.0, spread=1.0):
    local = np.random.default_rng(seed)
    return size * centres[labels] + spread * local.normal(size=(len(labels), D))


def by_hand(teach, teach_y, tried):
    scaler = StandardScaler().fit(teach)
    model = LogisticRegression(C=1 / teach.shape[1], class_weight="balanced", max_iter=1000)
    return model.fit(scaler.transform(teach), teach_y).predict(scaler.transform(tried))


def test_cross_accuracy_agrees_with_a_loop_over_scikit_learn():
    x, g = draw(0), draw(1)
    found = cross_accuracy(x, names, wells, g, names, seed=5)
    fold = folds(y, wells, 5, 5)
    real, on_generated = np.zeros_like(y), []
    for f in range(5):
        real[fold == f] = by_hand(x[fold != f], y[fold != f], x[fold == f])
        on_generated.append(balanced_accuracy_score(y, by_hand(x[fold != f], y[fold != f], g)))
    assert found.real_to_real.mean() == pytest.approx(balanced_accuracy_score(y, real))
    assert found.real_to_generated.mean() == pytest.approx(np.mean(on_generated))
    assert found.accuracy_on_generated == pytest.approx(np.mean(on_generated) / balanced_accuracy_score(y, real))
    assert found.chance == 0.25


def test_cas_teaches_with_all_generated_images_when_they_are_fewer():
    x, few = draw(0), np.arange(0, len(y), 4)  # 15 of each label; the real teacher has 48
    g = draw(1)[few]
    found = cross_accuracy(x, names, wells, g, names[few])
    oracle = balanced_accuracy_score(y, by_hand(g, y[few], x))
    assert found.generated_to_real.mean() == pytest.approx(oracle)
    assert found.cas == pytest.approx(oracle / found.real_to_real.mean())


def test_the_number_of_generated_images_gives_no_advantage():
    """Planted: eighty times the images, where the real teacher has 12 of each label and cannot learn it well."""
    few, found = np.arange(0, len(y), 4), []
    for labels in (y[few], np.tile(y, 20)):
        worlds = [
            cross_accuracy(draw(s, y[few], 0.5), y[few], wells[few], draw(s + 50, labels, 0.5), labels, seed=s)
            for s in range(20)
        ]
        found.append(np.mean([f.generated_to_real.mean() for f in worlds]))
    assert found[1] == pytest.approx(found[0], abs=0.03)  # all of them would teach 0.06 more


def test_real_replicates_score_one():
    found = [cross_accuracy(draw(s), names, wells, draw(s + 50), names) for s in range(15)]
    assert np.mean([f.cas for f in found]) == pytest.approx(1, abs=0.02)  # standard error 0.006
    assert np.mean([f.accuracy_on_generated for f in found]) == pytest.approx(1, abs=0.04)  # 0.012


def test_labels_that_mean_nothing_score_chance():
    local = np.random.default_rng(0)
    found = [cross_accuracy(draw(s), names, wells, draw(s + 50), local.permutation(names)) for s in range(20)]
    for share in ("generated_to_real", "real_to_generated"):
        assert np.mean([getattr(f, share).mean() for f in found]) == pytest.approx(0.25, abs=0.05)


def test_cas_catches_the_collapse_that_accuracy_on_generated_rewards():
    """Two labels lie 1 apart in two features, one clear (s.d. 0.3) and one not (s.d. 5). A collapsed generator, every
    image the mean of its label, teaches to trust both alike: Φ(1/√(25 + 0.09)) is reached, for Φ(0.5/0.3).
    """
    local = np.random.default_rng(0)
    label = np.repeat([0, 1], 600)
    x = label[:, None] + local.normal(size=(1200, 2)) * [0.3, 5]
    g = np.repeat([[0.0, 0.0], [1.0, 1.0]], 600, axis=0)
    found = cross_accuracy(x, label, np.arange(1200) // 20, g, label)
    assert found.real_to_real.mean() == pytest.approx(norm.cdf(0.5 / 0.3), abs=0.03)
    assert found.accuracy_on_generated > 1.04
    assert found.cas == pytest.approx(norm.cdf(1 / np.sqrt(25.09)) / norm.cdf(0.5 / 0.3), abs=0.05)


def test_control_copies_score_chance():
    g = np.random.default_rng(1).normal(size=(len(y), D))
    found = cross_accuracy(draw(0), names, wells, g, names)
    assert found.real_to_generated.mean() == pytest.approx(0.25, abs=1e-9 + 0.05)
    assert found.cas < 0.75


def test_every_label_weighs_the_same():
    keep = (y != 0) | (np.arange(len(y)) % 6 == 0)
    found = cross_accuracy(draw(0)[keep], names[keep], wells[keep], draw(1), names)
    assert found.real_to_real.mean() == pytest.approx(found.real_to_real.sum() / 4)
    assert (found.real_to_real > 0.4).all()  # the rare label too


def test_what_cannot_be_asked_is_counted():
    x, label = draw(0), names.copy()
    label[y == 3] = np.where(wells[y == 3] == 15, "d", "c")
    found = cross_accuracy(x, label, wells, draw(1), np.where(names == "a", "new", names))
    assert found.labels.tolist() == ["a", "b", "c"]  # "d" has one well
    assert found.n_unasked == PER_WELL
    assert found.n_unknown == 2 * WELLS * PER_WELL  # the "new" and the "d"
    assert found.real_to_generated[0] == found.generated_to_real[0] == 0  # no "a" was generated
    assert found.real_to_generated[1] > 0


def test_generated_images_that_are_no_numbers_are_answered_wrong_and_counted():
    x, g = draw(0), draw(1)
    whole = cross_accuracy(x, names, wells, g, names)
    g[y == 1] = np.nan
    found = cross_accuracy(x, names, wells, g, names)
    assert found.n_unusable == WELLS * PER_WELL
    assert found.real_to_generated[1] == found.generated_to_real[1] == 0
    assert found.real_to_generated[[0, 2, 3]] == pytest.approx(whole.real_to_generated[[0, 2, 3]])
    nothing = cross_accuracy(x, names, wells, np.full_like(g, np.nan), names)
    assert nothing.cas == nothing.accuracy_on_generated == 0
    none = cross_accuracy(x, names, wells, np.zeros((0, D)), names[:0])
    assert none.cas == none.accuracy_on_generated == 0


def test_real_images_that_say_nothing_give_no_number():
    x = draw(0)
    x[3, 2] = np.inf
    broken = cross_accuracy(x, names, wells, draw(1), names)
    assert np.isnan([broken.cas, broken.accuracy_on_generated, *broken.real_to_real]).all()
    flat = cross_accuracy(np.ones_like(x), names, wells, draw(1), names)  # constant: real→real is chance
    assert flat.real_to_real.mean() == flat.chance
    assert np.isnan(flat.cas)
    one = cross_accuracy(draw(0), np.full(len(y), "a"), wells, draw(1), names)
    assert np.isnan(one.cas)
    assert one.chance == 1
    one_well = cross_accuracy(draw(0), names, np.zeros(len(y)), draw(1), names)
    assert np.isnan(one_well.cas)
    assert one_well.n_unasked == len(y)
    empty = cross_accuracy(np.zeros((0, D)), [], [], draw(1), names)
    assert np.isnan([empty.cas, empty.chance]).all()


def test_generated_labels_from_one_label_only_still_teach_that():
    g = draw(1)[y == 2]
    found = cross_accuracy(draw(0), names, wells, g, names[y == 2])
    assert found.generated_to_real.tolist() == [0, 0, 1, 0]


def test_order_and_repetition_change_nothing():
    x, g = draw(0), draw(1)
    first = cross_accuracy(x, names, wells, g, names, seed=3)
    again = cross_accuracy(x, names, wells, g, names, seed=3)
    assert (first.generated_to_real == again.generated_to_real).all()
    order = np.random.default_rng(0).permutation(len(y))
    moved = cross_accuracy(x[order], names[order], wells[order], g, names, seed=3)
    assert moved.real_to_real == pytest.approx(first.real_to_real)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"wells": wells[:-1]}, "real images"),
        ({"generated": draw(1)[:, :-1]}, "same d"),
        ({"generated_labels": names[:-1]}, "generated images"),
        ({"wells": [f"A{w % 10}" for w in wells]}, "two labels .*first: well A0"),
    ],
)
def test_arrays_that_do_not_fit_are_named(change, match):
    given = {"real": draw(0), "real_labels": names, "wells": wells, "generated": draw(1), "generated_labels": names}
    with pytest.raises(ValueError, match=match):
        cross_accuracy(**(given | change))


def leak(seed, batch_size=2.0, generated_batch_size=2.0, effect=1.0):
    local = np.random.default_rng(seed)
    marks = local.normal(size=(3, D))
    batch = np.arange(300) % 3
    control = batch_size * marks[batch] + local.normal(size=(300, D))
    real = batch_size * marks[batch] + effect + local.normal(size=(300, D))
    generated = generated_batch_size * marks[batch] + effect + local.normal(size=(300, D))
    return control, batch, real, batch, generated, batch


def test_batch_leak_agrees_with_scikit_learn():
    control, b, real, _, generated, _ = leak(0)
    found = batch_leak(*leak(0))
    assert found.real.mean() == pytest.approx(balanced_accuracy_score(b, by_hand(control, b, real)))
    assert found.generated.mean() == pytest.approx(balanced_accuracy_score(b, by_hand(control, b, generated)))
    zero = np.stack([control[b == k].mean(0) for k in range(3)])
    oracle = balanced_accuracy_score(b, by_hand(control, b, real - zero[b] + zero.mean(0)))
    assert found.real_less_controls.mean() == pytest.approx(oracle)


def test_batch_leak_of_a_generator_of_the_right_batches_equals_that_of_real_images():
    found = [batch_leak(*leak(s)) for s in range(10)]
    assert np.mean([f.real.mean() for f in found]) > 0.85
    assert np.mean([f.generated.mean() - f.real.mean() for f in found]) == pytest.approx(0, abs=0.02)
    for share in ("real_less_controls", "generated_less_controls"):
        assert np.mean([getattr(f, share).mean() for f in found]) == pytest.approx(1 / 3, abs=0.03)


def test_batch_leak_catches_a_generator_without_batches_and_one_with_the_wrong_ones():
    no_batch = [batch_leak(*leak(s, generated_batch_size=0.0)) for s in range(10)]
    assert np.mean([f.generated.mean() for f in no_batch]) == pytest.approx(1 / 3, abs=0.04)
    assert np.mean([f.generated_less_controls.mean() for f in no_batch]) < 0.1  # the controls' mark, taken off in vain
    control, b, real, _, generated, _ = leak(0)
    wrong = batch_leak(control, b, real, b, generated, (b + 1) % 3)
    assert wrong.generated.mean() < 0.1
    too_much = [batch_leak(*leak(s, generated_batch_size=5.0)).generated_less_controls.mean() for s in range(10)]
    assert np.mean(too_much) > 0.8  # a mark of the batch that its controls do not have


def test_batch_leak_degenerate_cases():
    control, b, real, _, generated, _ = leak(0)
    generated[b == 1] = np.nan
    found = batch_leak(control, b, real, b, generated, b)
    assert found.generated[1] == found.generated_less_controls[1] == 0
    assert found.real[1] > 0.5
    missing = batch_leak(control, b, real, b, generated[b == 0], b[b == 0])
    assert missing.generated[1:].tolist() == [0, 0]
    assert np.isnan(batch_leak(control, b, real, np.zeros(300), generated, b).real).all()  # one batch is no question
    real[0, 0] = np.nan
    assert np.isnan(batch_leak(control, b, real, b, generated, b).generated).all()
    assert np.isnan(batch_leak(control[:0], b[:0], real, b, generated, b).chance)
    with pytest.raises(ValueError, match="controls"):
        batch_leak(control, b[:5], real, b, generated, b)


# a treatment is known once the mean of its controls is taken off: real ones at 0 and 20, generated at 100 and −50
CONTROLS = {"one": Untreated([-1, 1], [99, 101], [7]), "two": Untreated([19, 21], [-50, -50], [7])}


def treated(one, two, p=(-1.0, -1.1, -0.9), q=(1.0, 1.1, 0.9)):
    """p and q in two batches, a well each; generated: what was generated of either in the first and the second."""
    return [
        Treated(batch, perturbation, [np.array(images) + zero], np.array(generated, float) + other)
        for batch, zero, other, both in (("one", 0, 100, one), ("two", 20, -50, two))
        for perturbation, images, generated in (("p", p, both[0]), ("q", q, both[1]))
    ]


def test_treatments_are_recognised_less_their_controls_by_hand():
    # three of four images of p are like p, and all of q like q
    scores = recognised(*candidate(treated(one=([-1, 1], [1, 0.9]), two=([-1, -0.9], [1, 1.1])), CONTROLS))
    assert list(scores) == [("cas", POOLED), ("accuracy_on_generated", POOLED)]
    cas, on_generated = scores.values()
    assert cas.value == pytest.approx(1)
    assert on_generated.value == pytest.approx((3 / 4 + 1) / 2)
    for score in scores.values():
        assert score.detail == {"interval": "bootstrap over 2 perturbations", "n": 2, "chance": 0.5}
        assert (score.n_real, score.n_generated) == (12, 8)


def test_what_a_generator_never_made_is_not_recognised():
    # taught p alone, p is all that it answers
    scores = recognised(*candidate(treated(one=([-1, 1], []), two=([-1, -0.9], [])), CONTROLS))
    assert scores["cas", POOLED].value == pytest.approx(1 / 2)
    assert scores["accuracy_on_generated", POOLED].value == pytest.approx(3 / 4 / 2)


def test_treatments_that_real_images_do_not_teach_have_no_score():
    same = treated(one=([-1], [1]), two=([-1], [1]), p=(0.0, 0.0), q=(0.0, 0.0))
    lone = treated(one=([-1], [1]), two=([-1], [1]))[::2]  # p alone
    no_wells = treated(one=([-1], [1]), two=([-1], [1]))[:2]  # one well each
    for strata, chance, n in ((same, 0.5, 4), (lone, 1.0, 2), (no_wells, None, 2)):
        scores = recognised(*candidate(strata, CONTROLS))
        for score in scores.values():
            assert np.isnan(score.value) and score.detail["chance"] == chance
            assert score.detail["n"] == 0 and score.n_generated == n


def test_batches_shown_by_hand():
    # controls are at 1 and 3, so told apart at 2; once the batches' means are taken off all move to the middle, by 1
    untreated = {"one": Untreated([0.9, 1.1, 1], [7], [8]), "two": Untreated([3.1, 2.9], [-7], [-8])}
    strata = [
        Treated("two", "p", [[2.5], [3.5]], [5, 3.5, 1.5, 3.3]),
        Treated("one", "p", [[1.5, 0.5]], [0.5]),
        Treated("one", "q", [[0.5, 2.5]], [2.5]),
    ]
    scores = batches_shown(*candidate(strata, untreated))
    assert list(scores) == [("batch_leak", POOLED), ("batch_leak_aligned", POOLED)]
    shown, aligned = scores.values()
    # right of one and of two: real 3/4 and 2/2, generated 1/2 and 3/4; aligned: real 2/4 and 1/2, generated 1/2 and 3/4
    assert (shown.value, shown.detail["accuracy_on_real"]) == (pytest.approx(-1 / 4), pytest.approx(7 / 8))
    assert (aligned.value, aligned.detail["accuracy_on_real"]) == (pytest.approx(1 / 8), pytest.approx(1 / 2))
    for score in scores.values():
        assert (score.detail["interval"], score.n_real, score.n_generated) == ("none", 6, 6)
    for score in batches_shown(*candidate(strata[1:], untreated)).values():  # one batch is no question
        assert np.isnan(score.value) and score.detail["accuracy_on_real"] is None and score.n_real == 4


def test_which_way_is_better_is_said():
    assert described(recognised) == {"cas": ("↑", False), "accuracy_on_generated": ("→ 1", False)}
    assert described(batches_shown) == {"batch_leak": ("→ 0", True), "batch_leak_aligned": ("→ 0", True)}


def test_no_more_images_of_a_label_teach_than_its_limit():
    labels, usable = np.array([1, 0, 1, 1, 0, 1]), np.array([True, True, True, True, False, True])
    drawn = [_at_most_each(labels, usable, np.array([3, 2]), np.random.default_rng(s)).tolist() for s in range(20)]
    for rows in drawn:
        assert rows[0] == 1 and len(set(rows)) == len(rows) == 3
    assert {row for rows in drawn for row in rows[1:]} == {0, 2, 3, 5}
    assert _at_most_each(labels, usable, np.array([0, 4]), np.random.default_rng(0)).tolist() != []
    assert _at_most_each(labels, usable, np.array([0, 0]), np.random.default_rng(0)).tolist() == []


def test_the_usual_seed_is_nought_and_the_chance_that_of_the_batches():
    x, g = draw(0), draw(1)
    usual, nought, other = (cross_accuracy(x, names, wells, g, names, **s) for s in ({}, {"seed": 0}, {"seed": 1}))
    assert (usual.real_to_real == nought.real_to_real).all() and (usual.real_to_real != other.real_to_real).any()
    assert batch_leak(*leak(0)).chance == 1 / 3
