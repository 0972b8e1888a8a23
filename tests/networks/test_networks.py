"""What all networks share: any size and channels, zero at the start, steered by every field, time and step."""

import pytest
import torch

from tests.networks.toy import conditions
from tests.networks.toy_networks import away_from_zero, every_network, picture_networks, wide_encoder
from virtassay.networks.adm import ADM
from virtassay.networks.channel_dit import ChannelDiT
from virtassay.networks.dit import DiT
from virtassay.networks.set_transformer import SetTransformer
from virtassay.networks.unet import UNet
from virtassay.schema import Condition


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 24), (5, 12, 8), (12, 8, 16)])
def test_any_height_width_and_channels_and_zero_at_the_start(shape):
    for network in picture_networks(shape):
        out = network(torch.randn(4, *shape), torch.rand(4), conditions())
        assert out.shape == (4, *shape)
        assert out.abs().max() == 0  # adaLN-Zero and its kin


def test_every_field_and_the_time_reach_the_output_of_a_trained_network():
    for network, shape in every_network():
        away_from_zero(network)
        x, t, c = torch.randn(4, *shape), torch.rand(4) / 2, conditions()
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
        assert (network(x, t + 0.5, c) - base).abs().max() > 1e-4


def test_network_is_a_function_of_each_image_alone():
    for network, shape in every_network():
        away_from_zero(network, std=0.2)
        x, t, c = torch.randn(4, *shape), torch.rand(4), conditions()
        together, alone = network(x, t, c)[1:2], network(x[1:2], t[1:2], c[1:2])
        assert torch.allclose(together, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("average", [False, True])
def test_the_gradient_reaches_every_weight(average: bool):
    for network, shape in every_network(average):
        x, t, c = torch.randn(4, *shape), torch.rand(4), conditions()
        network(x, t, c).square().sum().backward()
        none = [name for name, weight in network.named_parameters() if weight.grad is None]
        assert none == []  # DDP refuses them
        away_from_zero(network)(x, t, c).square().sum().backward()
        still = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
        assert [name for name in still if not name.startswith("condition.")] == []  # which nulls are met is chance


def test_a_step_is_embedded_beside_the_time():
    for network, shape in every_network(average=True):
        x, t, c = torch.randn(4, *shape), torch.rand(4), conditions()
        assert network(x, t, c, torch.rand(4)).abs().max() == 0
        away_from_zero(network)
        zeros = network(x, t, c, torch.zeros(4))
        assert torch.equal(network(x, t, c), zeros)  # no step: an instant
        some = network(x, t, c, torch.tensor([0.0, 0.5, 0.0, 0.5]))
        changed = (some - zeros).abs().flatten(1).amax(1) > 1e-4
        assert changed.tolist() == [False, True, False, True]


def test_a_step_is_refused_by_a_network_that_learns_none():
    for network, shape in every_network():
        with pytest.raises(ValueError, match=r"network\.average=true"):
            network(torch.randn(4, *shape), torch.rand(4), conditions(), torch.zeros(4))


def test_average_adds_the_embedding_of_the_step_and_nothing_else():
    for (plain, _), (average, _) in zip(every_network(), every_network(average=True), strict=True):
        added = average.state_dict().keys() - plain.state_dict().keys()
        assert plain.state_dict().keys() <= average.state_dict().keys()
        assert added == {f"time.step.mlp.{part}.{kind}" for part in (0, 2) for kind in ("weight", "bias")}


def test_dropout_is_drawn_in_training_only():
    both = {"image_shape": (3, 8, 8), "condition": wide_encoder(128)}
    dit = {**both, "width": 128, "depth": 2, "heads": 2, "patch": 4, "projection_dropout": 0.5}
    vectors = {**both, "image_shape": (3, 8, 1), "width": 128, "depth": 2, "heads": 2, "projection_dropout": 0.5}
    conv = {**both, "channels": 32, "multipliers": (1, 1), "blocks": 1, "dropout": 0.5}
    made = [
        DiT(**dit),
        ChannelDiT(**dit),
        SetTransformer(**vectors),
        UNet(**conv, width=128),
        ADM(**conv, attention_resolutions=()),
    ]
    for network in made:
        away_from_zero(network, std=0.1)
        x, t, c = torch.randn(4, 3, 8, 1 if isinstance(network, SetTransformer) else 8), torch.rand(4), conditions()
        assert torch.equal(network(x, t, c), network(x, t, c))
        network.train()
        both["condition"].eval()  # its own dropout of fields is not meant
        assert (network(x, t, c) - network(x, t, c)).abs().max() > 1e-3


def test_sizes_that_cannot_be_cut_up_are_refused():
    both = {"condition": wide_encoder(128), "width": 128}
    for kind in (DiT, ChannelDiT):
        with pytest.raises(ValueError, match="patches of 4"):
            kind(image_shape=(3, 10, 8), patch=4, depth=1, heads=2, **both)
    with pytest.raises(ValueError, match="divisible by 4"):
        UNet(image_shape=(3, 10, 8), channels=8, multipliers=(1, 2, 2), blocks=1, **both)


def test_heads_that_do_not_divide_the_channels_are_refused():
    both = {"image_shape": (3, 8, 8), "condition": wide_encoder(128), "heads": 3}
    for kind in (DiT, ChannelDiT):
        with pytest.raises(ValueError, match=r"network\.heads=3 cannot share 128 channels"):
            kind(patch=4, depth=1, width=128, **both)
    with pytest.raises(ValueError, match=r"network\.heads=3 cannot share 8 channels"):
        UNet(channels=8, multipliers=(1,), blocks=1, width=128, **both)
    with pytest.raises(ValueError, match=r"network\.heads=3 cannot share 32 channels"):
        ADM(channels=32, multipliers=(1,), blocks=1, attention_resolutions=(), **both)
    with pytest.raises(ValueError, match=r"network\.heads=3 cannot share 128 channels"):
        SetTransformer(depth=1, width=128, **{**both, "image_shape": (3, 8, 1)})


def test_a_condition_of_another_width_is_refused():
    both = {"image_shape": (3, 8, 8), "condition": wide_encoder(24)}
    for kind in (DiT, ChannelDiT):
        with pytest.raises(ValueError, match=r"set condition\.width=128"):
            kind(patch=4, depth=1, heads=2, width=128, **both)
    with pytest.raises(ValueError, match=r"set condition\.width=128"):
        UNet(channels=8, multipliers=(1,), blocks=1, width=128, **both)
    with pytest.raises(ValueError, match=r"set condition\.width=128"):
        ADM(channels=32, multipliers=(1,), blocks=1, attention_resolutions=(), **both)
    with pytest.raises(ValueError, match=r"set condition\.width=128"):
        SetTransformer(depth=1, width=128, heads=2, **{**both, "image_shape": (3, 8, 1)})
