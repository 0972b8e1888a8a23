"""ADM: the published size of CellFlux's network, where its attention and its skips are, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from tests.networks.toy import conditions
from tests.networks.toy_networks import away_from_zero, wide_encoder
from virtassay.networks.adm import ADM, ResBlock
from virtassay.networks.unet import Attention


def adm(**changed: Any) -> ADM:
    settings = {"image_shape": (3, 16, 16), "condition": wide_encoder(128), "channels": 32, "multipliers": (1, 2, 2)}
    return ADM(**{**settings, "blocks": 2, "attention_resolutions": (2,), **changed})


def count(network: nn.Module) -> int:
    return sum(weight.numel() for name, weight in network.named_parameters() if not name.startswith("condition."))


def test_cellflux_has_the_published_number_of_parameters():
    yaml = Path(__file__).resolve().parents[2] / "conf/network/adm_cellflux.yaml"
    settings: Any = OmegaConf.to_container(OmegaConf.load(yaml))
    del settings["_target_"], settings["average"]
    with torch.device("meta"):
        network = ADM(**{**settings, "image_shape": (3, 96, 96), "condition": wide_encoder(512)})
        # CellFlux adds one linear layer of a Morgan fingerprint of 1,024 bits to the embedded time; ours is left out
        theirs = nn.Linear(1024, 512)
    assert count(network) + count(theirs) == 56_201_219  # published: 56.2 M


def test_learned_resampling_adds_a_convolution_for_each_halving_and_doubling():
    per_convolution = [9 * size**2 + size for size in (32, 64, 64, 64)]  # down at 32 and 64, up at 64 and 64
    assert count(adm()) - count(adm(learned_resampling=False)) == sum(per_convolution)


@pytest.mark.parametrize(("resolutions", "attentions"), [((), 1), ((2,), 6), ((2, 4), 11), ((1, 2, 4), 16)])
def test_attention_is_in_the_middle_and_where_it_was_asked_for(resolutions: tuple[int, ...], attentions: int):
    network = adm(attention_resolutions=resolutions)
    assert sum(isinstance(module, Attention) for module in network.modules()) == attentions
    sizes: list[int] = []
    for module in network.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda _, inputs, __: sizes.append(16 // inputs[0].shape[-1]))
    network(torch.randn(4, 3, 16, 16), torch.rand(4), conditions())
    assert set(sizes) == {*resolutions, 4}


def test_every_output_of_the_way_down_is_used_on_the_way_up():
    network = adm()
    n_outputs = 1 + len(network.down)  # the stem's is the first
    assert n_outputs == sum(isinstance(layer, ResBlock) for layer in network.up) == 3 * (2 + 1)


def test_a_block_starts_as_its_skip():
    block = ResBlock(32, 32, 16, 0.3, heads=2)
    x = torch.randn(2, 32, 4, 4)
    assert torch.equal(block(x, torch.randn(2, 16)), x)


def test_a_trained_block_is_its_formula():
    block = ResBlock(64, 32, 16, 0.3, heads=None)
    away_from_zero(block)
    x, vector = torch.randn(2, 64, 4, 4), torch.randn(2, 16)
    hidden = block.norm2(block.conv1(nn.functional.silu(block.norm1(x))))
    shift, scale = (nn.functional.silu(vector) @ block.film.linear.weight.T + block.film.linear.bias).split(32, dim=1)
    steered = hidden * (1 + scale[..., None, None]) + shift[..., None, None]
    expected = block.skip(x) + block.conv2(nn.functional.silu(steered))
    assert torch.allclose(block(x, vector), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image_shape": (3, 18, 16)}, "divisible by 4"),
        ({"channels": 16, "condition": wide_encoder(64)}, "multiples of 32"),
        ({"attention_resolutions": (8,)}, r"\[1, 2, 4\] times smaller"),
        ({"condition": wide_encoder(32)}, r"condition\.width=32.*set condition\.width=128"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        adm(**changed)
