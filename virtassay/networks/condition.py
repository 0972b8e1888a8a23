"""Condition → vector: one encoder for each field, each with a learned null, summed.

    treatment = Σ_i MLP(perturbation_i + dose_i)          over the perturbations i of the well
    condition = treatment + batch + cell_type

The sum over i makes a combination a set: its order does not matter, and each dose stays with its own perturbation.
Nulls are dropped in per sample and per field while training (Ho & Salimans 2022, arXiv 2207.12598); a dose says
nothing without its perturbation, so the null of a perturbation takes the dose with it.
"""

import math

import torch
from torch import Tensor, nn

from virtassay.flow.traits import trait
from virtassay.schema import FIELDS, NULL, Condition


class ConditionEncoder(nn.Module):
    """Sum the fields of a Condition to one vector: (n fields) → (n, width).

    The batch enters by its label (`use_batch`), or by what `control_set` makes of control images of it, which a batch
    that was not in training has too; where a sample's control images are not given (None, or NaN for that sample
    alone) its null stands for it. `dropout` is the probability with which each field of each sample is replaced by its
    null while training. `dose_in_label`: the perturbations that it numbers are compound × dose. Raises ValueError where
    dropout is no probability or the batch enters both ways.

    What others ask of an encoder is an attribute: `width`; `has_null`, whether training dropped it in, so that guidance
    can lead away from it; `control_images`, how many of each batch it reads.
    """

    def __init__(
        self,
        *,
        width: int,
        perturbation: nn.Module,
        n_batches: int,
        n_cell_types: int,
        dose_in_label: bool = False,
        use_dose: bool = True,
        use_batch: bool = True,
        dropout: float = 0.15,
        control_set: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"condition.dropout is a probability in [0, 1), got {dropout}.")
        if control_set is not None and use_batch:
            raise ValueError("the batch enters by its label or by control images: with control_set, use_batch=false.")
        self.width = width
        self.dose_in_label = dose_in_label
        self.dropout = dropout
        self.perturbation = perturbation
        self.dose = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width)) if use_dose else None
        self.treatment = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.batch = nn.Embedding(n_batches, width) if use_batch else None
        self.control_set = control_set
        self.has_null = dropout > 0
        self.control_images = int(trait(control_set, "images", 0))
        self.cell_type = nn.Embedding(n_cell_types, width) if n_cell_types > 1 else None
        encoders = {"dose": self.dose, "batch": self.batch or self.control_set, "cell_type": self.cell_type}
        fields = ["perturbation", *(name for name, encoder in encoders.items() if encoder is not None)]
        # a null for no other field: a weight without a gradient is an error to several devices
        self.null = nn.ParameterDict({name: nn.Parameter(torch.randn(width) / math.sqrt(width)) for name in fields})
        for table in (self.batch, self.cell_type):
            if table is not None:
                nn.init.normal_(table.weight, std=1 / math.sqrt(width))

    def drop(self, condition: Condition) -> Condition:
        """Replace each field of each sample by its null, with probability `dropout`: what training shows the network.

        Once for a step, not in `forward`: an objective that calls the network several times must ask it the same.
        """
        if self.dropout == 0:
            return condition
        for field in FIELDS:
            chosen = torch.rand(len(condition), device=condition.batch.device) < self.dropout
            condition = condition.without(field, chosen)
        return condition

    def forward(self, condition: Condition) -> Tensor:
        slot = condition.perturbation != NULL  # (n, k): is there a perturbation in this place?
        nothing = ~slot.any(dim=1)
        component = self.perturbation(condition)  # (n, k, width)
        if self.dose is not None:
            no_dose = condition.log_dose.isnan()
            encoded = self.dose(condition.log_dose.nan_to_num(0.0)[..., None])
            component = component + torch.where(no_dose[..., None], self.null["dose"], encoded)
        treatment = (self.treatment(component) * slot[..., None]).sum(dim=1)
        vector = torch.where(nothing[:, None], self.null["perturbation"], treatment)
        if self.batch is not None:
            vector = vector + self._row("batch", self.batch, condition)
        if self.control_set is not None:
            vector = vector + self._read_controls(self.control_set, condition)
        if self.cell_type is not None:
            vector = vector + self._row("cell_type", self.cell_type, condition)
        return vector

    def _row(self, name: str, table: nn.Embedding, condition: Condition) -> Tensor:
        number = getattr(condition, name)
        return torch.where((number == NULL)[:, None], self.null[name], table(number.clamp(min=0)))

    def _read_controls(self, encode: nn.Module, condition: Condition) -> Tensor:
        if condition.control_set is None:
            return self.null["batch"]
        null = condition.control_set.flatten(1)[:, 0].isnan()
        return torch.where(null[:, None], self.null["batch"], encode(condition.control_set.nan_to_num(0.0)))
