"""Masks and nuclei: against scikit-image and scipy, by hand, and what each must not see."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import euler_number, moments_hu, moments_normalized
from skimage.measure import moments_central as central

from virtassay.evaluation.featurizers.cells import CellStatistics
from virtassay.evaluation.featurizers.structure import MinkowskiFunctionals, blurred, minkowski, spread

SEEDS = st.integers(0, 2**16)


def discs(*places, size=64, grey=200, floor=20):
    """One image of one channel with discs (y, x, radius) on a background, softened as by a lens."""
    y, x = np.mgrid[:size, :size]
    image = np.full((size, size), float(floor))
    for row, column, radius in places:
        image[np.hypot(y - row, x - column) < radius] = grey
    return ndimage.gaussian_filter(image, 0.7).round().astype(np.uint8)[None, None]


def masks(seed, n=3, channels=2, size=12):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(n, channels, size, size)), (0, 0, 1, 1))
    return smooth > 0


@pytest.mark.parametrize("sd", [0.6, 1.0, 2.5])
def test_blur_is_scipys(sd):
    x = np.random.default_rng(0).random((2, 2, 9, 14))
    theirs = ndimage.gaussian_filter(x, (0, 0, sd, sd), mode="nearest", radius=max(1, round(3 * sd)))
    np.testing.assert_allclose(blurred(torch.as_tensor(x), sd).numpy(), theirs, atol=1e-12)


def test_area_perimeter_and_euler_number_by_hand():
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    shapes = np.zeros((4, 1, 6, 6), bool)
    shapes[0, 0, 1:3, 1:5] = True  # a bar of 2 × 4
    shapes[1, 0, 1:4, 1:4] = ring
    shapes[2, 0, [0, 1], [0, 1]] = True  # two pixels that touch at a corner, in the corner of the image
    out = 36 * minkowski(torch.as_tensor(shapes).double())[:, 0].numpy()
    assert out == pytest.approx(np.array([[8, 12, 1], [8, 16, 0], [2, 8, 1], [0, 0, 0]]))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_euler_number_is_scikit_images_and_perimeter_counts_the_edges(seed):
    mask = masks(seed)
    area, perimeter, euler = np.moveaxis(144 * minkowski(torch.as_tensor(mask).double()).numpy(), 2, 0)
    assert area == pytest.approx(mask.sum((2, 3)))
    padded = np.pad(mask, ((0, 0), (0, 0), (1, 1), (1, 1)))
    assert perimeter == pytest.approx(np.diff(padded, axis=2).sum((2, 3)) + np.diff(padded, axis=3).sum((2, 3)))
    assert euler == pytest.approx(np.array([[euler_number(m, connectivity=2) for m in image] for image in mask]))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_spread_is_hus_first_two_invariants(seed):
    mask = masks(seed)
    size, anisotropy = np.moveaxis(spread(torch.as_tensor(mask).double()).numpy(), 2, 0)
    hu = np.array([[moments_hu(moments_normalized(central(m.astype(float))))[:2] for m in image] for image in mask])
    whole = hu[..., 0] + 1 / (6 * mask.sum((2, 3)))
    np.testing.assert_allclose(np.exp(size), whole, rtol=1e-9)
    np.testing.assert_allclose(anisotropy, np.sqrt(hu[..., 1].clip(0)) / whole, rtol=1e-6, atol=1e-7)


def test_spread_of_a_disc_a_line_and_nothing():
    mask = np.stack([discs((32, 32, 20))[0, 0] > 100, np.arange(64)[:, None] * np.ones(64) == 30, np.zeros((64, 64))])
    out = spread(torch.as_tensor(mask[:, None]).double())[:, 0].numpy()
    assert out[0] == pytest.approx([-np.log(2 * np.pi), 0], abs=2e-3)
    assert out[1, 1] == pytest.approx(1, abs=1e-3)
    assert out[2] == pytest.approx([0, 0])


def test_structure_sees_no_gain_and_no_offset_and_pixels_moved_it_does():
    rng = np.random.default_rng(0)
    image = np.concatenate([discs((20, 20, 9), (44, 40, 7), grey=90, floor=10), discs((30, 30, 14), grey=80)], 1)
    image = image + rng.integers(0, 3, image.shape).astype(np.uint8)
    structure = MinkowskiFunctionals()
    own = structure(image)
    np.testing.assert_allclose(structure(2 * image + 30), own, atol=1e-9)
    np.testing.assert_allclose(structure(image[..., ::-1]), own, atol=1e-9)
    gains = structure(np.stack([2 * image[:, 0], image[:, 1]], 1))
    np.testing.assert_allclose(gains, own, atol=1e-9)
    flat = image.reshape(1, 2, -1)
    shuffled = rng.permuted(flat, axis=2).reshape(image.shape)
    assert np.abs(structure(shuffled) - own).max() > 1


def test_structure_counts_objects_and_its_width_is_as_documented():
    one, four = discs((32, 32, 12)), discs(*[(y, x, 6) for y in (16, 48) for x in (16, 48)])
    out = 64 * 64 * MinkowskiFunctionals()(np.concatenate([one, four]))[:, 2]
    assert out == pytest.approx([1, 4])
    for channels in (1, 3, 5):
        images = np.random.default_rng(0).integers(0, 255, (2, channels, 32, 32)).astype(np.uint8)
        d = channels * (5 + 10) + 10 * channels * (channels - 1) // 2
        assert MinkowskiFunctionals()(images).shape == (2, d)


def test_what_cannot_be_is_refused():
    image = discs((32, 32, 9))
    with pytest.raises(ValueError, match="channels 0 to 0"):
        CellStatistics(dna=1)(image)
    with pytest.raises(ValueError, match="3 or more"):
        CellStatistics(diameter_px=1)
    with pytest.raises(ValueError, match="more than 0"):
        MinkowskiFunctionals(blur=0)
    with pytest.raises(ValueError, match="too small"):
        MinkowskiFunctionals()(image[..., :5])
