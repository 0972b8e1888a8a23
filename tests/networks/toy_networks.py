"""Small networks of every kind, and how to move them away from their start at zero."""

import torch
from torch import nn

from tests.networks.toy import WIDTH, encoder
from virtassay.networks.adm import ADM
from virtassay.networks.channel_dit import ChannelDiT
from virtassay.networks.condition import ConditionEncoder
from virtassay.networks.dit import DiT
from virtassay.networks.encoders import OneHot
from virtassay.networks.set_transformer import SetTransformer
from virtassay.networks.unet import UNet

Shape = tuple[int, int, int]


def wide_encoder(width: int, n_perturbations: int = 4) -> ConditionEncoder:
    """An encoder of toy conditions, of another width."""
    rows = OneHot(width=width, n_perturbations=n_perturbations)
    return ConditionEncoder(width=width, perturbation=rows, n_batches=3, n_cell_types=2)


def picture_networks(shape: Shape, average: bool = False) -> list[nn.Module]:
    """Every kind that takes images (c, h, w)."""
    both = {"image_shape": shape, "average": average}
    dit = {**both, "depth": 4, "width": WIDTH, "heads": 2, "patch": 4}
    unet = {**both, "channels": 8, "multipliers": (1, 2), "blocks": 1, "width": WIDTH, "heads": 2}
    adm = {**both, "channels": 32, "multipliers": (1, 2), "blocks": 1, "attention_resolutions": (2,)}
    channels = {**both, "depth": 2, "width": WIDTH, "heads": 2, "patch": 4}
    return [
        DiT(condition=encoder(), **dit),
        DiT(condition=encoder(), **dit, refine=4),
        DiT(condition=encoder(), **dit, long_skips=True, rms_norm=True, projection_dropout=0.1),
        DiT(condition=encoder(), **dit, qk_norm=True, swiglu=True, rotary=True),
        UNet(condition=encoder(), **unet),
        UNet(condition=encoder(), **unet, patch=2, refine=4),
        ADM(condition=wide_encoder(128), **adm),
        ADM(condition=wide_encoder(128), **adm, learned_resampling=False),
        ChannelDiT(condition=encoder(), **channels),
        ChannelDiT(condition=encoder(), **channels, refine=4),
    ]


def every_network(average: bool = False) -> list[tuple[nn.Module, Shape]]:
    """Every kind, with the shape of what it takes."""
    picture, vectors = (3, 8, 8), (5, 6, 1)
    sets = SetTransformer(image_shape=vectors, condition=encoder(), depth=2, width=WIDTH, heads=2, average=average)
    return [*((network, picture) for network in picture_networks(picture, average)), (sets, vectors)]


def away_from_zero(network: nn.Module, std: float = 0.3) -> nn.Module:
    """Draw every weight at random and switch dropout off: a stand-in for a trained network."""
    random = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=std, generator=random)
    return network.eval()
