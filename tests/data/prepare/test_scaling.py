"""Scaling, cropping and resizing of an own screen."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from skimage.transform import resize

from tests.data.prepare.own_screen import (
    first,
    pixels,
    stack_npy,
)
from virtassay.data.prepare.scaling import Fixed, Percentile, rescale
from virtassay.data.prepare.splits import split_by_values


def test_percentiles_are_of_the_training_controls_only(prepare: Callable, tmp_path: Path):
    images = pixels("uint16")
    split = partial(split_by_values, test={"plate": ["001"]}, val={"well": ["A05"]})
    seen = first(images)[[0, 8]]  # controls of plate 000 but A05
    low, high = np.percentile(seen, [1, 99], axis=(0, 2, 3))
    dataset = prepare(images=stack_npy(tmp_path, images), scaling=Percentile(1, 99, headroom=1.0), split=split)
    assert dataset.info.scaling is not None
    np.testing.assert_allclose(dataset.info.scaling["low"], low)
    np.testing.assert_allclose(dataset.info.scaling["high"], high)
    expected = (first(images) - low[:, None, None]) / (high - low)[:, None, None]
    np.testing.assert_array_equal(dataset.images(), (expected.clip(0, 1) * 255).round())
    # what is judged does not change what is learned from
    images[12:] = 65535
    again = prepare(
        images=stack_npy(tmp_path, images), scaling=Percentile(1, 99, headroom=1.0), split=split, overwrite=True
    )
    assert again.info.scaling == dataset.info.scaling


def test_headroom_widens_the_range_upwards():
    controls = np.arange(100, 201, dtype=np.uint8).reshape(1, 1, 1, 101)
    np.testing.assert_allclose(Percentile(0, 100, headroom=1.5).limits(controls), [[100, 250]])
    with pytest.raises(ValueError, match="would clip"):
        Percentile(headroom=0.5)
    with pytest.raises(ValueError, match="low < high"):
        Percentile(99, 1)
    with pytest.raises(ValueError, match=r"channel\(s\) \[1\] are constant"):
        Percentile().limits(np.stack([controls[0], np.ones_like(controls[0])], 1))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_fixed_scaling_is_exact_and_clips(dtype: str):
    top = np.iinfo(dtype).max
    limits = Fixed([0, 0.0], [1, 10.0]).limits(np.zeros((1, 2, 1, 1)))
    images = np.array([[[[0.0, 1.0, 2.0]], [[-1.0, 5.0, 10.0]]]])
    np.testing.assert_array_equal(rescale(images, limits, dtype)[0, :, 0], [[0, top, top], [0, round(top / 2), top]])
    for wrong in (Fixed([0, 0], [1, 1]), Fixed(1, 0)):
        with pytest.raises(ValueError, match=r"one value each|low < high"):
            wrong.limits(np.zeros((1, 3, 1, 1)))


def test_floats_need_a_range(prepare: Callable, tmp_path: Path):
    source = stack_npy(tmp_path, (pixels() / 255).astype(np.float32))
    with pytest.raises(ValueError, match="range is unknown: give one"):
        prepare(images=source, scaling=Percentile())
    with pytest.raises(ValueError, match="float32 and shall be stored as uint8: choose a scaling"):
        prepare(images=source)
    np.testing.assert_array_equal(prepare(images=source, scaling=Fixed(0.0, 1.0)).images(), first(pixels()))


def test_crop_and_resize(prepare: Callable, tmp_path: Path):
    images = first(pixels())
    cropped = prepare(crop=8)
    np.testing.assert_array_equal(cropped.images(), images[:, :, 2:10, 2:10])
    both = prepare(crop=8, size=4, pixel_size_um=0.5, overwrite=True)
    expected = resize(images[5, :, 2:10, 2:10], (3, 4, 4), order=1, anti_aliasing=True, preserve_range=True)
    np.testing.assert_array_equal(both.images()[5], np.asarray(expected).round())
    assert both.info.pixel_size_um == 1.0 and both.info.image_shape == (3, 4, 4)
    with pytest.raises(ValueError, match="crop=13 is larger than the images, 12×12"):
        prepare(crop=13, overwrite=True)
    source = stack_npy(tmp_path, pixels()[:, :, :10])
    with pytest.raises(ValueError, match="would squeeze images of 12×10 pixels: give a crop"):
        prepare(images=source, size=8, overwrite=True)
    assert prepare(images=source, overwrite=True).info.image_shape == (3, 12, 10)


def test_sizes_and_channel_names_make_sense(prepare: Callable):
    for wrong in ({"crop": 0}, {"crop": -3}, {"size": 0}):
        with pytest.raises(ValueError, match="give pixels, 1 or more"):
            prepare(**wrong)
    with pytest.raises(ValueError, match="each needs a name of its own"):
        prepare(channels=("DAPI", "actin", "actin"))
