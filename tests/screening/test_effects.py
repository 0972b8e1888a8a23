"""The units of effects, by hand."""

import numpy as np
import pytest

from virtassay.screening.effects import EffectScale


def test_the_scale_is_the_spread_within_batches_by_its_degrees_of_freedom():
    untreated = np.array([[1.0, 0, 7], [3, 0, 7], [10, 0, 7], [14, 0.01, 7]])  # two batches of two cells
    treated = np.array([[[5.0, 4, 7]] * 4])
    scale = EffectScale.of(untreated, treated, n_batches=2)
    right = np.sqrt((1 + 1 + 4 + 4) / (4 - 2))  # about the means 2 and 12, which cost a degree each
    assert scale.values == pytest.approx([right, 0.4, 1])  # a tenth of the range of what hardly varies; a constant
    assert scale.effects(treated[0], untreated)[:, 0] == pytest.approx(np.array([4, 2, -5, -9]) / right)


def test_the_scale_of_few_cells_by_hand():
    one = EffectScale.of(np.array([[1.0], [3.0]]), np.array([[[2.0]]]), n_batches=1)
    assert one.values == pytest.approx([np.sqrt(2)]), "two cells of a batch leave one degree of freedom"
    each = EffectScale.of(np.array([[1.0], [3.0]]), np.array([[[11.0]]]), n_batches=2)
    assert each.values == pytest.approx([1.0]), "one cell a batch varies not at all: a tenth of the range"
    nearly = EffectScale.of(np.array([[1e3, 1e3], [1e3 + 1e-7, 1e3 + 1e-4]]), np.full((1, 1, 2), 1e3), n_batches=2)
    assert nearly.values == pytest.approx([1, 1e-5]), "to within rounding it is constant"
