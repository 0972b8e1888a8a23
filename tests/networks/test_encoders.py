"""Encoders of perturbations and of control images: unseen molecules, learned rows beside them, sets of controls."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from rdkit import Chem

from tests.networks.toy import WIDTH, conditions
from virtassay.data.molecules.graphs import MoleculeGraph
from virtassay.networks.condition import ConditionEncoder
from virtassay.networks.encoders import ControlSet, GraphEncoder, MoleculeToLabel, OneHot, Structure
from virtassay.schema import NULL, Condition

of_graphs = pytest.mark.skipif(find_spec("torch_geometric") is None, reason='pip install "virtassay[molecules]"')
quiet = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # of torch_geometric
GRAPH = MoleculeGraph(atoms=24, bonds=26)
MOLECULES = ["CC(=O)Oc1ccccc1C(=O)O", "CCO", "C", "CC(=O)[O-].[Na+]", "OCC", "CCN"]


def test_structure_encoder_knows_unseen_molecules_and_keeps_rows_for_the_others():
    encode = Structure(width=WIDTH, n_perturbations=4, structure_size=8)
    c = conditions()
    structure = torch.zeros(4, 2, 8)
    structure[0, 0, :3] = 1
    structure[1, 0, :3] = 5  # the same direction: counts are normalised
    c = Condition(**{**vars(c), "structure": structure, "perturbation": torch.full((4, 2), 4)})  # 4: not in training
    out = encode(c)
    assert torch.allclose(out[0, 0], out[1, 0], atol=1e-6)
    assert (out[0, 0] - out[2, 0]).norm() > 1e-2


def adaptor(depth: int = 2) -> MoleculeToLabel:
    torch.manual_seed(0)
    encode = MoleculeToLabel(width=WIDTH, n_perturbations=4, structure_size=8, depth=depth)
    for block in encode.blocks:  # away from the zero start
        for weight in block.film.parameters():  # pyright: ignore[reportAttributeAccessIssue]
            torch.nn.init.normal_(weight, std=0.3)
    return encode


def dosed_wells() -> Condition:
    structure = torch.zeros(4, 2, 8)
    structure[1, 0, :3] = 1
    structure[2, 0, :3] = 5  # the same direction: counts are normalised
    structure[3, 0, 2:7] = 1
    structure[3, 1, :3] = 1
    nan = torch.nan
    return Condition(
        perturbation=torch.tensor([[0, NULL], [4, NULL], [4, NULL], [2, 4]]),  # 4: not in training
        structure=structure,
        log_dose=torch.tensor([[nan, nan], [0.5, nan], [0.5, nan], [nan, 0.5]]),
        batch=torch.zeros(4, dtype=torch.int64),
        cell_type=torch.zeros(4, dtype=torch.int64),
    )


def test_structure_and_dose_make_the_label_whatever_stands_beside_them():
    encode, c = adaptor(), dosed_wells()
    label = encode(c)
    assert label.shape == (4, 2, WIDTH)
    assert torch.allclose(label[1, 0], label[2, 0], atol=1e-5)
    assert torch.allclose(label[1, 0], label[3, 1], atol=1e-5)  # in another place of a combination
    assert (label[3, 0] - label[1, 0]).norm() > 1e-2
    more = encode(replace(c, log_dose=c.log_dose + 1))
    assert (more[1, 0] - label[1, 0]).norm() > 1e-2
    assert torch.equal(more[3, 0], label[3, 0])  # no dose given
    between = encode(replace(c, log_dose=c.log_dose + 1e-3))
    assert (between[1, 0] - label[1, 0]).norm() < 1e-2 * (more[1, 0] - label[1, 0]).norm()  # doses are continuous


def test_controls_keep_the_rows_that_a_one_hot_model_learned():
    one_hot, encode = OneHot(width=WIDTH, n_perturbations=4), adaptor()
    state = one_hot.state_dict()
    loaded = encode.load_state_dict(state, strict=False)
    assert loaded.unexpected_keys == [] and "rows.weight" not in loaded.missing_keys
    assert torch.equal(encode(dosed_wells())[0, 0], one_hot.rows.weight[0])
    assert encode(dosed_wells())[1, 0].norm() > 0


def test_labels_start_as_long_as_rows():
    encode = MoleculeToLabel(width=256, n_perturbations=4)
    c = replace(dosed_wells(), structure=torch.rand(4, 2, 2048).round())
    assert 0.5 < encode(c).norm(dim=-1).mean() < 2


def test_every_weight_of_the_adaptor_has_a_part_in_the_loss_and_there_are_six_blocks():
    encode = MoleculeToLabel(width=WIDTH, n_perturbations=4, structure_size=8)
    assert len(encode.blocks) == 6
    whole = ConditionEncoder(width=WIDTH, perturbation=encode, n_batches=1, n_cell_types=1, use_dose=False)
    whole(dosed_wells()).sum().backward()
    assert [name for name, weight in whole.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("size", [(4, 4), (12, 16), (25, 24), (96, 96), (70, 129)])
def test_any_size_and_number_of_images_in_any_order(size):
    encode = ControlSet(width=8, channels=3, images=4)
    images = torch.randn(2, 5, 3, *size)
    out = encode(images)
    assert out.shape == (2, 8)
    assert torch.allclose(encode(images[:, torch.randperm(5)]), out, atol=1e-6)
    assert torch.allclose(encode(images.repeat(1, 3, 1, 1, 1)), out, atol=1e-6)  # more of the same says the same
    assert encode(images[:, :1]).shape == (2, 8)


def test_images_are_shrunk_by_averaging_first():
    encode = ControlSet(width=8, channels=1, images=4)
    small = torch.randn(1, 2, 1, 24, 24)
    large = small.repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2)
    assert torch.allclose(encode(large), encode(small), atol=1e-6)


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="3 channels, got 5"):
        ControlSet(width=8, channels=3, images=4)(torch.zeros(1, 2, 5, 12, 12))


def test_plates_never_in_training_are_told_by_their_controls():
    torch.manual_seed(0)
    encode, readout = ControlSet(width=16, channels=2, images=4), torch.nn.Linear(16, 2)
    optimizer = torch.optim.Adam([*encode.parameters(), *readout.parameters()], lr=5e-3)

    def plates(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        traits = torch.rand(n, 2)  # brightness of the first channel, noise of the second
        images = torch.randn(n, 4, 2, 12, 12)
        images[:, :, 0] += traits[:, 0, None, None, None]
        images[:, :, 1] *= 0.5 + traits[:, 1, None, None, None]
        return images, traits

    for _ in range(60):
        images, traits = plates(16)
        optimizer.zero_grad()
        ((readout(encode(images)) - traits) ** 2).mean().backward()
        optimizer.step()
    images, traits = plates(100)
    with torch.no_grad():
        error = ((readout(encode(images)) - traits) ** 2).mean(dim=0) / traits.var(dim=0)
    assert (error < 0.2).all()  # of the variance between plates


def wells_of(texts: Sequence[str | None]) -> Condition:
    rows = [np.zeros(GRAPH.size, np.uint8) if text is None else GRAPH([text])[0] for text in texts]
    n = len(texts)
    return Condition(
        perturbation=torch.tensor([[i % 4] for i in range(n)]),
        structure=torch.from_numpy(np.stack(rows)).float()[:, None],
        log_dose=torch.zeros(n, 1),
        batch=torch.zeros(n, dtype=torch.int64),
        cell_type=torch.zeros(n, dtype=torch.int64),
    )


def graph_encoder() -> GraphEncoder:
    torch.manual_seed(0)
    return GraphEncoder(width=16, n_perturbations=4, structure_size=GRAPH.size, atoms=24, depth=3)


@of_graphs
@quiet
def test_the_label_is_a_function_of_the_graph_alone():
    encode = graph_encoder()
    together = encode(wells_of(MOLECULES))
    for i, text in enumerate(MOLECULES):
        assert torch.allclose(encode(wells_of([text]))[0], together[i], atol=1e-5)
    assert torch.allclose(together[1], together[4], atol=1e-5)  # the same molecule, its atoms in another order
    apart = torch.cdist(together[[0, 1, 2, 3, 5], 0], together[[0, 1, 2, 3, 5], 0]) + torch.eye(5)
    assert apart.min() > 1e-2


@of_graphs
@quiet
def test_messages_go_along_the_bonds():
    """Isomers with the same atoms, bond types and degrees of atoms differ in what lies two bonds apart."""
    pair = ["CCC(C)CCC", "CC(C)CCCC"]
    assert len({Chem.MolToSmiles(Chem.MolFromSmiles(text)) for text in pair}) == 2
    first, second = graph_encoder()(wells_of(pair))[:, 0]
    assert (first - second).norm() > 1e-3


@of_graphs
@quiet
def test_what_has_no_graph_keeps_its_row():
    encode = graph_encoder()
    out = encode(wells_of([None, "CCO"]))
    assert torch.equal(out[0, 0], encode.rows.weight[0])
    assert torch.equal(encode(wells_of([None, None]))[:, 0], encode.rows.weight[:2])  # no molecule in the minibatch
    unseen = replace(wells_of(["CCO"]), perturbation=torch.tensor([[4]]))
    assert torch.allclose(encode(unseen)[0], out[1], atol=1e-5)
    beside = torch.cat([unseen.structure, torch.zeros_like(unseen.structure)], dim=1)  # an empty place
    combined = replace(unseen, perturbation=torch.tensor([[4, NULL]]), structure=beside, log_dose=torch.zeros(1, 2))
    assert torch.allclose(encode(combined)[:, :1], out[1:], atol=1e-5)


@of_graphs
@quiet
def test_every_weight_of_the_graph_encoder_has_a_part_in_the_loss():
    whole = ConditionEncoder(width=16, perturbation=graph_encoder(), n_batches=1, n_cell_types=1)
    whole(wells_of([None, *MOLECULES])).square().sum().backward()
    assert [name for name, weight in whole.named_parameters() if weight.grad is None] == []


@of_graphs
@quiet
def test_a_structure_that_is_no_such_graph_is_refused():
    with pytest.raises(ValueError, match="take condition"):
        GraphEncoder(width=16, n_perturbations=4, structure_size=2048, atoms=24)
