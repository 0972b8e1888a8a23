"""Vectors → heat maps: the distance from the controls of the batch, colours, and headings."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from virtassay.data.dataset.store import Dataset, DatasetInfo, open_dataset, write_dataset
from virtassay.report.heatmaps import LEAST_LIMIT, Shift, are_vectors, group_heads, heat_map

FEATURES = ("Cells_area", "Cells_round", "Nuclei_area")


def screen(root: Path, n: int = 400) -> Dataset:
    """Batches that lie apart, controls of known s.d., treated vectors 5 s.d. above them; batch c has no controls."""
    random = np.random.default_rng(0)
    batch = np.array(["a", "b", "c"])[np.arange(3 * n) // n]
    control = (np.arange(3 * n) % 2 == 0) & (batch != "c")
    sd = np.array([100.0, 1.0, 0.01])
    level = np.select([batch == "a", batch == "b"], [0.0, 30.0], 60.0)[:, None]
    vectors = sd * (level + random.normal(size=(3 * n, 3)) + 5 * ~control[:, None])
    index = pl.DataFrame(
        {
            "image_id": [f"i{i}" for i in range(3 * n)], "plate": batch, "well": "A01", "batch": batch,
            "perturbation": np.where(control, "DMSO", "drug"), "is_control": control,
        }
    )  # fmt: skip
    info = DatasetInfo("toy", FEATURES, (3, 1, 1), "float32")
    return open_dataset(write_dataset(root, info, vectors.astype(np.float32)[:, :, None, None], index))


def test_vectors_are_images_of_one_pixels_width():
    assert are_vectors((7, 3, 1)) and are_vectors((100, 7, 1, 1)) and not are_vectors((3, 1, 8))


def test_a_shift_is_the_distance_from_the_controls_of_the_batch_in_their_sd(tmp_path: Path):
    dataset = screen(tmp_path / "toy")
    shift = Shift.of(dataset)
    moved = shift(dataset.images(), dataset.index["batch"])[..., 0, 0]
    control = dataset.index["is_control"].to_numpy()
    for batch in ("a", "b"):
        here = (dataset.index["batch"] == batch).to_numpy()
        assert np.abs(moved[here & control].mean(0)).max() < 1e-3
    lone = (dataset.index["batch"] == "c").to_numpy()
    assert np.abs(moved[lone].mean(0)).max() < 1e-3  # no controls: its own mean stands for them
    spread = [moved[control & (dataset.index["batch"] == batch).to_numpy()].std() for batch in ("a", "b")]
    assert spread[0] == pytest.approx(spread[1], rel=0.1)
    unknown = shift(dataset.images(np.array([0])), pl.Series(["elsewhere"]))
    assert np.isfinite(unknown).all()


def test_the_spread_of_the_controls_is_that_within_a_batch(tmp_path: Path):
    dataset = screen(tmp_path / "toy").where(pl.col("is_control") & (pl.col("batch") == "a"))
    assert Shift.of(dataset).spread == pytest.approx([100.0, 1.0, 0.01], rel=0.1)
    both = screen(tmp_path / "both").where(pl.col("is_control"))  # 30 s.d. apart: half of the s.d. over all is larger
    assert Shift.of(both).spread == pytest.approx([750.0, 7.5, 0.075], rel=0.02)


def test_limits_are_symmetric_and_leave_noise_pale():
    shift = Shift({"": np.zeros(3)}, np.ones(3))
    noise = np.random.default_rng(0).normal(size=(500, 3, 1, 1))
    np.testing.assert_array_equal(shift.limits(noise), [[-LEAST_LIMIT, LEAST_LIMIT]] * 3)
    assert shift.limits(10 * noise)[0] == pytest.approx([-25.8, 25.8], rel=0.1)


def test_a_heat_map_is_blue_below_white_in_the_middle_and_red_above():
    vectors = np.array([[-9.0, 0.0, 9.0]]).T[None, :, :, None]  # one set of one vector of three features
    limits = np.array([[-1.0, 1.0], [-2.0, 2.0], [-1.0, 1.0]])
    picture = heat_map(vectors, limits, width=10, line=4)
    assert picture.shape == (4, 9, 3) and picture.dtype == np.uint8
    blue, white, red = picture[0, 1].astype(int), picture[0, 4], picture[0, 7].astype(int)
    assert blue[2] > blue[0] + 60 and red[0] > red[2] + 60 and white.min() > 240


def test_every_vector_of_a_set_has_its_line_and_many_features_are_averaged():
    sets = np.random.default_rng(0).normal(size=(2, 1000, 3, 1))
    limits = np.tile([-3.0, 3.0], (1000, 1))
    assert heat_map(sets, limits, width=250, line=2).shape == (12, 250, 3)
    np.testing.assert_array_equal(
        heat_map(sets, limits, 250, 2)[6:8], heat_map(sets[1:, :, :1], limits, 250, 2)
    )  # set by set
    assert heat_map(sets[:0], limits, 250, 2).shape[0] == 0


def test_features_are_headed_by_their_first_word_where_there_is_room():
    assert group_heads(FEATURES, 900) == [(0, "Cells"), (600, "Nuclei")]
    assert group_heads([f"gene{i}" for i in range(2000)], 900)[0] == (0, "gene0")
    places = [left for left, _ in group_heads([f"gene{i}" for i in range(2000)], 900)]
    assert min(np.diff(places)) >= 8 * len("gene0") and places[-1] < 900
