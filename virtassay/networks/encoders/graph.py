"""GraphEncoder: a message-passing network on the molecule itself, trained with everything else."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from virtassay.schema import Condition

# how many values each feature of virtassay.data.molecules.graphs.MoleculeGraph has (number and type are shifted by one)
ATOM_VALUES = (120, 9, 11, 12, 9, 5, 8, 2, 2)
BOND_VALUES = (23, 6, 2)


class Features(nn.Module):
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
        self.atom, self.bond = Features(ATOM_VALUES, width), Features(BOND_VALUES, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.layers = nn.ModuleList(
            GINEConv(nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, width)
        nn.init.normal_(self.project.weight, std=1 / width)  # labels about as long as the rows

    def forward(self, condition: Condition) -> Tensor:
        n, k, _ = condition.structure.shape
        given = condition.structure.long().flatten(0, 1)  # (n·k, d)
        atoms = given[:, : len(ATOM_VALUES) * self.atoms].unflatten(1, (self.atoms, len(ATOM_VALUES)))
        bonds = given[:, len(ATOM_VALUES) * self.atoms :].unflatten(1, (-1, 2 + len(BOND_VALUES)))
        there = atoms[..., 0] > 0  # (n·k, atoms)
        number = there.flatten().cumsum(0).view_as(there) - 1  # of each atom among all atoms of the minibatch
        graph, place = (bonds[..., 2] > 0).nonzero(as_tuple=True)
        bond = bonds[graph, place]
        first, second = number[graph, bond[:, 0]], number[graph, bond[:, 1]]
        edges = torch.stack([torch.cat([first, second]), torch.cat([second, first])])  # messages run both ways
        kind = self.bond(bond[:, 2:]).repeat(2, 1)
        atom = self.atom(atoms[there])
        for norm, layer in zip(self.norms, self.layers, strict=True):
            atom = atom + layer(norm(atom), edges, kind)
        size = there.sum(dim=1)
        total = torch.zeros(n * k, atom.shape[1], dtype=atom.dtype, device=atom.device)
        total = total.index_add(0, there.nonzero()[:, 0], atom)
        label = self.project(self.norm(total / size.clamp(min=1)[:, None])).view(n, k, -1)
        known = self.rows(condition.perturbation.clamp(min=0, max=self.rows.num_embeddings - 1))
        return torch.where((size > 0).view(n, k, 1), label, known)
