"""Stored integers ↔ floats in [−1, 1], flips and dequantisation."""

import numpy as np
import pytest
import torch

from virtassay.data.images import dequantise, flip, to_model, to_stored


def test_all_256_values_survive_the_round_trip():
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    floats = to_model(values)
    assert floats.min() == -1 and floats.max() == 1
    assert torch.equal(to_stored(floats), values)
    assert torch.equal(to_stored(dequantise(floats, 1 / 128) - 1 / 256), values)  # the noise stays inside a step


def test_all_65536_values_survive_the_round_trip():
    values = torch.from_numpy(np.arange(65536, dtype=np.uint16).reshape(1, 1, 256, 256))
    back = to_stored(to_model(values), torch.uint16)
    assert np.array_equal(back.numpy(), values.numpy())


def test_what_lies_outside_is_clamped_and_other_types_are_refused():
    assert to_stored(torch.tensor([-3.0, 5.0])).tolist() == [0, 255]
    with pytest.raises(ValueError, match="uint8 or uint16"):
        to_model(torch.zeros(2))


def test_flips_are_drawn_for_each_image_and_axis():
    torch.manual_seed(0)
    image = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    seen = {tuple(one.flatten().tolist()) for one in flip(image.expand(64, 1, 2, 2))}
    assert seen == {(0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)}


def test_dequantisation_is_uniform_and_can_be_switched_off():
    zeros = torch.zeros(1, 1, 200, 200)
    noise = dequantise(zeros, 1 / 128)
    assert 0 <= noise.min() and noise.max() < 1 / 128
    assert noise.mean().item() == pytest.approx(1 / 256, rel=0.02)
    assert torch.equal(dequantise(zeros, 0.0), zeros)
