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
