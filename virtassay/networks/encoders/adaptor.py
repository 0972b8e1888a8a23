"""Encoders of molecules that are more than a linear map of their fingerprint."""

import math

import torch
from torch import Tensor, nn

from virtassay.networks.dit import Block
from virtassay.schema import Condition


class MoleculeToLabel(nn.Module):
    """Map a molecule's vector s and its dose to the label that a one-hot model would have learned for the two.

        label = W norm(block_depth ∘ … ∘ block_1 (V s/‖s‖; dose))

    The blocks are those of DiT on one token, each modulated (adaLN-Zero) by the dose; with one token, attention is a
    linear map. To adapt a model of labels compound × dose (condition=onehot_dose) to unseen compounds and doses, put
    this in the place of its OneHot, freeze all but the adaLN layers (FiLM) and train. Perturbations without a structure
    (controls, gene knock-outs) keep a learned row each: `rows` has the name and shape of those of OneHot, row i of the
    vocabulary for row i. (n, k, d) → (n, k, width).
    Source: Jones et al. 2026 (arXiv 2603.26790), where the dose is scaled to [0, 1]; here it is the vocabulary's
    standardised logarithm.
    """

    def __init__(self, *, width: int, n_perturbations: int, structure_size: int = 2048, depth: int = 6) -> None:
        super().__init__()
        self.structure_size = structure_size
        self.rows = nn.Embedding(n_perturbations, width)
        self.embed = nn.Linear(structure_size, width)
        self.dose = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        self.no_dose = nn.Parameter(torch.randn(width) / math.sqrt(width))
        self.blocks = nn.ModuleList(Block(width, 1, rms_norm=True, projection_dropout=0.0) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=1e-6, elementwise_affine=False)
        self.project = nn.Linear(width, width)
        nn.init.normal_(self.rows.weight, std=1 / math.sqrt(width))
        nn.init.normal_(self.project.weight, std=1 / width)  # labels about as long as the rows

    def forward(self, condition: Condition) -> Tensor:
        length = condition.structure.norm(dim=-1, keepdim=True)
        dosed = self.dose(condition.log_dose.nan_to_num(0.0)[..., None])
        dose = torch.where(condition.log_dose.isnan()[..., None], self.no_dose, dosed).flatten(0, 1)  # (n·k, width)
        token = self.embed(condition.structure / length.clamp(min=1e-6)).flatten(0, 1)[:, None]  # (n·k, 1, width)
        for block in self.blocks:
            token = block(token, dose)
        label = self.project(self.norm(token)).view(*condition.perturbation.shape, -1)
        known = self.rows(condition.perturbation.clamp(min=0, max=self.rows.num_embeddings - 1))
        return torch.where(length > 0, label, known)
