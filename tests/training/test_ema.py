"""The profile of the averages."""

import numpy as np
import pytest

from virtassay.training.ema import EMA, power_function_exponent


def test_exponents_of_the_published_widths():
    # Karras et al. 2023 (arXiv 2312.02696): widths 0.05 and 0.10 are exponents 16.97 and 6.94
    assert power_function_exponent(0.05) == pytest.approx(16.97, abs=0.01)
    assert power_function_exponent(0.10) == pytest.approx(6.94, abs=0.01)


def test_power_profile_weighs_step_t_by_t_to_the_exponent():
    ema = EMA(relative_width=0.1)
    steps = 400
    weights = np.zeros(steps)
    for t in range(1, steps + 1):
        weights *= ema.beta(t)
        weights[t - 1] = 1 - ema.beta(t)
    assert ema.exponent is not None
    wanted = np.arange(1, steps + 1) ** ema.exponent
    assert np.allclose(weights, wanted / wanted.sum(), atol=1e-3)
    centre = (weights * np.arange(steps)).sum()
    spread = np.sqrt((weights * (np.arange(steps) - centre) ** 2).sum()) / steps
    assert spread == pytest.approx(0.1, abs=0.005)


def test_constant_decay_is_warmed_up_and_reached():
    ema = EMA(decay=0.999)
    assert ema.beta(1) < 0.2
    assert ema.beta(100_000) == 0.999


@pytest.mark.parametrize(
    "arguments", [{}, {"decay": 0.9, "relative_width": 0.1}, {"decay": 1.0}, {"relative_width": 0.5}]
)
def test_contradictory_averages_are_refused(arguments):
    with pytest.raises(ValueError, match="ema"):
        EMA(**arguments)
