"""Sets of vectors: no order, any number of them, a single one, and pictures refused."""

import pytest
import torch

from tests.networks.toy import WIDTH, conditions, encoder
from tests.networks.toy_networks import away_from_zero
from virtassay.networks.set_transformer import SetTransformer


def transformer(k: int) -> SetTransformer:
    network = SetTransformer(image_shape=(5, k, 1), condition=encoder(), depth=2, width=WIDTH, heads=2)
    away_from_zero(network)
    return network


@pytest.mark.parametrize("k", [1, 2, 7])
def test_any_number_of_vectors_and_zero_at_the_start(k: int):
    network = SetTransformer(image_shape=(5, 3, 1), condition=encoder(), depth=2, width=WIDTH, heads=2)
    out = network(torch.randn(4, 5, k, 1), torch.rand(4), conditions())
    assert out.shape == (4, 5, k, 1)
    assert out.abs().max() == 0


def test_permuting_the_vectors_permutes_the_output():
    network, order = transformer(7), torch.randperm(7)
    x, t, c = torch.randn(4, 5, 7, 1), torch.rand(4), conditions()
    assert torch.allclose(network(x[:, :, order], t, c), network(x, t, c)[:, :, order], rtol=1e-4, atol=1e-4)


def test_vectors_know_of_one_another_and_equal_ones_go_as_one_alone():
    network = transformer(4)
    x, t, c = torch.randn(4, 5, 4, 1), torch.rand(4), conditions()
    changed = x.clone()
    changed[:, :, 0] += 1
    assert (network(changed, t, c) - network(x, t, c))[:, :, 1:].abs().max() > 1e-3
    single = x[:, :, :1]  # attention over copies of one vector is that vector's own value
    assert torch.allclose(network(single.expand(-1, -1, 4, -1), t, c)[:, :, :1], network(single, t, c), atol=1e-3)


def test_pictures_are_refused():
    with pytest.raises(ValueError, match="sets of vectors"):
        SetTransformer(image_shape=(5, 8, 8), condition=encoder(), depth=1, width=WIDTH, heads=2)
