"""Muon against torch's own on matrices, against AdamW on the rest, and across a checkpoint."""

import copy

import pytest
import torch
from torch import Tensor, nn

from virtassay.training.optimisers import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 24, 24)])
def test_singular_values_come_to_one_and_the_vectors_stay(shape: tuple[int, ...]):
    g = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(g, full_matrices=False)
    turned = u.mT @ orthogonalise(g) @ v.mT  # diagonal where the singular vectors are the same
    values = turned.diagonal(dim1=-2, dim2=-1)
    assert (values > 0.6).all() and (values < 1.3).all()
    assert (turned - torch.diag_embed(values)).abs().max() < 0.05  # bf16


def descend(optimizer: torch.optim.Optimizer, weights: list[Tensor], steps: int = 4) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for w in weights:
            w.grad = torch.randn(w.shape, generator=random)
        optimizer.step()
    return [w.detach().clone() for w in weights]


def weights(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    random = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=random)) for shape in shapes]


def test_matrices_step_as_torch_muon_does():
    ours, theirs = weights((8, 20), (8, 20), (20, 8)), weights((8, 20), (8, 20), (20, 8))
    named = [(str(i), w) for i, w in enumerate(ours)]
    got = descend(Muon(named, lr=0.01, weight_decay=0.1, momentum=0.9), [*ours])
    oracle = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    wanted = descend(oracle, [*theirs])
    for a, b, start in zip(got, wanted, weights((8, 20), (8, 20), (20, 8)), strict=True):
        assert (b - start).abs().max() > 0.01
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)  # bf16 products in another order


def test_a_convolution_steps_as_its_matrix_does():
    kernel, matrix = weights((6, 3, 2, 2))[0], weights((6, 3, 2, 2))[0].detach().flatten(1).requires_grad_()
    got = descend(Muon([("conv", kernel)], lr=0.01), [kernel])[0]
    wanted = descend(Muon([("linear", matrix)], lr=0.01), [matrix])[0]
    torch.testing.assert_close(got.flatten(1), wanted)


def test_vectors_and_named_others_step_as_adamw_does():
    shapes = ((5,), (4, 6), (4, 6))
    ours, theirs = weights(*shapes), weights(*shapes)
    settings = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}
    names = ["block.bias", "head.weight", "block.weight"]
    got = descend(Muon(zip(names, ours, strict=True), others=["head"], **settings), [*ours])
    wanted = descend(torch.optim.AdamW(theirs, **settings), [*theirs])
    torch.testing.assert_close(got[:2], wanted[:2])
    assert not torch.allclose(got[2], wanted[2], atol=1e-3)


def test_a_loaded_state_goes_on_as_the_unbroken_run():
    shapes = ((4, 6), (4, 3, 2, 2), (5,))

    def named(w: list[nn.Parameter]) -> list[tuple[str, Tensor]]:
        return [(f"layer{i}", x) for i, x in enumerate(w)]

    broken = weights(*shapes)
    first = Muon(named(broken))
    descend(first, [*broken])
    again = [nn.Parameter(w.detach().clone()) for w in broken]
    second = Muon(named(again))
    second.load_state_dict(copy.deepcopy(first.state_dict()))  # it would share its tensors
    for a, b in zip(descend(first, [*broken]), descend(second, [*again]), strict=True):
        assert torch.equal(a, b)


def test_a_weight_without_gradient_stays():
    moving, still = weights((3, 4), (3, 4))
    optimizer = Muon([("a", moving), ("b", still)])
    before = still.detach().clone()
    descend(optimizer, [moving])
    assert torch.equal(still, before)


def test_nothing_for_muon_is_an_error():
    with pytest.raises(ValueError, match="no weight matrix left"):
        Muon([("bias", weights((3,))[0]), ("head.weight", weights((3, 4))[0])], others=["head"])
