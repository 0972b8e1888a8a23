"""Networks: any size and channels, zero at the start, steered by every field; nulls drop per sample and field."""

from typing import Any

import pytest
import torch

from virtassay.networks.condition import ConditionEncoder, OneHot, Structure
from virtassay.networks.dit import DiT
from virtassay.networks.unet import UNet
from virtassay.schema import NULL, Condition

WIDTH = 16


def encoder(structure: bool = False, dropout: float = 0.15) -> ConditionEncoder:
    perturbation = (
        Structure(width=WIDTH, n_perturbations=4, structure_size=8)
        if structure
        else OneHot(width=WIDTH, n_perturbations=4)
    )
    return ConditionEncoder(width=WIDTH, perturbation=perturbation, n_batches=3, n_cell_types=2, dropout=dropout)


def conditions(n: int = 4) -> Condition:
    return Condition(
        perturbation=torch.tensor([[0, NULL], [1, NULL], [2, 3], [3, 2]])[:n],
        structure=torch.zeros(4, 2, 8)[:n],
        log_dose=torch.tensor([[torch.nan, torch.nan], [0.5, torch.nan], [0.1, -0.7], [-0.7, 0.1]])[:n],
        batch=torch.tensor([0, 1, 2, 2])[:n],
        cell_type=torch.tensor([0, 1, 0, 0])[:n],
    )


def networks(shape: tuple[int, int, int]) -> list[torch.nn.Module]:
    dit = {"image_shape": shape, "depth": 4, "width": WIDTH, "heads": 2, "patch": 4}
    unet = {"image_shape": shape, "channels": 8, "multipliers": (1, 2), "blocks": 1, "width": WIDTH, "heads": 2}
    return [
        DiT(condition=encoder(), **dit),
        DiT(condition=encoder(), **dit, refine=4),
        DiT(condition=encoder(), **dit, long_skips=True, rms_norm=True, projection_dropout=0.1),
        UNet(condition=encoder(), **unet),
        UNet(condition=encoder(), **unet, patch=2, refine=4),
    ]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 24), (5, 12, 8), (12, 8, 16)])
def test_any_height_width_and_channels_and_zero_at_the_start(shape):
    for network in networks(shape):
        out = network(torch.randn(4, *shape), torch.rand(4), conditions())
        assert out.shape == (4, *shape)
        assert out.abs().max() == 0  # adaLN-Zero and its kin


def test_every_field_reaches_the_output_of_a_trained_network():
    for network in networks((3, 8, 8)):
        torch.manual_seed(0)
        for parameter in network.parameters():  # away from the zero start
            torch.nn.init.normal_(parameter, std=0.3)
        network.eval()
        x, t, c = torch.randn(4, 3, 8, 8), torch.rand(4), conditions()
        base = network(x, t, c)
        moved = {
            "perturbation": (c.perturbation + 1).clamp(max=3),
            "log_dose": c.log_dose.nan_to_num(0) + 1,
            "batch": (c.batch + 1) % 3,
            "cell_type": 1 - c.cell_type,
        }
        for name, value in moved.items():
            other = Condition(**{**vars(c), name: value})
            assert (network(x, t, other) - base).abs().max() > 1e-4, name


def test_network_is_a_function_of_each_image_alone():
    network = networks((3, 8, 8))[0].eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, t, c = torch.randn(4, 3, 8, 8), torch.rand(4), conditions()
    assert torch.allclose(network(x, t, c)[1:2], network(x[1:2], t[1:2], c[1:2]), atol=1e-4)


def test_a_size_that_cannot_be_cut_into_patches_is_refused():
    with pytest.raises(ValueError, match="patches of 4"):
        DiT(image_shape=(3, 10, 8), condition=encoder(), patch=4, depth=1, width=WIDTH, heads=2)
    with pytest.raises(ValueError, match="divisible by 4"):
        UNet(image_shape=(3, 10, 8), condition=encoder(), channels=8, multipliers=(1, 2, 2), blocks=1, width=WIDTH)


def test_a_combination_is_a_set_and_doses_stay_with_their_perturbations():
    encode = encoder().eval()
    vectors = encode(conditions())
    c = conditions()
    assert torch.allclose(vectors[2], vectors[3], atol=1e-6)  # rows 2 and 3 are the same pair in both orders
    swapped_doses = Condition(**{**vars(c), "log_dose": c.log_dose.flip(1)})
    assert (encode(swapped_doses)[2] - vectors[2]).abs().max() > 1e-3


def test_null_differs_from_every_condition_and_keeps_batch():
    encode, c = encoder().eval(), conditions()
    null = encode(c.without_perturbation())
    assert ((null - encode(c)).norm(dim=1) > 1e-2).all()
    assert (null[0] - null[1]).norm() > 1e-2  # other batch
    assert torch.allclose(null[2], null[3])  # same batch and cell type


def test_nulls_are_dropped_per_sample_and_per_field():
    torch.manual_seed(0)
    encode = encoder(dropout=0.3).train()
    n = 4000
    one = conditions()[1:2]
    many = one._map(lambda value: value.expand(n, *value.shape[1:]))
    vectors = encode(many)
    # 4 fields dropped independently (dose only counts while its perturbation stays): 3 × 2 × 2 distinct vectors
    distinct = torch.unique(vectors.detach().round(decimals=3), dim=0, return_counts=True)[1]
    assert len(distinct) == 12
    kept = 0.7**4
    assert distinct.max().item() / n == pytest.approx(kept, abs=0.03)


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


@pytest.mark.parametrize("structure", [False, True])
@pytest.mark.parametrize("fields", [{"n_cell_types": 1}, {"n_cell_types": 2, "use_dose": False}, {"use_batch": False}])
def test_every_weight_has_a_part_in_the_loss(structure: bool, fields: dict[str, Any]):
    perturbation = encoder(structure).perturbation
    settings: dict[str, Any] = {"n_batches": 3, "n_cell_types": 2, **fields}
    made = ConditionEncoder(width=WIDTH, perturbation=perturbation, **settings)
    made(conditions()).sum().backward()
    assert [name for name, weight in made.named_parameters() if weight.grad is None] == []  # DDP refuses them
