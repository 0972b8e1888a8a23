"""Filters, and pictures at one contrast."""

import numpy as np
import pytest

from tests.browse.conftest import picture, shown, write_folder
from virtassay.browse.dataset_pages import ON_A_PAGE, DatasetPages
from virtassay.data.dataset.store import DatasetInfo, open_dataset, write_dataset
from virtassay.report.pictures import composite, display_limits


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("perturbation=taxol", 360),
        ("perturbation=taxol&dose=3", 120),
        ("dose=1", 240),
        ("batch=week1&split=test&perturbation=taxol", 120),
        ("batch=nowhere", 0),
        ("", 720),
    ],
)
def test_filters_keep_what_the_index_says(site, query, expected):
    text = site.get(f"/images?{query}").text
    assert f"{expected:,} images, page 1" in text
    assert len(shown(text, "folder")) == min(expected, ON_A_PAGE)


def test_a_picture_is_the_image_at_the_folders_contrast(site, real):
    dataset = open_dataset(real)
    limits = display_limits(DatasetPages.open(real, None).folder.sample, 5, 90)
    expected = composite(dataset.images(np.array([7])), dataset.info.channels, limits)[0]
    assert np.array_equal(picture(site.get("/pixels/folder/7.png?low=5&high=90&full=1")), expected)


def test_one_channel_is_grey_and_real_and_generated_share_their_contrast(site, real, generated):
    for side, root in (("folder", real), ("beside", generated)):
        stored = open_dataset(root).images(np.array([3]))[0, 0].astype(float)
        low, high = display_limits(DatasetPages.open(real, None).folder.sample)[0]
        expected = (np.clip((stored - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
        assert np.array_equal(picture(site.get(f"/pixels/{side}/3.png?channel=DNA&full=1")), expected)


def test_large_images_are_sent_small_unless_asked_for_whole(tmp_path, serve):
    index = open_dataset(write_folder(tmp_path / "small", images=1)).index.drop("shard", "offset", "treatment")
    info = DatasetInfo("large", ("DNA",), (1, 400, 300), "uint8")
    images = np.random.default_rng(0).integers(0, 255, (len(index), 1, 400, 300), np.uint8)
    site = serve(write_dataset(tmp_path / "large", info, images, index))
    assert picture(site.get("/pixels/folder/0.png")).shape == (192, 144, 3)
    assert picture(site.get("/pixels/folder/0.png?full=1")).shape == (400, 300, 3)
