"""A monitor that tells a model which ignores the drug from one that does not."""

import logging

import pytest
import torch

from virtassay.schema import NULL, Condition
from virtassay.training.condition_use import ConditionUse, partner, treatments, warn_if_ignored


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
