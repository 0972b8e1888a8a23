"""The collapse monitor: does the model use the drug, or does it draw the same cells whatever it is given?

For each validation image the loss under its own condition is compared with the loss under the perturbation of another
treatment (batch and cell type stay). gain_i = loss_i(swapped) − loss_i(right); a model that ignores the perturbation
has gain 0. The test is z = mean(gain) / standard error of it.
"""

import logging
from dataclasses import replace

import torch
from torch import Tensor

from virtassay.schema import Condition

log = logging.getLogger(__name__)
MINIMUM_Z = 3.0  # below it, a swapped drug makes no difference that can be told from chance


def partner(treatment: Tensor) -> tuple[Tensor, Tensor]:
    """Give each row one of another treatment: (index, which rows have such a partner).

    Rows are sorted by treatment and shifted by the size of the largest one, which meets another treatment wherever
    no treatment fills more than half of the rows.
    """
    order = torch.argsort(treatment, stable=True)
    shift = int(torch.unique(treatment, return_counts=True)[1].max()) if len(treatment) else 0
    index = torch.empty_like(order)
    index[order] = order.roll(-shift)
    return index, treatment[index] != treatment


def swap_perturbation(condition: Condition, index: Tensor) -> Condition:
    """Give each image the perturbation, structure and dose of image `index[i]`; batch and cell type stay."""
    return replace(
        condition,
        perturbation=condition.perturbation[index],
        structure=condition.structure[index],
        log_dose=condition.log_dose[index],
    )


def treatments(condition: Condition) -> Tensor:
    """Number the treatments in a minibatch: equal numbers where perturbations, structures and doses are equal."""
    # a structure is told from others by its checksum: an unseen molecule has no number of its own
    mark = (condition.structure * torch.arange(1, condition.structure.shape[-1] + 1).to(condition.structure)).sum(-1)
    key = torch.cat([condition.perturbation.double(), mark.double(), condition.log_dose.double().nan_to_num(-99)], 1)
    return torch.unique(key, dim=0, return_inverse=True)[1]


class ConditionUse:
    """Collects losses and cosines over a validation: does it matter which drug the model is given?"""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []

    def update(self, right: Tensor, wrong: Tensor, cosine: Tensor) -> None:
        """Add images: their loss under the right and a swapped condition, and the cosine of both velocities, (n,)."""
        self.parts.append(torch.stack([right, wrong, cosine]))

    def compute(self) -> dict[str, Tensor]:
        """Return swap_gain (relative to the loss), swap_z and swap_cosine, and start afresh; empty if n < 2."""
        parts, self.parts = self.parts, []
        if sum(part.shape[1] for part in parts) < 2:
            return {}
        right, wrong, cosine = torch.cat(parts, dim=1)
        gain = wrong - right
        z = gain.mean() / (gain.std() / len(gain) ** 0.5).clamp(min=1e-12)
        return {"swap_gain": gain.mean() / right.mean(), "swap_z": z, "swap_cosine": cosine.mean()}


def warn_if_ignored(use: dict[str, Tensor]) -> None:
    """Log a warning in plain words when a swapped drug makes no difference that can be told from chance."""
    if use and use["swap_z"] < MINIMUM_Z:
        log.warning(
            "The model ignores the perturbation so far: told another treatment, its loss is as low (z = %.1f, should "
            "be above %.0f; cosine between both velocities %.4f). Train longer, check in the contact sheet that "
            "treated images differ from controls, or lower condition.dropout.",
            use["swap_z"],
            MINIMUM_Z,
            use["swap_cosine"],
        )
