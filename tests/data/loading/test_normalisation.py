"""Stored integers ↔ floats in [−1, 1], stored vectors ↔ their standard scores, flips and dequantisation."""

import numpy as np
import pytest
import torch

from virtassay.data.loading.normalisation import Normalisation, flip

PLAIN = Normalisation.identity(1)


def test_all_256_values_survive_the_round_trip():
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    floats = PLAIN.to_model(values)
    assert floats.min() == -1 and floats.max() == 1
    assert torch.equal(PLAIN.to_stored(floats), values)
    assert torch.equal(
        PLAIN.to_stored(PLAIN.dequantise(floats, 1 / 128) - 1 / 256), values
    )  # the noise stays inside a step


def test_all_65536_values_survive_the_round_trip():
    values = torch.from_numpy(np.arange(65536, dtype=np.uint16).reshape(1, 1, 256, 256))
    back = PLAIN.to_stored(PLAIN.to_model(values), torch.uint16)
    assert np.array_equal(back.numpy(), values.numpy())


def test_what_lies_outside_is_clamped_and_other_types_are_refused():
    assert PLAIN.to_stored(torch.tensor([[[-3.0, 5.0]]])).flatten().tolist() == [0, 255]
    with pytest.raises(ValueError, match="uint8, uint16 or float32"):
        PLAIN.to_model(torch.zeros(2, dtype=torch.float64))


def test_flips_are_drawn_for_each_image_and_axis():
    torch.manual_seed(0)
    image = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    seen = {tuple(one.flatten().tolist()) for one in flip(image.expand(64, 1, 2, 2))}
    assert seen == {(0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)}


def test_dequantisation_is_uniform_and_can_be_switched_off():
    zeros = torch.zeros(1, 1, 200, 200)
    noise = PLAIN.dequantise(zeros, 1 / 128)
    assert noise.min() >= 0 and noise.max() < 1 / 128
    assert noise.mean().item() == pytest.approx(1 / 256, rel=0.02)
    assert torch.equal(PLAIN.dequantise(zeros, 0.0), zeros)


def test_standardised_images_have_mean_0_and_spread_1_and_come_back_exactly():
    random = np.random.default_rng(0)
    for dtype in (np.uint8, np.uint16):
        images = (random.gamma(2, 20, (50, 3, 8, 8)) * [[[1]], [[2]], [[0.5]]]).clip(0, 255).astype(dtype)
        scale = Normalisation.of(images)
        floats = scale.to_model(torch.from_numpy(images))
        assert floats.mean((0, 2, 3)).abs().max() < 1e-3 and (floats.std((0, 2, 3)) - 1).abs().max() < 1e-3
        assert np.array_equal(scale.to_stored(floats, getattr(torch, images.dtype.name)).numpy(), images)
    with pytest.raises(ValueError, match=r"channel\(s\) \[1\] are constant"):
        Normalisation.of(np.stack([images[:, 0], np.zeros_like(images[:, 0])], axis=1))


def test_a_constant_channel_is_found_though_its_computed_spread_is_not_0():
    constant = np.full((50, 1, 8, 8), 6, np.uint8)
    assert (constant * (2 / 255) - 1).std() != 0  # rounding
    varied = np.random.default_rng(0).integers(0, 255, (50, 1, 8, 8), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"channel\(s\) \[1\] are constant"):
        Normalisation.of(np.concatenate([varied, constant], axis=1))


def test_vectors_are_standardised_by_feature_and_come_back_unrounded():
    random = np.random.default_rng(0)
    units = np.array([1e4, 1.0, 1e-3])[:, None, None]
    vectors = (units * (5 + random.normal(size=(200, 3, 1, 1)))).astype(np.float32)
    scale = Normalisation.of(vectors)
    assert scale.mean == pytest.approx(vectors.mean((0, 2, 3), dtype=float).tolist())
    floats = scale.to_model(torch.from_numpy(vectors))
    assert floats.mean((0, 2, 3)).abs().max() < 1e-5
    assert (floats.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    back = scale.to_stored(floats, torch.float32)
    assert back.dtype == torch.float32
    np.testing.assert_allclose(back.numpy(), vectors, rtol=1e-5)
    far = torch.full((1, 3, 1, 1), 7.3)
    assert torch.equal(Normalisation.identity(3).to_stored(far, torch.float32), far)  # neither clamped nor rounded
    assert torch.equal(Normalisation.identity(3).to_model(torch.from_numpy(vectors)), torch.from_numpy(vectors))


def test_a_flip_leaves_a_vector_alone_and_turns_the_order_of_a_set():
    torch.manual_seed(0)
    single = torch.randn(32, 5, 1, 1)
    assert torch.equal(flip(single), single)
    sets = torch.randn(32, 5, 3, 1)
    turned = flip(sets)
    assert not torch.equal(turned, sets)
    for before, after in zip(sets, turned, strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(1))  # whole vectors, in another order


def test_a_scale_is_taken_by_channel():
    scale = Normalisation((0.0, 1.0, 2.0), (1.0, 2.0, 3.0))
    assert scale.take(None) == scale
    assert scale.take(torch.tensor([[2, 0]] * 4)) == Normalisation((2.0, 0.0), (3.0, 1.0))
