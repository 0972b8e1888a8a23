"""Encoders: what stands for a perturbation, (n, k) → (n, k, width), and for control images of a batch.

Those of molecules give unseen ones a vector too; perturbations without a structure (controls, gene knock-outs) keep a
learned row each. `ControlSet` reads the experimental batch off its control images: a plate never in training has some.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from virtassay.networks.dit import Block
from virtassay.schema import Condition

# how many values each feature of virtassay.data.molecules.graphs.MoleculeGraph has (number and type are shifted by one)
ATOM_VALUES = (120, 9, 11, 12, 9, 5, 8, 2, 2)
BOND_VALUES = (23, 6, 2)
MOST_PX = 24  # what tells plates apart is brightness, background and density, which a thumbnail shows


class OneHot(nn.Module):
    """A learned row for each perturbation that was in training; knows no others. (n, k) → (n, k, width)."""

    structure_size = 0  # it reads no molecular structure

    def __init__(self, *, width: int, n_perturbations: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(n_perturbations, width)
        nn.init.normal_(self.rows.weight, std=1 / math.sqrt(width))

    def forward(self, condition: Condition) -> Tensor:
        return self.rows(condition.perturbation.clamp(min=0))


class Structure(nn.Module):
    """A linear map of the molecule's fingerprint or embedding s, W s/‖s‖, so that unseen molecules have a vector too.

    Perturbations without a structure (controls, gene knock-outs) keep a learned row each. (n, k, d) → (n, k, width).
    Source of the fingerprint: Rogers & Hahn 2010 (doi 10.1021/ci100050t).
    """

    def __init__(self, *, width: int, n_perturbations: int, structure_size: int = 2048) -> None:
        super().__init__()
        self.structure_size = structure_size
        self.rows = nn.Embedding(n_perturbations, width)
        self.project = nn.Linear(structure_size, width, bias=False)
        nn.init.normal_(self.rows.weight, std=1 / math.sqrt(width))
        nn.init.normal_(self.project.weight, std=1 / math.sqrt(width))

    def forward(self, condition: Condition) -> Tensor:
        length = condition.structure.norm(dim=-1, keepdim=True)
        label = self.project(condition.structure / length.clamp(min=1e-6))
        return torch.where(length > 0, label, _learned(self.rows, condition))


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
        return torch.where(length > 0, label, _learned(self.rows, condition))


class _Features(nn.Module):
    """Sum a learned row for the value of each feature: (n, f) → (n, width)."""

    def __init__(self, values: Sequence[int], width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(number, width) for number in values)

    def forward(self, values: Tensor) -> Tensor:
        return torch.stack([table(values[:, i]) for i, table in enumerate(self.tables)]).sum(dim=0)


class GraphEncoder(nn.Module):
    """Pass messages along the bonds, then average over the atoms: (n, k, 9 atoms + 5 bonds) → (n, k, width).

        h_v ← h_v + MLP(norm(h_v) + Σ_{u ~ v} relu(norm(h_u) + e_uv))     `depth` times
        label = W norm(mean_v h_v)

    Reads what `data.molecules.graphs.MoleculeGraph` writes, of the same `atoms`. Perturbations without a structure
    (controls, gene knock-outs) keep a learned row each. Source: Hu et al. 2020 (arXiv 1905.12265), as GINEConv of
    torch_geometric, which the extra `molecules` brings. Raises ImportError without it, ValueError where
    `structure_size` is not that of such a graph.
    """

    def __init__(
        self, *, width: int, n_perturbations: int, structure_size: int, atoms: int = 128, depth: int = 4
    ) -> None:
        super().__init__()
        try:
            from torch_geometric.nn import GINEConv
        except ImportError as error:
            raise ImportError(
                'GraphEncoder needs the package torch-geometric: pip install "virtassay[molecules]".'
            ) from error
        left = structure_size - len(ATOM_VALUES) * atoms
        if left <= 0 or left % (2 + len(BOND_VALUES)):
            raise ValueError(
                f"a graph of {atoms} atoms does not have {structure_size} numbers: take condition.perturbation.atoms "
                "from molecules.atoms and structure_size from molecules.size, of MoleculeGraph."
            )
        self.structure_size, self.atoms = structure_size, atoms
        self.rows = nn.Embedding(n_perturbations, width)
        nn.init.normal_(self.rows.weight, std=1 / math.sqrt(width))
        self.atom, self.bond = _Features(ATOM_VALUES, width), _Features(BOND_VALUES, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.layers = nn.ModuleList(
            GINEConv(nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, width)
        nn.init.normal_(self.project.weight, std=1 / width)  # labels about as long as the rows

    def forward(self, condition: Condition) -> Tensor:
        n, k, _ = condition.structure.shape
        structure = condition.structure.long().flatten(0, 1)  # (n·k, d)
        atoms = structure[:, : len(ATOM_VALUES) * self.atoms].unflatten(1, (self.atoms, len(ATOM_VALUES)))
        bonds = structure[:, len(ATOM_VALUES) * self.atoms :].unflatten(1, (-1, 2 + len(BOND_VALUES)))
        is_atom = atoms[..., 0] > 0  # (n·k, atoms)
        number = is_atom.flatten().cumsum(0).view_as(is_atom) - 1  # of each atom among all atoms of the minibatch
        graph, place = (bonds[..., 2] > 0).nonzero(as_tuple=True)
        bond = bonds[graph, place]
        first, second = number[graph, bond[:, 0]], number[graph, bond[:, 1]]
        edges = torch.stack([torch.cat([first, second]), torch.cat([second, first])])  # messages run both ways
        kind = self.bond(bond[:, 2:]).repeat(2, 1)
        atom = self.atom(atoms[is_atom])
        for norm, layer in zip(self.norms, self.layers, strict=True):
            atom = atom + layer(norm(atom), edges, kind)
        size = is_atom.sum(dim=1)
        total = torch.zeros(n * k, atom.shape[1], dtype=atom.dtype, device=atom.device)
        total = total.index_add(0, is_atom.nonzero()[:, 0], atom)
        label = self.project(self.norm(total / size.clamp(min=1)[:, None])).view(n, k, -1)
        return torch.where((size > 0).view(n, k, 1), label, _learned(self.rows, condition))


class ControlSet(nn.Module):
    """The experimental batch, read off control images of it: (n, m, c, h, w), m ≥ 1, of any size → (n, width).

        batch = W mean_{i ≤ m} mean_{pixels} φ(control_i)

    They are shrunk to at most 24×24 px first. The mean makes the images a set (Zaheer et al. 2017, arXiv 1703.06114):
    their order does not matter, nor does how many there are. images: how many are drawn for each generated image, as
    for each in training. Raises ValueError where images have other channels.
    """

    def __init__(self, *, width: int, channels: int, images: int = 8) -> None:
        super().__init__()
        self.channels, self.images = channels, images
        steps: list[nn.Module] = []
        for before, after in ((channels, 32), (32, 64), (64, 128)):
            steps += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
        self.phi = nn.Sequential(*steps)  # no normalisation layer: it would take the brightness away
        self.project = nn.Linear(128, width)

    def forward(self, images: Tensor) -> Tensor:
        n, m, channels, height, breadth = images.shape
        if channels != self.channels:
            raise ValueError(f"the model reads control images of {self.channels} channels, got {channels}.")
        shrink = (-(-height // MOST_PX), -(-breadth // MOST_PX))
        small = nn.functional.avg_pool2d(images.flatten(0, 1), shrink)
        return self.project(self.phi(small).mean(dim=(2, 3)).unflatten(0, (n, m)).mean(dim=1))


def _learned(rows: nn.Embedding, condition: Condition) -> Tensor:
    """Return the row of each perturbation, (n, k, width); any row where it was not in training."""
    return rows(condition.perturbation.clamp(min=0, max=rows.num_embeddings - 1))
