"""The profile of the averages, and a monitor that tells a model which ignores the drug from one that does not."""

import logging

import numpy as np
import pytest
import torch

from virtassay.schema import NULL, Condition
from virtassay.training.condition_use import ConditionUse, partner, treatments, warn_if_ignored
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


def conditions(perturbation: list[int], dose: list[float] | None = None) -> Condition:
    n = len(perturbation)
    return Condition(
        perturbation=torch.tensor(perturbation)[:, None],
        structure=torch.zeros(n, 1, 0),
        log_dose=torch.full((n, 1), torch.nan) if dose is None else torch.tensor(dose)[:, None],
        batch=torch.zeros(n, dtype=torch.long),
        cell_type=torch.full((n,), NULL),
    )


def test_every_image_gets_a_partner_of_another_treatment_where_there_is_one():
    labels = treatments(conditions([0, 0, 1, 1, 1, 2, 3, 3], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    assert len(labels.unique()) == 5  # a dose is part of the treatment
    index, swapped = partner(labels)
    assert swapped.all()
    assert sorted(index.tolist()) == list(range(8))
    assert not partner(torch.zeros(5))[1].any()  # one treatment only: nobody


def test_the_monitor_speaks_up_only_when_the_drug_is_ignored(caplog):
    torch.manual_seed(0)
    right = 0.2 + 0.05 * torch.rand(400)
    for gain, warned in ((0.0, True), (0.01, False)):
        use = ConditionUse()
        use.update(right, right + gain + 0.01 * torch.randn(400), torch.full((400,), 0.99))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = use.compute()
            warn_if_ignored(found)
        assert ("ignores the perturbation" in caplog.text) is warned
        assert found["swap_cosine"] == pytest.approx(0.99)
    assert ConditionUse().compute() == {}
