"""MoleculeToLabel: structure and dose → label, beside the learned rows of what has no structure."""

from dataclasses import replace

import torch

from virtassay.networks.condition import ConditionEncoder, OneHot
from virtassay.networks.encoders.adaptor import MoleculeToLabel
from virtassay.schema import NULL, Condition

WIDTH = 16


def made(depth: int = 2) -> MoleculeToLabel:
    torch.manual_seed(0)
    encode = MoleculeToLabel(width=WIDTH, n_perturbations=4, structure_size=8, depth=depth)
    for block in encode.blocks:  # away from the zero start
        for weight in block.film.parameters():  # pyright: ignore[reportAttributeAccessIssue]
            torch.nn.init.normal_(weight, std=0.3)
    return encode


def wells() -> Condition:
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
    encode, c = made(), wells()
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
    one_hot, encode = OneHot(width=WIDTH, n_perturbations=4), made()
    state = one_hot.state_dict()
    loaded = encode.load_state_dict(state, strict=False)
    assert loaded.unexpected_keys == [] and "rows.weight" not in loaded.missing_keys
    assert torch.equal(encode(wells())[0, 0], one_hot.rows.weight[0])
    assert encode(wells())[1, 0].norm() > 0


def test_labels_start_as_long_as_rows():
    encode = MoleculeToLabel(width=256, n_perturbations=4)
    c = replace(wells(), structure=torch.rand(4, 2, 2048).round())
    assert 0.5 < encode(c).norm(dim=-1).mean() < 2


def test_every_weight_has_a_part_in_the_loss_and_there_are_six_blocks():
    encode = MoleculeToLabel(width=WIDTH, n_perturbations=4, structure_size=8)
    assert len(encode.blocks) == 6
    whole = ConditionEncoder(width=WIDTH, perturbation=encode, n_batches=1, n_cell_types=1, use_dose=False)
    whole(wells()).sum().backward()
    assert [name for name, weight in whole.named_parameters() if weight.grad is None] == []
