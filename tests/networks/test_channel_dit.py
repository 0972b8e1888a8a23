"""The channel-adaptive DiT: any stains in any order, each painted by its name and knowing of the others."""

from dataclasses import replace

import pytest
import torch

from tests.networks.toy import WIDTH, conditions, encoder
from tests.networks.toy_networks import away_from_zero
from virtassay.networks.channel_dit import ChannelDiT

T = torch.linspace(0, 1, 4)


def five_stains(refine: int = 0) -> ChannelDiT:
    shape = (5, 8, 12)
    return ChannelDiT(image_shape=shape, condition=encoder(), patch=4, depth=2, width=WIDTH, heads=2, refine=refine)


def stains(*rows: int) -> torch.Tensor:
    return torch.tensor(rows).expand(4, -1)


@pytest.mark.parametrize("rows", [(0,), (3,), (4, 1), (2, 0, 1), (4, 3, 2, 1, 0)])
def test_any_subset_in_any_order_and_zero_at_the_start(rows: tuple[int, ...]):
    c = replace(conditions(), stain=stains(*rows))
    out = five_stains()(torch.randn(4, len(rows), 8, 12), T, c)
    assert out.shape == (4, len(rows), 8, 12)
    assert out.abs().max() == 0


@pytest.mark.parametrize("refine", [0, 4])
def test_permuting_channels_and_stains_permutes_the_output(refine: int):
    network, x, order = away_from_zero(five_stains(refine)), torch.randn(4, 5, 8, 12), torch.tensor([3, 0, 4, 1, 2])
    base = network(x, T, conditions())
    named = network(x, T, replace(conditions(), stain=stains(0, 1, 2, 3, 4)))
    assert torch.equal(named, base)  # no stains: all of them, in their order
    permuted = network(x[:, order], T, replace(conditions(), stain=order.expand(4, -1)))
    assert torch.allclose(permuted, base[:, order], rtol=1e-3, atol=1e-3)
    unnamed = network(x[:, order], T, conditions())
    assert (unnamed - base[:, order]).abs().max() > 1e-2  # the name decides, not the place


def test_each_image_may_show_other_stains():
    network, x = away_from_zero(five_stains()), torch.randn(4, 2, 8, 12)
    mixed = replace(conditions(), stain=torch.tensor([[0, 1], [1, 0], [3, 4], [2, 2]]))
    out = network(x, T, mixed)
    for number in range(4):
        alone = slice(number, number + 1)
        assert torch.allclose(network(x[alone], T[alone], mixed[alone]), out[alone], rtol=1e-3, atol=1e-3)


def test_channels_know_of_one_another():
    network, x = away_from_zero(five_stains()), torch.randn(4, 5, 8, 12)
    changed = x.clone()
    changed[:, 0] += 1
    assert (network(changed, T, conditions()) - network(x, T, conditions()))[:, 1:].abs().max() > 1e-3


def test_a_picture_with_its_patches_moved_is_another():
    network, x = away_from_zero(five_stains()), torch.randn(4, 5, 8, 12)
    moved = network(x.roll(4, dims=-1), T, conditions())
    assert (moved - network(x, T, conditions()).roll(4, dims=-1)).abs().max() > 1e-3


def test_channels_without_a_stain_are_refused():
    network = five_stains()
    with pytest.raises(ValueError, match=r"3 of 5 channels need condition\.stain"):
        network(torch.randn(4, 3, 8, 12), T, conditions())
    with pytest.raises(ValueError, match=r"condition\.stain is \(4, 2\) for images \(4, 3, 8, 12\)"):
        network(torch.randn(4, 3, 8, 12), T, replace(conditions(), stain=stains(0, 1)))
