"""Molecules as rows of bytes: atoms, then bonds, against RDKit."""

from importlib.util import find_spec

import numpy as np
import pytest
from rdkit import Chem

from virtassay.data.molecules.descriptors import Component, InvalidSmiles
from virtassay.data.molecules.graphs import ATOM_FEATURES, BOND_FEATURES, MoleculeGraph

pytestmark = [
    pytest.mark.skipif(find_spec("torch_geometric") is None, reason='pip install "virtassay[molecules]"'),
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),  # of torch_geometric
]
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def test_a_row_holds_every_atom_and_bond():
    graph = MoleculeGraph(atoms=20, bonds=21)
    rows = graph([ASPIRIN, "[Na+]"])
    assert rows.shape == (2, graph.size) and rows.dtype == np.uint8 and graph.size == 9 * 20 + 5 * 21
    atoms = rows[0, : ATOM_FEATURES * 20].reshape(20, ATOM_FEATURES)
    bonds = rows[0, ATOM_FEATURES * 20 :].reshape(21, BOND_FEATURES)
    molecule = Chem.MolFromSmiles(ASPIRIN)
    assert atoms[:14, 0].tolist() == [*(atom.GetAtomicNum() + 1 for atom in molecule.GetAtoms()), 0]
    ends = {tuple(bond[:2].tolist()) for bond in bonds if bond[2]}
    assert ends == {tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in molecule.GetBonds()}
    assert rows[1].nonzero()[0].max() < ATOM_FEATURES  # a single atom has no bond
    assert graph.reads(Component("aspirin", ASPIRIN)) == ASPIRIN and graph.reads(Component("KO")) is None
    assert graph([]).shape == (0, graph.size)


def test_molecules_that_do_not_fit_are_named():
    with pytest.raises(InvalidSmiles, match=r"1 of 2 .*'CCCCC' \(5 atoms and 4 bonds, more than 4 and 6\)"):
        MoleculeGraph(atoms=4, bonds=6)(["C", "CCCCC"])
    with pytest.raises(ValueError, match="1 to 255 atoms"):
        MoleculeGraph(atoms=300)
