"""Layers by their closed forms: rotations, positions, gates, and the embedding of time."""

import torch

from virtassay.networks.layers import SwiGLU, TimeEmbedding, rotary_positions, rotate, sincos_positions

WIDTH = 24


def test_rotating_is_a_product_with_complex_phases():
    rows, columns, size = 3, 4, 8
    x = torch.randn(2, 5, rows * columns, size)
    rates = torch.tensor([1.0, 0.1])  # 100^0, 100^(-1/2)
    token = torch.arange(rows * columns)
    angle = torch.cat([(token // columns)[:, None] * rates, (token % columns)[:, None] * rates], dim=1)
    turned = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angle), angle)
    out = rotate(x, rotary_positions((rows, columns), size))
    assert torch.allclose(out, torch.cat([turned.real, turned.imag], dim=-1), atol=1e-5)


def test_rotated_queries_and_keys_know_their_distance_alone():
    grid = (4, 5)
    rotation = rotary_positions(grid, 8)
    q, k = (rotate(torch.randn(8).expand(1, 1, 20, 8), rotation)[0, 0] for _ in range(2))
    logits = (q @ k.T).reshape(*grid, *grid)
    assert torch.allclose(logits[:-1, :-1, :-1, :-1], logits[1:, 1:, 1:, 1:], atol=1e-5)
    assert (logits[0, 0] - logits[0, 0, 0, 0]).abs().flatten()[1:].min() > 1e-4  # and distances differ


def test_positions_tell_patches_apart():
    positions = sincos_positions((5, 7), 16)
    assert positions.shape == (35, 16)
    assert (torch.cdist(positions, positions) + torch.eye(35)).min() > 0.1
    grid = positions.reshape(5, 7, 16)
    assert torch.equal(grid[2, :, :8], grid[2, :1, :8].expand(7, -1))  # the first half is the row's
    assert torch.equal(grid[:, 3, 8:], grid[:1, 3, 8:].expand(5, -1))  # the second the column's


def test_swiglu_is_its_formula_and_as_large_as_the_mlp():
    layer = SwiGLU(WIDTH)
    x = torch.randn(5, WIDTH)
    first, second = layer.enter.weight.chunk(2)
    b1, b2 = layer.enter.bias.chunk(2)
    a = x @ first.T + b1
    expected = (a * torch.sigmoid(a) * (x @ second.T + b2)) @ layer.leave.weight.T + layer.leave.bias
    assert torch.allclose(layer(x), expected, atol=1e-5)
    assert layer.enter.weight.numel() + layer.leave.weight.numel() == 8 * WIDTH**2
    assert SwiGLU(16).leave.in_features == 40  # 42.7 to a multiple of 8


def test_times_are_told_apart_as_finely_as_a_solver_needs():
    embed = TimeEmbedding(16)
    t = torch.linspace(0, 1, 101)
    gaps = torch.cdist(embed(t), embed(t)) + torch.eye(101)
    assert gaps.min() > 1e-3
