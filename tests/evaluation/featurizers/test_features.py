"""Featurizers: shapes for any number of channels, what each one sees and does not see, and fingerprints."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from virtassay.evaluation.featurizers import features
from virtassay.evaluation.featurizers.cells import CellStatistics
from virtassay.evaluation.featurizers.structure import MinkowskiFunctionals
from virtassay.evaluation.featurizers.untrained import UntrainedNetwork

PLAIN = (features.PixelStatistics(), features.Texture(), UntrainedNetwork(), MinkowskiFunctionals(), CellStatistics())


def noise(n=5, channels=3, size=16, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (n, channels, size, size)).astype(dtype)


@pytest.mark.parametrize("featurizer", PLAIN, ids=lambda f: f.name)
@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (2, np.uint16), (12, np.uint8)])
def test_any_number_of_channels_and_both_types(featurizer, channels, dtype):
    out = featurizer(noise(channels=channels, dtype=dtype))
    assert out.dtype == np.float64
    assert len(out) == 5
    assert np.isfinite(out).all()


@pytest.mark.parametrize("featurizer", PLAIN, ids=lambda f: f.name)
def test_features_do_not_depend_on_the_minibatch(featurizer, monkeypatch):
    images = noise(7)
    whole = featurizer(images)
    monkeypatch.setattr(features, "MINIBATCH", 2)
    assert featurizer(images) == pytest.approx(whole, abs=1e-6)


def test_a_minibatch_of_large_images_is_small(monkeypatch):
    sizes: list[int] = []
    monkeypatch.setattr(features, "MOST_VALUES", 3 * 16 * 16 * 3)
    for images in (noise(7), noise(2, size=64)):
        features.in_minibatches(images, lambda x: sizes.append(len(x)) or x[:, 0, 0], "sizes")
    assert sizes == [3, 3, 1, 1, 1]


@pytest.mark.parametrize("featurizer", PLAIN, ids=lambda f: f.name)
def test_empty_and_constant_images_give_numbers(featurizer):
    flat = np.stack([np.zeros((3, 16, 16)), np.full((3, 16, 16), 255)]).astype(np.uint8)
    assert np.isfinite(featurizer(flat)).all()


@pytest.mark.parametrize("featurizer", PLAIN, ids=lambda f: f.name)
def test_no_image_has_no_features_and_a_memory_map_is_as_good_as_an_array(featurizer, tmp_path):
    assert len(featurizer(noise(0))) == 0
    np.save(tmp_path / "images.npy", noise(3))
    assert (featurizer(np.load(tmp_path / "images.npy", mmap_mode="r")) == featurizer(noise(3))).all()


def test_pixel_statistics_see_no_arrangement_and_texture_does():
    images = noise(3)
    flat = images.reshape(3, 3, -1)
    order = np.argsort(flat[:, :1].sum(1), axis=1)[:, None]
    sorted_pixels = np.take_along_axis(flat, np.broadcast_to(order, flat.shape), 2).reshape(images.shape)
    pixel, texture = features.PixelStatistics(), features.Texture()
    assert pixel(sorted_pixels) == pytest.approx(pixel(images), abs=1e-9)
    assert np.abs(texture(sorted_pixels) - texture(images)).max() > 1


def test_pixel_statistics_by_hand():
    image = np.zeros((1, 2, 8, 8), np.uint8)
    image[0, 0, :4], image[0, 1, 4:] = 255, 51
    out = features.PixelStatistics(quantiles=(0.25, 0.75))(image)[0]
    assert out == pytest.approx([0, 1, 0.5, 0.5, 0, 0.2, 0.1, 0.1, -1], abs=1e-6)


def test_texture_finds_the_period_of_a_grating():
    x = np.arange(64)
    wave = 127 + 100 * np.sin(2 * np.pi * 0.225 * x)  # 0.225 cycles a pixel: annulus 4 of 10
    image = np.broadcast_to(wave, (1, 1, 64, 64)).round().astype(np.uint8)
    assert features.Texture()(image)[0].argmax() == 4


def test_texture_coherence_is_one_for_a_copied_channel_and_minus_one_for_its_negative():
    one = noise(1, 1, 32)
    out = features.Texture()(np.concatenate([one, one, 255 - one], 1))[0]
    coherence = out[30:].reshape(3, 10)  # pairs (0, 1), (0, 2), (1, 2)
    assert coherence[0] == pytest.approx(1, abs=1e-2)
    assert coherence[1:] == pytest.approx(-1, abs=1e-2)


def test_blur_is_invisible_in_the_mean_but_not_in_texture():
    sharp = noise(20, 1, 32, seed=1)
    blurred = ((sharp.astype(int) + np.roll(sharp, 1, 3) + np.roll(sharp, -1, 3)) / 3).astype(np.uint8)
    gap = features.Texture()(sharp).mean(0) - features.Texture()(blurred).mean(0)
    assert gap[-1] > 1
    assert abs(gap[0]) < 0.5


OTHER = {
    "quantiles": (0.5,), "annuli": 5, "seeds": (4,), "widths": (8, 8), "blur": 2.0, "dna": 1, "diameter_px": 9.0,
    "contrast": 4.0,
}  # fmt: skip


@pytest.mark.parametrize("featurizer", PLAIN, ids=lambda f: f.name)
def test_a_fingerprint_says_everything_that_changes_the_numbers(featurizer):
    own = featurizer.fingerprint()
    assert {"channel_mapping", "resize", "value_range", "weights", "trained"} <= set(own)
    assert type(featurizer)().fingerprint() == own
    changed = [name for name in featurizer.__dataclass_fields__ if name != "name"]
    assert changed
    for name in changed:
        assert replace(featurizer, **{name: OTHER[name]}).fingerprint() != own


def test_a_training_in_the_same_process_changes_no_feature():
    exact = UntrainedNetwork()(noise())
    try:
        torch.set_float32_matmul_precision("medium")
        inside: list[str] = []
        features.in_minibatches(
            noise(1), lambda x: inside.append(torch.get_float32_matmul_precision()) or x[:, 0, 0], "x"
        )
        assert inside == ["highest"] and torch.get_float32_matmul_precision() == "medium"
        assert (UntrainedNetwork()(noise()) == exact).all()
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.gpu
@pytest.mark.parametrize("featurizer", PLAIN, ids=lambda f: f.name)
def test_a_gpu_measures_what_a_cpu_measures(featurizer, monkeypatch):
    on_gpu = featurizer(noise(7, 3, 32))
    monkeypatch.setattr(features, "best_device", lambda: "cpu")
    np.testing.assert_allclose(on_gpu, featurizer(noise(7, 3, 32)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("bad", [np.zeros((2, 3, 16, 16), np.float32), np.zeros((2, 13, 16, 16), np.uint8), noise()[0]])
def test_other_images_are_refused(bad):
    for featurizer in PLAIN:
        with pytest.raises(ValueError, match=r"uint8 or uint16|too small"):
            featurizer(bad)


def test_vectors_are_their_own_features_and_sets_give_mean_and_spread():
    single = np.random.default_rng(0).normal(size=(6, 4, 1, 1)).astype(np.float32)
    out = features.Vectors()(single)
    assert out.dtype == np.float64
    np.testing.assert_array_equal(out, single[:, :, 0, 0])
    sets = np.random.default_rng(1).normal(size=(6, 4, 3, 1)).astype(np.float32)
    out = features.Vectors()(sets)
    assert out == pytest.approx(np.concatenate([sets[..., 0].mean(2), sets[..., 0].std(2)], 1), abs=1e-6)
    np.testing.assert_allclose(out, features.Vectors()(sets[:, :, [2, 0, 1]]), atol=1e-12)  # a set has no order
    assert features.Vectors().fingerprint().keys() == features.PixelStatistics(quantiles=()).fingerprint().keys() - {
        "quantiles"
    }


def test_images_and_vectors_are_not_mistaken_for_one_another():
    with pytest.raises(ValueError, match="evaluation=quick"):
        features.Vectors()(noise())
    with pytest.raises(ValueError, match="evaluation=profiles"):
        features.PixelStatistics()(np.zeros((2, 3, 1, 1), np.float32))
