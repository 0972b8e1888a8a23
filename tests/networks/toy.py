"""Four small conditions, and an encoder for them: two single perturbations, and one pair in both orders."""

import torch

from virtassay.networks.condition import ConditionEncoder
from virtassay.networks.encoders import OneHot, Structure
from virtassay.schema import NULL, Condition

WIDTH = 16


def encoder(structure: bool = False, dropout: float = 0.15) -> ConditionEncoder:
    perturbation = (
        Structure(width=WIDTH, n_perturbations=4, structure_size=8)
        if structure
        else OneHot(width=WIDTH, n_perturbations=4)
    )
    return ConditionEncoder(width=WIDTH, perturbation=perturbation, n_batches=3, n_cell_types=2, dropout=dropout)


def conditions(n: int = 4) -> Condition:
    return Condition(
        perturbation=torch.tensor([[0, NULL], [1, NULL], [2, 3], [3, 2]])[:n],
        structure=torch.zeros(4, 2, 8)[:n],
        log_dose=torch.tensor([[torch.nan, torch.nan], [0.5, torch.nan], [0.1, -0.7], [-0.7, 0.1]])[:n],
        batch=torch.tensor([0, 1, 2, 2])[:n],
        cell_type=torch.tensor([0, 1, 0, 0])[:n],
    )
