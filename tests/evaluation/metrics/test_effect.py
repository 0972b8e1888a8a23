"""Effects of treatments against scipy and by hand."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

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
