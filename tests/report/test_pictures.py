"""Arrays → pictures: colours, contrast and sheets."""

from pathlib import Path

import numpy as np
import pytest

from tests.report.test_plates import saved, table
from virtassay.data.dataset.store import DatasetInfo, open_dataset, write_dataset
from virtassay.report.pictures import (
    composite,
    contact_sheet,
    display_limits,
    stain_colours,
    treatment_sheet,
)


def test_stains_have_the_colours_that_microscopists_expect():
    dapi, actin, tubulin, hoechst, er = stain_colours(["DAPI", "Actin", "beta-tubulin", "Hoechst 33342", "ER"])
    assert dapi.argmax() == 2 and actin.argmax() == 0 and tubulin.argmax() == 1
    np.testing.assert_array_equal(dapi, hoechst)
    assert er.argmax() == 1
    assert len(np.unique(stain_colours([f"w{i}" for i in range(5)]), axis=0)) == 5


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_composite_shows_each_channel_in_its_colour_between_its_limits(dtype: str):
    images = np.zeros((3, 2, 4, 4), dtype)
    images[0, 0], images[1, 1], images[2] = 200, 100, 50
    mixed = composite(images, ["DAPI", "actin"], np.array([[0, 200], [0, 100]]))
    assert mixed.shape == (3, 4, 4, 3) and mixed.dtype == np.uint8
    np.testing.assert_array_equal(mixed[0, 0, 0], (stain_colours(["DAPI"])[0] * 255).round())
    np.testing.assert_array_equal(mixed[1, 0, 0], (stain_colours(["actin"])[0] * 255).round())
    assert mixed[2, 0, 0, 0] == pytest.approx(255 * (0.25 * 0.25 + 0.5 * 1.0), abs=1)  # channels add up


def test_limits_are_of_each_channel_and_never_empty():
    images = np.stack([np.arange(100).reshape(10, 10), np.full((10, 10), 7)])[None].astype(np.uint16)
    limits = display_limits(images, 0, 100)
    np.testing.assert_array_equal(limits, [[0, 99], [7, 8]])


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_contact_sheet_holds_every_row_and_image(tmp_path: Path, channels: int, per_channel: bool):
    images = np.random.default_rng(0).integers(0, 255, (4, channels, 8, 10), dtype=np.uint8)
    names = [f"channel {i}" for i in range(channels)]
    rows = [("one\nlabel", images), ("two", images[:2]), ("none", images[:0])]
    path = tmp_path / "sheet.png"
    contact_sheet(path, rows, names, title="a title", per_channel=per_channel, zoom=3)
    sheet = saved(path)
    tiles = 4 + (2 * channels if per_channel else 0)
    assert sheet.dtype == np.uint8 and sheet.shape[1] > tiles * 10 * 3 and sheet.shape[0] > 2 * 8 * 3
    contact_sheet(path, rows, names, per_channel=per_channel)
    assert saved(path).shape[2] == 3


def test_a_dataset_gets_a_sheet_of_every_treatment(tmp_path: Path):
    index = table([f"A{i:02d}" for i in range(1, 9)])
    images = np.random.default_rng(0).integers(0, 255, (index.height, 2, 16, 16), dtype=np.uint8)
    info = DatasetInfo("toy", ("DNA", "actin"), (2, 16, 16), "uint8")
    dataset = open_dataset(write_dataset(tmp_path / "toy", info, images, index.drop("treatment")))
    treatment_sheet(tmp_path / "all.png", dataset)
    treatment_sheet(tmp_path / "two.png", dataset, most=2)
    assert len(saved(tmp_path / "all.png")) > len(saved(tmp_path / "two.png"))


def test_limits_of_floats_may_be_narrow_but_never_empty():
    images = np.stack([np.linspace(0, 1e-3, 100), np.full(100, 7)])[None, :, :, None].astype(np.float32)
    limits = display_limits(images, 0, 100)
    np.testing.assert_allclose(limits[0], [0, 1e-3])
    assert 0 < limits[1, 1] - limits[1, 0] < 1e-6


def test_vectors_stand_in_a_contact_sheet_as_one_line_each(tmp_path: Path):
    vectors = np.zeros((3, 2, 1, 1), np.float32)
    vectors[:, 0, 0, 0], vectors[:, 1, 0, 0] = [-1, 0, 1], 0
    limits = np.array([[-1.0, 1.0], [-1.0, 1.0]])
    labels = ("one\nlabel", "two", "none")
    rows = list(zip(labels, (vectors, vectors[2:], vectors[:0]), strict=True))
    contact_sheet(tmp_path / "sheet.png", rows, ["Cells_area", "Nuclei_area"], limits, per_channel=True, zoom=72)
    sheet = saved(tmp_path / "sheet.png").astype(int)
    blue, red = ((sheet[..., near] - sheet[..., far] > 60).any(1).sum() for near, far in ((2, 0), (0, 2)))
    assert blue == 6 and red == 2 * 6  # lines of 6 pixels: the lowest vector, and the highest in two rows
    assert 900 < sheet.shape[1] < 1200


def test_a_dataset_of_vectors_gets_a_sheet_too(tmp_path: Path):
    index = table([f"A{i:02d}" for i in range(1, 9)])
    control = index["is_control"].to_numpy()[:, None, None, None]
    noise = np.random.default_rng(0).normal(size=(index.height, 50, 1, 1))
    vectors = (1e5 + 1e3 * np.where(control, noise, noise + 20)).astype(np.float32)
    info = DatasetInfo("toy", tuple(f"f{i}" for i in range(50)), (50, 1, 1), "float32")
    dataset = open_dataset(write_dataset(tmp_path / "toy", info, vectors, index.drop("treatment")))
    treatment_sheet(tmp_path / "all.png", dataset)
    picture = saved(tmp_path / "all.png").astype(int)
    red = (picture[..., 0] - picture[..., 2] > 60).mean(1)  # of each line of pixels
    assert red[: len(red) // 6].max() < 0.2 and red[len(red) // 2 :].max() > 0.7  # controls are pale, treated ones red
