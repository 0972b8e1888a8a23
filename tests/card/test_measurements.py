"""Brightness, focus and saturation of images whose answer is known, and which images are measured."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.ndimage import gaussian_filter

from virtassay.card import measurements
from virtassay.card.measurements import draw_rows, measure, plates
from virtassay.data.dataset.store import Dataset, DatasetInfo, open_dataset, write_dataset
from virtassay.schema import validate


def dataset(root: Path, images: np.ndarray, **columns: object) -> Dataset:
    n = len(images)
    rows = {"image_id": [f"i{i}" for i in range(n)], "plate": ["p"] * n, "well": ["A01"] * n, "batch": ["b"] * n}
    rows |= {"perturbation": ["DMSO"] * n, "is_control": [True] * n, **columns}
    names = tuple(f"c{i}" for i in range(images.shape[1]))
    info = DatasetInfo("toy", names, images.shape[1:], str(images.dtype))
    return open_dataset(write_dataset(root, info, images, validate(pl.DataFrame(rows, strict=False))))


@pytest.mark.parametrize(("dtype", "fifth"), [("uint8", 51), ("uint16", 13107)])
def test_intensity_is_in_per_cent_of_the_range_and_saturated_a_share(tmp_path: Path, dtype: str, fifth: int):
    images = np.full((3, 2, 16, 16), fifth, dtype)
    images[:, 1, :4] = np.iinfo(dtype).max
    found = measure(dataset(tmp_path / "d", images), np.arange(3))
    assert found.intensity is not None and found.saturated is not None
    np.testing.assert_allclose(found.intensity[:, 0], 20)
    np.testing.assert_allclose(found.intensity[:, 1], 0.75 * 20 + 0.25 * 100)
    np.testing.assert_allclose(found.saturated, [[0, 0.25]] * 3)


@pytest.mark.parametrize("size", [24, 150])
def test_a_blurred_image_has_a_steeper_spectrum(tmp_path: Path, size: int):
    sharp = np.random.default_rng(0).uniform(0, 255, (4, 1, size, size))
    blurred = 128 + 3 * (gaussian_filter(sharp, (0, 0, 1.5, 1.5), mode="wrap") - 128)
    both = np.concatenate([sharp, blurred]).clip(0, 255).astype(np.uint8)
    found = measure(dataset(tmp_path / "d", both), np.arange(8))
    assert found.focus is not None
    assert abs(found.focus[:4].mean()) < 0.5  # white noise has the same power everywhere
    assert found.focus[4:].max() < found.focus[:4].min() - 0.5


def test_small_images_have_no_focus_and_vectors_nothing_to_look_at(tmp_path: Path):
    small = measure(dataset(tmp_path / "s", np.arange(2 * 36, dtype=np.uint8).reshape(2, 1, 6, 6)), np.arange(2))
    assert small.focus is not None and np.isnan(small.focus).all()
    vectors = np.random.default_rng(0).normal(size=(5, 3, 1, 1)).astype(np.float32)
    stored = dataset(tmp_path / "v", vectors)
    found = measure(stored, np.arange(1, 4))
    assert found.intensity is None and found.focus is None and found.saturated is None
    np.testing.assert_array_equal(found.features, vectors[1:4, :, 0, 0])
    np.testing.assert_array_equal(found.position(np.array([3, 1])), [2, 0])
    assert plates(stored.index, found, stored.info.channels)[0]["intensity"] is None


def test_the_draw_is_bounded_and_leaves_no_well_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measurements, "IMAGES", 60)
    sizes = [400, 1, 3, 96]  # images of four wells
    wells = np.repeat(["A01", "A02", "A03", "A04"], sizes)
    index = pl.DataFrame({"plate": ["p"] * len(wells), "well": wells})
    rows = draw_rows(index, image_bytes=100)
    assert len(rows) == len(set(rows.tolist())) == 60 and (np.diff(rows) > 0).all()
    kept = {name: int((wells[rows] == name).sum()) for name in np.unique(wells)}
    assert kept["A02"] == 1 and kept["A03"] == 3 and kept["A01"] == kept["A04"] == 28
    np.testing.assert_array_equal(rows, draw_rows(index, image_bytes=100))
    monkeypatch.setattr(measurements, "FEWEST", 20)
    assert len(draw_rows(index, image_bytes=measurements.BYTES)) == 20  # large images: fewer are read


def test_plates_are_measured_on_their_controls_and_keep_what_the_check_of_fields_said(tmp_path: Path):
    images = np.repeat(np.array([0, 51, 102, 204], np.uint8), 64).reshape(4, 1, 8, 8)
    stored = dataset(
        tmp_path / "d", images, plate=["p1", "p1", "p2", "p2"], well=["A01", "A02", "A01", "A02"],
        is_control=[True, False, False, False], focus=[-1.0, -3.0, 0.0, 0.0], saturated=[0.5, 0.0, 0.0, 0.0],
    )  # fmt: skip
    first, second = plates(stored.index, measure(stored, np.arange(4)), ("c0",))
    assert first["intensity"]["c0"] == 0  # the control alone
    assert second["intensity"]["c0"] == pytest.approx(60)  # no controls: the mean of all
    assert first["checked"] == {"focus": -2.0, "saturated": 0.25} and second["checked"]["focus"] == 0
    assert (first["control_wells"], second["control_wells"]) == (1, 0)
