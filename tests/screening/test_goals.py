"""Goals on effects with known answers; noise around none, and intervals that hold what they promise."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from virtassay.flow.traits import trait
from virtassay.screening import (
    Context,
    Disagreement,
    Likeness,
    Novelty,
    ReferenceEffects,
    Rescue,
    Selectivity,
    Strength,
    goals,
)
from virtassay.screening.effects import EffectScale
from virtassay.screening.goals import half_width, interval, squared_length

D = 12
rng = np.random.default_rng(0)
R = rng.normal(size=D)


def seen(**of_names):
    """Reference effects of what training has seen."""
    nobody: Any = None
    effects_seen = np.array([*of_names.values()])
    return ReferenceEffects(nobody, EffectScale(np.ones(D)), (1.0,), tuple(of_names), effects_seen, {})


STRENGTH = Strength().prepare(seen(r=R))
LIKENESS = Likeness("r").prepare(seen(r=R))


def effects(mean, n=16, spread=1.0, seed=0, times=1):
    noise = np.random.default_rng(seed).normal(0, spread, (times, n, D))
    return np.asarray(mean) + noise if times > 1 else (np.asarray(mean) + noise)[0]


def test_the_squared_length_is_unbiased():
    many = effects(R, n=4, times=20_000)
    found = squared_length(many)
    assert found.mean() == pytest.approx(np.square(R).mean(), abs=4 * found.std() / np.sqrt(len(found)))
    none = squared_length(effects(0, n=4, times=20_000))
    assert none.mean() == pytest.approx(0, abs=4 * none.std() / np.sqrt(len(none)))
    assert squared_length(np.tile(R, (2, 1))) == pytest.approx(np.square(R).mean())
    with pytest.raises(ValueError, match="1 image of a treatment says nothing of chance"):
        squared_length(R[None])


@pytest.mark.parametrize(("shown", "right"), [(1.0, 1.0), (0.5, 0.75), (0.0, 0.0), (2.0, 0.0), (-1.0, -3.0)])
def test_likeness_is_the_share_of_the_reference_that_is_shown(shown, right):
    assert LIKENESS(np.tile(shown * R, (3, 1))) == pytest.approx(right)
    noisy = LIKENESS(effects(shown * R, n=8, times=5000))
    assert noisy.mean() == pytest.approx(right, abs=5 * noisy.std() / np.sqrt(len(noisy)))


def test_rescue_is_what_is_gone_of_the_state():
    goal = Rescue("sick")
    assert goal.contexts == (Context(state="sick"),)
    reference: Any = SimpleNamespace(effects=lambda queries: np.tile(R, (len(queries), 3, 1)), state_query=str)
    score = goal.prepare(reference)
    for left, right in ((0.0, 1.0), (1.0, 0.0), (0.5, 0.75), (2.0, -3.0)):
        assert score(np.tile(left * R, (4, 1))) == pytest.approx(right)
    other = rng.normal(size=D)
    assert score(np.tile(R + other, (4, 1))) < 0 or R @ other < 0  # it adds an effect of its own


def test_strength_and_selectivity():
    strong, weak = np.tile(2 * R, (4, 1)), np.tile(R, (4, 1))
    size = np.sqrt(np.square(R).mean())
    assert STRENGTH(weak) == pytest.approx(size) and STRENGTH(strong) == pytest.approx(2 * size)
    cells = Selectivity(Strength("A"), Strength("B"))
    assert cells.contexts == (Context(cell_type="A"), Context(cell_type="B"))
    assert cells.prepare(seen(r=R))(strong, weak) == pytest.approx(size)
    same = Selectivity(Likeness("r"), Likeness("minus")).prepare(seen(r=R, minus=-R))
    assert same(weak, weak) == pytest.approx(1)  # not 1 − (−3): that it is the opposite of the second is no merit
    assert same(-weak, -weak) == pytest.approx(-3 - 1)


def test_what_was_seen_at_another_strength_is_not_new():
    a, b = np.eye(D)[:2]
    goal = Novelty().prepare(seen(a=a, b=b))
    assert goal(np.tile(5 * a, (3, 1))) == pytest.approx(0, abs=1e-9)
    assert goal(np.tile(-5 * a, (3, 1))) == pytest.approx(5 / np.sqrt(D))  # the opposite is new
    between = goal(np.tile(a + b, (3, 1)))
    assert between == pytest.approx(np.sqrt(2 / D) * np.sqrt(0.5))
    assert goal(np.zeros((3, D))) == 0


def test_disagreement_is_the_spread_of_units():
    disagreement = Disagreement().prepare(seen(r=R))
    assert disagreement(effects(R, n=4000)) == pytest.approx(1, abs=0.03)
    assert disagreement(np.tile(R, (5, 1))) == pytest.approx(0)


@pytest.mark.parametrize("n_batches", [1, 2, 4])
@pytest.mark.parametrize("seeds", [8, 40])
@pytest.mark.parametrize("share", [0, 0.03, 0.1, 0.7])
def test_intervals_hold_the_truth_as_often_as_they_say(n_batches, seeds, share):
    many = effects(share * R, n=n_batches * seeds, times=2000)
    of_strength, of_likeness = np.sqrt(np.square(share * R).mean()), 1 - (1 - share) ** 2
    for score, truth, is_length in ((STRENGTH, of_strength, True), (LIKENESS, of_likeness, False)):
        lower, upper = interval(score, [many], n_batches, is_length)
        share_of_intervals = ((lower <= truth) & (truth <= upper)).mean()
        assert 0.92 < share_of_intervals < (0.997 if n_batches < 3 else 1), truth
        assert (lower <= score(many)).all() and (score(many) <= upper).all()


def test_the_interval_is_that_of_student_over_left_out_seeds():
    few = effects(R, n=6)
    without = [LIKENESS(np.delete(few, k, axis=0)) for k in range(6)]
    error = np.sqrt(5 / 6 * np.var(without) * 6)
    assert half_width(LIKENESS, [few], 1) == pytest.approx(2.570582 * error)  # Student's t of 5 degrees of freedom


def test_batches_that_differ_widen_the_interval():
    shift = np.repeat(np.random.default_rng(1).normal(0, 1, (400, 4, D)), 5, axis=1)
    many = R + shift + np.random.default_rng(2).normal(0, 0.1, (400, 20, D))
    lower, upper = interval(STRENGTH, [many], 4, is_length=True)
    of_seeds = np.subtract(*interval(STRENGTH, [many], 1, is_length=True)[::-1])  # as if all were one batch
    assert np.median(upper - lower) > 1.5 * np.median(of_seeds)
    assert np.median(upper - lower) == pytest.approx(2 * 3.18 * STRENGTH(many).std(), rel=0.5)  # t of four batches


def test_one_seed_in_one_batch_has_no_error():
    assert np.isnan(interval(STRENGTH, [np.zeros((1, D))], 1)).all()


def test_a_reference_without_effect_is_refused():
    with pytest.raises(ValueError, match="no effect of its own"):
        Likeness("nothing").prepare(seen(nothing=np.zeros(D)))(effects(R))
    with pytest.raises(ValueError, match="'x' is no perturbation that the model has seen; it has seen"):
        Likeness("x").prepare(seen(r=R))
    with pytest.raises(ValueError, match="needs perturbations, one or more"):
        Likeness([]).prepare(seen(r=R))


def test_lengths_say_so_and_likenesses_do_not():
    lengths = [trait(goal, "is_length") for goal in (Strength(), Novelty(), Disagreement())]
    assert lengths == [True] * 3
    others = (Likeness("r"), Rescue("r"), Selectivity(Strength(), Novelty()))
    assert not any(trait(goal, "is_length") for goal in others)


def mean_of(effects):
    return effects.mean((-2, -1))


def test_the_interval_by_hand_over_groups_of_seeds_and_over_batches():
    # twenty seeds are ten groups: k and k + 10. The jackknife of a mean is the s.d. of group means over √g
    units = np.square(np.arange(20.0))
    groups = (units[:10] + units[10:]) / 2
    right = 2.262157 * groups.std(ddof=1) / np.sqrt(10)  # Student's t of 9 degrees of freedom
    assert half_width(mean_of, [units[:, None]], 1) == pytest.approx(right)
    # three seeds in two batches are three groups of two; in three batches the wider of seeds and batches
    two = np.array([[0.0, 2, 7], [1, 5, 9]])
    right = 4.302653 * two.mean(0).std(ddof=1) / np.sqrt(3)
    assert half_width(mean_of, [two.reshape(-1, 1)], 2) == pytest.approx(right)
    three = np.array([[0.0, 1, 3], [10, 12, 15], [30, 31, 33]])
    right = 4.302653 * three.mean(1).std(ddof=1) / np.sqrt(3)
    assert half_width(mean_of, [three.reshape(-1, 1)], 3) == pytest.approx(right)
    assert half_width(mean_of, [three.T.reshape(-1, 1)], 3) == pytest.approx(right), "then seeds are the wider"
    assert half_width(mean_of, [three[:, :1]], 3) > 0, "one seed in each of three batches"
    assert np.isnan(half_width(mean_of, [three[:2, :1]], 2)), "one in each of two says nothing"


def test_the_ends_of_an_interval_by_hand():
    # 1 and 3: the mean is 2 and the halves 1 and 3, so that s = 1 and t of 1 degree of freedom is 12.706
    units = np.array([[1.0], [3.0]])
    assert interval(mean_of, [units], 1).tolist() == pytest.approx([2 - 12.7062, 2 + 12.7062], rel=1e-5)
    # of a length: θ² = 4 and the left-out squares 9 and 1, so that s = 4
    ends = interval(mean_of, [units], 1, is_length=True)
    assert ends.tolist() == pytest.approx([-np.sqrt(4 * 12.7062 - 4), np.sqrt(4 * 12.7062 + 4)], rel=1e-5)
    assert interval(mean_of, [np.zeros((5, 1, 1))], 1).shape == (2, 5)


def test_disagreement_and_strength_of_two_units_by_hand():
    units = np.array([[0.0, 1.0], [2.0, 1.0]])  # variances 2 and 0 over n − 1; ⟨e₁, e₂⟩ = 1 over two features
    assert Disagreement().prepare(seen(r=R))(units) == pytest.approx(1)
    assert Strength().prepare(seen(r=R))(units) == pytest.approx(np.sqrt(0.5))
    assert Strength().prepare(seen(r=R))(units * [[1, 1], [1, -1]]) == pytest.approx(-np.sqrt(0.5)), "below nothing"
    assert trait(Disagreement(), "next_experiment") and not trait(Strength(), "next_experiment")


def test_the_opposite_of_all_that_was_seen_is_new():
    a = np.eye(D)[0]
    assert Novelty().prepare(seen(a=a))(np.tile(-5 * a, (3, 1))) == pytest.approx(5 / np.sqrt(D))


def test_goals_say_in_which_cells_they_are_tried():
    for goal in (Strength("A"), Likeness("r", cell_type="A"), Novelty("A"), Disagreement("A")):
        assert goal.contexts == (Context(cell_type="A"),)
    assert Rescue("sick", 3.0, "A").contexts == (Context("sick", 3.0, "A"),)


def test_likeness_of_a_mechanism_is_that_of_its_mean_effect():
    a, b = np.eye(D)[:2]
    score = Likeness(["a", "b"]).prepare(seen(a=a, b=b))
    assert score(np.tile((a + b) / 2, (2, 1))) == pytest.approx(1)
    assert score(np.tile(a, (2, 1))) == pytest.approx(0)


def test_likeness_at_a_dose_is_that_of_what_the_model_predicts_there(monkeypatch):
    a, b = np.eye(D)[:2]
    monkeypatch.setattr(goals, "training_query", lambda _, name, dose, cell_type: (name, dose, cell_type))
    predicted = {("x", 2.0, "A"): a, ("y", 2.0, "A"): b}
    reference: Any = SimpleNamespace(
        predictor=SimpleNamespace(assay=SimpleNamespace(vocabulary=None)),
        effects=lambda queries: np.array([np.tile(predicted[query], (3, 1)) for query in queries]),
    )
    score = Likeness(["x", "y"], dose_um=2.0, cell_type="A").prepare(reference)
    assert score(np.tile((a + b) / 2, (2, 1))) == pytest.approx(1)
