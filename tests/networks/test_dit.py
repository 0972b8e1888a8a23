"""The DiT's switches: each alone changes what it should and nothing else; positions and gates by their closed forms."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from tests.networks.toy import conditions
from tests.networks.toy_networks import away_from_zero, wide_encoder
from virtassay.networks.condition import ConditionEncoder
from virtassay.networks.dit import Block, DiT
from virtassay.networks.encoders import OneHot
from virtassay.networks.layers import rotary_positions

WIDTH, DEPTH, HEADS = 24, 4, 2
SIZE = WIDTH // HEADS
SWITCHES: dict[str, tuple[Any, int]] = {  # the value that is not the default, and the parameters that it adds
    "qk_norm": (True, DEPTH * 2 * SIZE),
    "swiglu": (True, DEPTH * (2 * 64 - 4 * WIDTH)),  # 64 = 8/3 · 24: as many weights, more biases
    "rotary": (True, 0),
    "long_skips": (True, DEPTH // 2 * (2 * WIDTH**2 + WIDTH)),
    "rms_norm": (True, 0),
    "projection_dropout": (0.5, 0),
}


def dit(**switches: Any) -> DiT:
    return DiT(
        image_shape=(3, 8, 12),
        condition=wide_encoder(WIDTH),
        patch=4,
        depth=DEPTH,
        width=WIDTH,
        heads=HEADS,
        **switches,
    )


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", SWITCHES)
def test_each_switch_alone_changes_the_output_and_the_count_as_it_should(name: str):
    value, added = SWITCHES[name]
    base, switched = away_from_zero(dit()), away_from_zero(dit(**{name: value}))
    assert count(switched) - count(base) == added
    switched.load_state_dict(base.state_dict(), strict=False)  # what they share is equal
    if name == "projection_dropout":
        switched.train()
        switched.get_submodule("condition").eval()  # its own dropout of fields is not meant
    x, t, c = torch.randn(4, 3, 8, 12), torch.rand(4), conditions()
    assert (switched(x, t, c) - base(x, t, c)).abs().max() > 1e-3


def test_the_names_of_the_weights_are_those_of_earlier_runs():
    network = DiT(image_shape=(3, 8, 8), condition=wide_encoder(WIDTH), patch=4, depth=1, width=WIDTH, heads=HEADS)
    block = [f"blocks.0.{layer}" for layer in ("qkv", "project", "mlp.0", "mlp.2", "film.linear")]
    layers = ["time.mlp.0", "time.mlp.2", "embed", *block, "film.linear", "head.unfold"]
    names = {name for name in network.state_dict() if not name.startswith("condition.")}
    assert names == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


def test_mit_xl_has_the_published_number_of_parameters():
    yaml = Path(__file__).resolve().parents[2] / "conf/network/mit_xl.yaml"
    settings: Any = OmegaConf.to_container(OmegaConf.load(yaml))
    del settings["_target_"], settings["average"]
    with torch.device("meta"):
        # RxRx1 as MiT has it: 1,139 siRNAs (controls among them), 51 experiments, 4 cell types, no dose
        rows = OneHot(width=1152, n_perturbations=1139)
        encoder = ConditionEncoder(width=1152, perturbation=rows, n_batches=51, n_cell_types=4, use_dose=False)
        network = DiT(**{**settings, "image_shape": (6, 96, 96), "condition": encoder})
    # Jones et al. 2026 publish 709 M for XL/2. Ours counts all: 710.9 M without the condition, whose rows are 1.4 M and
    # whose MLP is 2.7 M
    assert count(network) == pytest.approx(709e6, rel=0.01)


def test_scaling_the_queries_moves_nothing_under_qk_norm():
    for qk_norm in (False, True):
        block = away_from_zero(Block(WIDTH, HEADS, qk_norm=qk_norm))
        x, vector = torch.randn(2, 6, WIDTH), torch.randn(2, WIDTH)
        before = block(x, vector)
        with torch.no_grad():
            assert isinstance(block.qkv, nn.Linear)
            block.qkv.weight[:WIDTH] *= 10
            block.qkv.bias[:WIDTH] *= 10
        assert torch.allclose(block(x, vector), before, rtol=1e-3, atol=1e-3) == qk_norm


def test_norms_and_rotations_stay_exact_under_autocast():
    network = away_from_zero(dit(qk_norm=True, rotary=True, swiglu=True), std=0.1)
    x, t, c = torch.randn(4, 3, 8, 12), torch.rand(4), conditions()
    exact = network(x, t, c)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(x, t, c)
    assert (rough.float() - exact).norm() < 0.03 * exact.norm()


def test_a_block_sees_relative_positions_alone():
    block = away_from_zero(Block(WIDTH, HEADS))
    x, vector = torch.randn(2, 10, WIDTH), torch.randn(2, WIDTH)
    rotation = rotary_positions((4, 5), SIZE)  # the upper and the lower ten patches lie alike
    upper, lower = block(x, vector, rotation[:, :10]), block(x, vector, rotation[:, 10:])
    assert torch.allclose(upper, lower, rtol=1e-3, atol=1e-3)
    assert (upper - block(x, vector)).abs().max() > 1e-2


@pytest.mark.parametrize("rotary", [False, True])
def test_a_picture_with_its_patches_moved_is_another(rotary: bool):
    network = away_from_zero(dit(rotary=rotary))
    x, t, c = torch.randn(4, 3, 8, 12), torch.rand(4), conditions()
    moved = x.roll(4, dims=-1)
    assert (network(moved, t, c) - network(x, t, c).roll(4, dims=-1)).abs().max() > 1e-3


@pytest.mark.parametrize(("width", "heads"), [(24, 4), (28, 4), (18, 2)])  # heads of 6, 7 and 9
def test_heads_whose_channels_cannot_be_paired_on_two_axes_are_refused(width: int, heads: int):
    with pytest.raises(ValueError, match=rf"network\.heads = {width // heads} is no multiple of 4"):
        DiT(
            image_shape=(3, 8, 8),
            condition=wide_encoder(width),
            patch=4,
            depth=1,
            width=width,
            heads=heads,
            rotary=True,
        )


def test_a_width_without_room_for_sines_on_two_axes_is_refused():
    with pytest.raises(ValueError, match=r"network\.width=18"):
        DiT(image_shape=(3, 8, 8), condition=wide_encoder(18), patch=4, depth=1, width=18, heads=2)


def test_a_copy_has_its_own_positions():
    network = dit(rotary=True)
    assert network.position is None and network.rotation is not None
    twin = copy.deepcopy(network)
    assert twin.rotation is not None and torch.equal(twin.rotation, network.rotation)
    assert not any("position" in name or "rotation" in name for name in network.state_dict())
