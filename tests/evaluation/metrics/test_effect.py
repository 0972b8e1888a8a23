"""Effects of treatments against scipy and by hand."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.evaluation.by_hand import Treated, Untreated, candidate
from virtassay.evaluation.metrics import effect

rng = np.random.default_rng(0)


def correlation(a, b):
    result: Any = stats.pearsonr(a, b)
    return result.statistic


def test_pearson_delta_agrees_with_scipy():
    g, r, c = rng.normal(size=(5, 30)), rng.normal(size=(5, 30)), rng.normal(size=30)
    assert effect.pearson_delta(g, r) == pytest.approx([correlation(a, b) for a, b in zip(g, r, strict=True)])
    centred = [correlation(a - c, b - c) for a, b in zip(g, r, strict=True)]
    assert effect.pearson_delta_centred(g, r, c) == pytest.approx(centred)


def test_pearson_delta_of_a_constant_effect_is_no_number():
    assert np.isnan(effect.pearson_delta(np.ones((1, 4)), rng.normal(size=(1, 4)))).all()


def test_centring_removes_what_all_treatments_share():
    shared, own = 10 * rng.normal(size=200), rng.normal(size=(6, 200))
    real, generated = shared + own, np.tile(shared, (6, 1)) + 0.01 * rng.normal(size=(6, 200))
    assert effect.pearson_delta(generated, real).min() > 0.95
    assert abs(effect.pearson_delta_centred(generated, real, shared).mean()) < 0.15


@pytest.mark.parametrize("size", [0.0, 0.5, 1.0, 2.0])
def test_effect_slope_is_the_size_of_the_generated_effect_and_debiased(size):
    local = np.random.default_rng(1)
    direction, n, d = np.full(20, 0.3), 10, 20
    along, below = [], []
    for _ in range(4000):
        r, c, g, c2 = (local.normal(size=(n, d)) for _ in range(4))
        r, g = r + direction, g + size * direction
        noise = effect.mean_variance(r) + effect.mean_variance(c)
        slope = effect.effect_slope([g.mean(0) - c2.mean(0)], [r.mean(0) - c.mean(0)], [noise])
        along.append(slope.along[0])
        below.append(slope.size[0])
    assert np.sum(along) / np.sum(below) == pytest.approx(size, abs=0.06)


def test_effects_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="treatments, features"):
        effect.pearson_delta(np.zeros((2, 3)), np.zeros((3, 3)))


def test_small_effects_correlate_as_large_ones_do_and_none_at_all_is_no_number():
    generated, real = np.array([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]]), np.array([[2.0, 1.0, 5.0], [0.0, 1.0, 2.0]])
    assert effect.pearson_delta(generated, real)[0] == pytest.approx(np.corrcoef(generated[0], real[0])[0, 1])
    assert effect.pearson_delta(1e-4 * generated, real)[0] == pytest.approx(effect.pearson_delta(generated, real)[0])
    assert np.isnan(effect.pearson_delta(generated, real)[1])


def test_the_parts_of_a_slope_by_hand():
    slope = effect.effect_slope([[1.0, 2.0], [0, 1]], [[3.0, 4.0], [1, 1]], [5.0, 0.5])
    assert slope.along.tolist() == [11, 1] and slope.size.tolist() == [20, 1.5]
    assert effect.mean_variance(np.array([[0.0, 1], [2, 1], [4, 4]])) == pytest.approx((4 + 3) / 3)


def measured(real, generated, control, other, resamples=3):
    """The effect of one stratum, the row numbers of its images, and the space."""
    model, space = candidate([Treated("one", "p", [real], generated)], {"one": Untreated(control, other, [])})
    (sides,) = model.draws[0].values()
    return effect.stratum_effect(sides, space, resamples), sides, space


def test_the_effect_of_a_stratum_by_hand():
    part, sides, space = measured([4, 6], [8, 11], [-1, 3], [1, 2])
    assert part.left == pytest.approx(2 * (4 + 7 + 2 + 5) / 4 - 2 - 3)
    assert part.size == pytest.approx(2 * (5 + 1 + 7 + 3) / 4 - 2 - 4)
    assert (part.move.tolist(), part.real_move.tolist()) == ([9.5 - 1.5], [5 - 1])
    assert part.noise == pytest.approx(2 / 2 + 8 / 2)  # variances 2 and 8
    assert part.problem == ""
    # what recurs in other candidates is kept
    assert {key for key, _ in space.sides} == {sides.reference.tobytes(), sides.control.tobytes()}


def test_resampled_energies_of_a_stratum_whose_images_are_equal_are_the_energies():
    part, _, _ = measured([[4, 0]] * 4, [[5, 0]] * 4, [[0, 0]] * 4, [[0, 3]] * 4, 50)
    for value, samples, known in ((part.left, part.left_samples, 2), (part.size, part.size_samples, 8)):
        assert value == pytest.approx(known) and samples.shape == (50,)
        finite = samples[np.isfinite(samples)]  # of one image drawn four times no pair is left
        assert len(finite) > 40 and finite == pytest.approx(known)
    assert (part.move.tolist(), part.real_move.tolist()) == ([5, -3], [4, 0])


LOST = [[0.0, np.nan], [1.0, 2.0], [2.0, 2.0]]
FEW = [[1.0, 2.0]]
FINE = [[0.0, 1.0], [1.0, 3.0]]


@pytest.mark.parametrize(
    ("sides", "problem"),
    [
        ((FEW, FEW, FEW, FINE), "fewer than two real images"),
        ((LOST, FINE, FEW, FINE), "real images with features that are no numbers"),
        ((FINE, FINE, FEW, LOST), "fewer than two controls"),
        ((FINE, FINE, LOST, FINE), "controls with features that are no numbers"),
        ((FINE, FINE, FINE, FEW), "fewer than two controls"),
        ((FINE, FEW, FINE, LOST), "controls with features that are no numbers"),
    ],
)
def test_a_stratum_without_a_real_effect_says_why(sides, problem):
    part, _, _ = measured(*sides)
    assert part.problem == problem
    assert np.isnan([part.left, part.size, part.noise]).all()
    for values, n in ((part.left_samples, 3), (part.size_samples, 3), (part.move, 2), (part.real_move, 2)):
        assert np.isnan(values).all() and values.shape == (n,)


@pytest.mark.parametrize(
    ("generated", "problem"),
    [
        (FEW, "fewer than two generated images"),
        (np.zeros((0, 2)), "fewer than two generated images"),
        (LOST, "generated images with features that are no numbers"),
    ],
)
def test_a_stratum_without_generated_images_keeps_its_real_effect(generated, problem):
    part, _, _ = measured([[0, 0], [0, 2]], generated, [[3, 0], [5, 0]], FINE)
    whole, _, _ = measured([[0, 0], [0, 2]], FINE, [[3, 0], [5, 0]], FINE)
    assert part.problem == problem
    assert np.isnan(part.left) and np.isnan([*part.left_samples, *part.move]).all()
    assert part.left_samples.shape == (3,) and part.move.shape == (2,)
    assert part.size == pytest.approx(2 * (3 + 5 + np.sqrt(13) + np.sqrt(29)) / 4 - 2 - 2)
    assert part.size_samples == pytest.approx(whole.size_samples, nan_ok=True)
    assert part.noise == pytest.approx(2 / 2 + 2 / 2)
    assert part.real_move.tolist() == [-4, 1]
