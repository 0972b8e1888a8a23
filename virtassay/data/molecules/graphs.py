"""Molecules as graphs: atoms and bonds in one row of bytes, for an encoder that learns what to read in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rdkit import Chem

from virtassay.data.molecules.descriptors import NEEDS_SMILES, Component, InvalidSmiles

ATOM_FEATURES = 9  # number, chirality, degree, charge, hydrogens, radicals, hybridisation, aromatic, in a ring
BOND_FEATURES = 5  # first atom, second atom, type, stereo, conjugated


@dataclass(frozen=True)
class MoleculeGraph:
    """Atoms and bonds of a molecule: (n,) SMILES → (n, 9 atoms + 5 bonds) uint8.

    A row holds `atoms` × (atomic number + 1, the other features of torch_geometric), then `bonds` × (first atom, second
    atom, type + 1, stereo, conjugated); places without an atom or bond are zero. At most 255 atoms.
    Raises ImportError without the extra `molecules`, InvalidSmiles naming molecules that are too large or that
    torch_geometric has no features for (square planar metals).
    """

    atoms: int = 128
    bonds: int = 144
    needs = NEEDS_SMILES

    def __post_init__(self) -> None:
        if not (0 < self.atoms <= 255 and self.bonds > 0):
            raise ValueError(f"a graph has 1 to 255 atoms and 1 bond or more, got {self.atoms} and {self.bonds}.")

    @property
    def size(self) -> int:
        return ATOM_FEATURES * self.atoms + BOND_FEATURES * self.bonds

    def reads(self, component: Component) -> str | None:
        return component.smiles

    def __call__(self, read: Sequence[str]) -> np.ndarray:
        try:
            from torch_geometric.utils import from_rdmol
        except ImportError as error:
            raise ImportError(
                'MoleculeGraph needs the package torch-geometric: pip install "virtassay[molecules]".'
            ) from error
        rows = np.zeros((len(read), self.size), np.uint8)
        bad: dict[str, str] = {}
        for row, text in zip(rows, read, strict=True):
            try:
                self._fill(row, from_rdmol(Chem.MolFromSmiles(text)))
            except ValueError as error:
                bad[text] = str(error)
        if bad:
            shown = ", ".join(f"{text!r} ({why})" for text, why in list(bad.items())[:5])
            raise InvalidSmiles(
                f"{len(bad)} of {len(read)} molecules cannot be written as a graph: {shown}. Raise molecules.atoms and "
                "molecules.bonds, leave these out, or describe them by condition=morgan."
            )
        return rows

    def _fill(self, row: np.ndarray, graph: Any) -> None:
        """Write a torch_geometric graph into a row; its edges run both ways, a bond is written once."""
        atoms, ends, kinds = graph.x.numpy(), graph.edge_index.numpy().T, graph.edge_attr.numpy()
        once = ends[:, 0] < ends[:, 1]
        bonds = np.concatenate([ends, kinds], axis=1)[once]
        if len(atoms) > self.atoms or len(bonds) > self.bonds:
            raise ValueError(f"{len(atoms)} atoms and {len(bonds)} bonds, more than {self.atoms} and {self.bonds}")
        atoms[:, 0] += 1
        bonds[:, 2] += 1
        row[: atoms.size] = atoms.ravel()
        start = ATOM_FEATURES * self.atoms
        row[start : start + bonds.size] = bonds.ravel()
