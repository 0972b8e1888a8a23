"""Whole fields → a dataset of cells: what is cut, what is kept of the field, and what is said of bad fields."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile
from hydra.utils import instantiate

from tests.data.prepare.fields.fields_of_cells import HEIGHT, PLACES, WIDTH, painted
from tests.data.prepare.own_screen import N, screen
from tests.test_configs import CONF, composed
from virtassay.data.dataset.store import Dataset, open_dataset
from virtassay.data.prepare.fields.cells import CellCrops
from virtassay.data.prepare.fields.find import LabelMasks, Nuclei, Tiles
from virtassay.data.prepare.fields.illumination import Illumination
from virtassay.data.prepare.fields.quality import Quality
from virtassay.data.prepare.scaling import Percentile
from virtassay.data.prepare.sources import Stack, UnreadableImage
from virtassay.schema import InvalidIndex

NUCLEI = CellCrops(Nuclei(diameter_px=10))


INSIDE = PLACES[:5]


@pytest.fixture
def fields(tmp_path: Path) -> np.ndarray:
    return np.stack([painted(seed) for seed in range(N)])


@pytest.fixture
def cut(prepare: Callable[..., Dataset], tmp_path: Path, fields: np.ndarray) -> Callable[..., Dataset]:
    """Prepare the screen, a field a row, into crops of 24 pixels; `images` (n, c, h, w) replaces its fields."""

    def run(images: np.ndarray = fields, **changes) -> Dataset:
        np.save(tmp_path / "fields.npy", images)
        source = Stack(str(tmp_path / "fields.npy"), channels_first=True)
        return prepare(**({"images": source, "crop": 24, "cells": NUCLEI} | changes))

    return run


def test_each_cell_becomes_an_image_cut_around_its_nucleus(cut: Callable[..., Dataset], fields: np.ndarray):
    dataset = cut()
    assert len(dataset) == N * len(INSIDE)
    assert dataset.index["image_id"].n_unique() == len(dataset)
    assert dataset.index["cells_in_field"].unique().to_list() == [6], "the one at the border is counted, not cut"
    assert dataset.index["site"].unique().to_list() == ["1"]
    found = dataset.index.select("x_px", "y_px").to_numpy().reshape(N, -1, 2)
    assert np.allclose(found, sorted(INSIDE, key=lambda xy: xy[::-1]), atol=0.5)
    for image, row in zip(dataset.images(), dataset.index.iter_rows(named=True), strict=True):
        number = int(row["plate"]) * 12 + 6 * "AB".index(row["well"][0]) + int(row["well"][1:]) - 1
        left, top = round(row["x_px"] - 11.5), round(row["y_px"] - 11.5)
        assert np.array_equal(image, fields[number, :, top : top + 24, left : left + 24])


def test_what_was_cut_is_recorded(cut: Callable[..., Dataset]):
    dataset = cut()
    stored = json.loads((dataset.root / "dataset.json").read_text())["provenance"]
    assert stored["cells"] == {"fields": N, "cells": 6 * N, "at_the_border": N, "fields_without_cells": 0}
    assert stored["crop"] == 24


def test_crops_are_resized_and_scaled_on_control_cells(cut: Callable[..., Dataset]):
    dataset = cut(size=12, scaling=Percentile(), pixel_size_um=0.5)
    assert dataset.info.image_shape == (3, 12, 12)
    assert dataset.info.pixel_size_um == 1.0
    assert dataset.images().max() > 150


def test_tiles_cover_fields_and_count_nothing(cut: Callable[..., Dataset]):
    dataset = cut(cells=CellCrops(Tiles()), crop=30)
    assert len(dataset) == N * (HEIGHT // 30) * (WIDTH // 30)
    assert "cells_in_field" not in dataset.index.columns


def test_illumination_is_corrected_plate_by_plate(cut: Callable[..., Dataset], fields: np.ndarray):
    light = np.ones((2, 1, 1, 1, WIDTH))
    light[1] = np.linspace(0.5, 1, WIDTH)  # the second plate falls to half at the left
    uneven = (fields.reshape(2, -1, *fields.shape[1:]) * light).reshape(fields.shape).astype(np.uint16)
    smooth = Illumination(smoothing=0.5)
    dataset = cut(uneven, dtype="uint16", cells=CellCrops(NUCLEI.find, smooth))
    ground = dataset.images()[:, 1].mean((1, 2))
    x, second = dataset.index["x_px"].to_numpy(), (dataset.index["plate"] == "001").to_numpy()
    slopes = [np.polyfit(x[own], ground[own] / ground[own].mean(), 1)[0] * WIDTH for own in (~second, second)]
    assert np.abs(slopes).max() < 0.12, "0.67 on the second plate without correction"


def test_bad_fields_are_flagged_and_kept(cut: Callable[..., Dataset], fields: np.ndarray):
    fields[3, 1] = fields[3, 1].mean()  # nothing to see in the second channel
    dataset = cut(fields, cells=CellCrops(NUCLEI.find, quality=Quality()))
    flagged = dataset.index.filter(pl.col("flagged").is_not_null())
    assert flagged["well"].unique().to_list() == ["A04"] and flagged["plate"].unique().to_list() == ["000"]
    assert flagged["flagged"].unique().to_list() == ["saturated: actin"]
    assert flagged.height == len(INSIDE)
    assert dataset.index.select("focus", "saturated", "debris").null_count().sum_horizontal()[0] == 0
    assert (dataset.root / "flagged.png").stat().st_size > 1000
    stored = json.loads((dataset.root / "dataset.json").read_text())["provenance"]
    assert stored["cells"]["flagged_fields"] == 1


def test_no_picture_where_nothing_is_flagged(cut: Callable[..., Dataset]):
    assert not (cut(cells=CellCrops(NUCLEI.find, quality=Quality())).root / "flagged.png").exists()


def test_a_field_without_cells_is_counted(cut: Callable[..., Dataset], fields: np.ndarray):
    fields[5] = painted(5, places=[])
    dataset = cut(fields)
    assert len(dataset) == (N - 1) * len(INSIDE)
    stored = json.loads((dataset.root / "dataset.json").read_text())["provenance"]
    assert stored["cells"]["fields_without_cells"] == 1


def test_a_plate_without_cells_is_refused(cut: Callable[..., Dataset], fields: np.ndarray, tmp_path: Path):
    for number in range(12, N):
        fields[number] = painted(number, places=[])
    with pytest.raises(
        InvalidIndex, match=r"no cells were found on 1 plate\(s\), first \['001'\]: correct the nuclear"
    ):
        cut(fields)
    assert not (tmp_path / "out").exists()


def test_no_control_cell_is_refused_before_anything_is_written(cut: Callable[..., Dataset]):
    with pytest.raises(InvalidIndex, match=r"no cells were found in \d+ control fields"):
        cut(np.stack([painted(seed, places=[]) for seed in range(N)]), scaling=Percentile())


def test_crops_need_a_size_that_fits(cut: Callable[..., Dataset]):
    with pytest.raises(ValueError, match="give crop, the edge of a cell's image"):
        cut(crop=None)
    with pytest.raises(ValueError, match=f"crop=100 is larger than the images, {HEIGHT}×{WIDTH}"):
        cut(crop=100)


def test_a_missing_mask_is_an_error_or_is_left_out(cut: Callable[..., Dataset], tmp_path: Path):
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[20:30, 40:50] = 1
    for row in screen().iter_rows(named=True):
        if (row["plate"], row["Well"]) != ("001", "B03"):
            tifffile.imwrite(tmp_path / f"{row['plate']}_{row['Well']}.tif", labels)
    masks = CellCrops(LabelMasks(str(tmp_path), "{plate}_{well}.tif"))
    with pytest.raises(UnreadableImage, match=r"001_B03.tif is missing\. on_error=skip"):
        cut(cells=masks)
    dataset = cut(cells=masks, on_error="skip")
    assert len(dataset) == N - 1
    assert "001_B03.tif is missing" in (dataset.root / "skipped.csv").read_text()


def test_a_plate_that_cannot_be_read_can_be_left_out(cut: Callable[..., Dataset], tmp_path: Path):
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[20:30, 40:50] = 1
    for row in screen().filter(pl.col("plate") == "000").iter_rows(named=True):
        tifffile.imwrite(tmp_path / f"{row['plate']}_{row['Well']}.tif", labels)
    dataset = cut(cells=CellCrops(LabelMasks(str(tmp_path), "{plate}_{well}.tif")), on_error="skip")
    assert dataset.index["plate"].unique().to_list() == ["000"]


WAYS = sorted(path.stem for path in (CONF / "cells").glob("*.yaml") if path.stem != "common")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_find_cells_can_be_chosen(way: str):
    node = composed("prepare", "data=table", f"+cells@data.prepare.cells={way}").data.prepare.cells
    assert isinstance(instantiate(node), CellCrops)


@pytest.mark.parametrize("way", WAYS)
def test_and_chosen_instead_of_a_plates_own(way: str):
    node = composed("prepare", "data=sbs_plate", f"cells@data.prepare.cells={way}").data.prepare.cells
    assert isinstance(instantiate(node), CellCrops)


def test_nuclei_fill_with_the_reporter_as_the_dose_rises(shared_data: Path, tmp_path: Path):
    """The real plate, one row of wells of each compound, through its own yaml."""
    raw = f"paths.data={shared_data / 'sbs_plate'}"
    node = composed("prepare", "data=sbs_plate", raw, f"data.folder={tmp_path / 'sbs'}").data.prepare
    node.split = {
        "_target_": "virtassay.data.prepare.splits.split_by_values",
        "_partial_": True,
        "test": {"row": ["E"]},
    }
    node.keep = {"row": ["A", "E"]}
    instantiate(node)
    dataset = open_dataset(tmp_path / "sbs")
    middle, edge = np.s_[:, 0, 21:27, 21:27], np.s_[:, 0, [10, 37]]
    images = dataset.images().astype(float)
    ratio = images[middle].mean((1, 2)) / (images[edge].mean((1, 2)) + 1)
    wells = dataset.index.with_columns(ratio=ratio).group_by("row", "dose_level").agg(pl.col("ratio").median())
    for row in ("A", "E"):
        curve = (
            wells.filter((pl.col("row") == row) & (pl.col("dose_level") < 10)).sort("dose_level")["ratio"].to_numpy()
        )
        assert curve[-2:].mean() > 3 * curve[:2].mean()
    assert (dataset.index["cells_in_field"] > 50).all()
