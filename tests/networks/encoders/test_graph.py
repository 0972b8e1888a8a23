"""GraphEncoder: a function of the molecule, not of how its atoms are numbered or what stands beside it."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from rdkit import Chem

from virtassay.data.molecules.graphs import MoleculeGraph
from virtassay.networks.condition import ConditionEncoder
from virtassay.networks.encoders.graph import GraphEncoder
from virtassay.schema import NULL, Condition

pytestmark = [
    pytest.mark.skipif(find_spec("torch_geometric") is None, reason='pip install "virtassay[molecules]"'),
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),  # of torch_geometric
]
GRAPH = MoleculeGraph(atoms=24, bonds=26)
MOLECULES = ["CC(=O)Oc1ccccc1C(=O)O", "CCO", "C", "CC(=O)[O-].[Na+]", "OCC", "CCN"]


def wells(texts: Sequence[str | None]) -> Condition:
    rows = [np.zeros(GRAPH.size, np.uint8) if text is None else GRAPH([text])[0] for text in texts]
    n = len(texts)
    return Condition(
        perturbation=torch.tensor([[i % 4] for i in range(n)]),
        structure=torch.from_numpy(np.stack(rows)).float()[:, None],
        log_dose=torch.zeros(n, 1),
        batch=torch.zeros(n, dtype=torch.int64),
        cell_type=torch.zeros(n, dtype=torch.int64),
    )


def made() -> GraphEncoder:
    torch.manual_seed(0)
    return GraphEncoder(width=16, n_perturbations=4, structure_size=GRAPH.size, atoms=24, depth=3)


def test_the_label_is_a_function_of_the_molecule_alone():
    encode = made()
    together = encode(wells(MOLECULES))
    for i, text in enumerate(MOLECULES):
        assert torch.allclose(encode(wells([text]))[0], together[i], atol=1e-5)
    assert torch.allclose(together[1], together[4], atol=1e-5)  # the same molecule, its atoms in another order
    apart = torch.cdist(together[[0, 1, 2, 3, 5], 0], together[[0, 1, 2, 3, 5], 0]) + torch.eye(5)
    assert apart.min() > 1e-2


def test_messages_go_along_the_bonds():
    """Isomers with the same atoms, bond types and degrees of atoms differ in what lies two bonds apart."""
    pair = ["CCC(C)CCC", "CC(C)CCCC"]
    assert len({Chem.MolToSmiles(Chem.MolFromSmiles(text)) for text in pair}) == 2
    first, second = made()(wells(pair))[:, 0]
    assert (first - second).norm() > 1e-3


def test_what_has_no_structure_keeps_its_row():
    encode = made()
    out = encode(wells([None, "CCO"]))
    assert torch.equal(out[0, 0], encode.rows.weight[0])
    assert torch.equal(encode(wells([None, None]))[:, 0], encode.rows.weight[:2])  # no molecule in the minibatch
    unseen = replace(wells(["CCO"]), perturbation=torch.tensor([[4]]))
    assert torch.allclose(encode(unseen)[0], out[1], atol=1e-5)
    beside = torch.cat([unseen.structure, torch.zeros_like(unseen.structure)], dim=1)  # an empty place
    combined = replace(unseen, perturbation=torch.tensor([[4, NULL]]), structure=beside, log_dose=torch.zeros(1, 2))
    assert torch.allclose(encode(combined)[:, :1], out[1:], atol=1e-5)


def test_every_weight_has_a_part_in_the_loss():
    whole = ConditionEncoder(width=16, perturbation=made(), n_batches=1, n_cell_types=1)
    whole(wells([None, *MOLECULES])).square().sum().backward()
    assert [name for name, weight in whole.named_parameters() if weight.grad is None] == []


def test_a_structure_that_is_no_such_graph_is_refused():
    with pytest.raises(ValueError, match="take condition"):
        GraphEncoder(width=16, n_perturbations=4, structure_size=2048, atoms=24)
