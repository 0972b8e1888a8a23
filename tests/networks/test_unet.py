"""The U-Net's own parts; tests/networks/test_networks.py holds what all networks share."""

import torch

from tests.networks.toy import WIDTH, conditions, encoder
from tests.networks.toy_networks import away_from_zero
from virtassay.networks.unet import AttendedBlock, Attention, UNet


def unet(attention_levels: int) -> UNet:
    sizes = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "width": WIDTH, "heads": 2}
    return UNet(image_shape=(2, 8, 8), condition=encoder(), attention_levels=attention_levels, **sizes)


def test_attention_stands_at_the_last_levels_and_in_the_middle():
    for levels, expected in ((0, 0), (1, 1 + 1 + 1), (2, 2 + 2 + 1)):  # down, up, middle
        blocks = [module for module in unet(levels).modules() if isinstance(module, AttendedBlock)]
        assert len(blocks) == 5 and sum(isinstance(block[1], Attention) for block in blocks) == expected


def test_attention_adds_nothing_at_the_start_and_looks_everywhere_later():
    attention, maps = Attention(8, heads=2, groups=4), torch.randn(1, 8, 4, 4)
    assert torch.equal(attention(maps), maps)
    away_from_zero(attention)
    moved = maps.clone()
    moved[..., 0, 0] += 1
    assert (attention(moved) - attention(maps))[..., 3, 3].abs().max() > 1e-4


def test_its_weights_keep_their_names():
    names = unet(1).state_dict().keys()
    assert {
        "down.0.0.0.conv1.weight",
        "down.1.0.1.qkv.weight",
        "middle.1.project.bias",
        "up.1.0.0.film.linear.weight",
    } <= names
    assert unet(1)(torch.randn(4, 2, 8, 8), torch.rand(4), conditions()).shape == (4, 2, 8, 8)
