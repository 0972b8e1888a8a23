"""Cells in fields: simulated ones whose centres are known, and what each finder says of bad input."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import polars as pl
import pytest
import tifffile
from scipy.spatial import KDTree
from skimage.measure import regionprops
from skimage.segmentation import find_boundaries

from tests.data.prepare.fields.fields_of_cells import DIAMETER, EDGE, simulated
from virtassay.data.prepare.fields.find import Centres, Field, LabelMasks, Nuclei, OutlineMasks, Tiles, centres
from virtassay.data.prepare.sources import UnreadableImage
from virtassay.schema import InvalidIndex


def field(image: np.ndarray, **changes) -> Field:
    given = {
        "image": image, "name": "f", "row": {"plate": "P1", "well": "A01", "site": "2"}, "channels": ("DNA",),
        "pixel_size_um": None, "crop": 32,
    }  # fmt: skip
    return Field(**(given | changes))


def squares() -> np.ndarray:
    labels = np.zeros((60, 80), np.uint16)
    labels[5:15, 10:20], labels[5:15, 20:30], labels[40:52, 30:50] = 1, 2, 7
    return labels


CENTRES = [[14.5, 9.5], [24.5, 9.5], [39.5, 45.5]]


def test_nuclei_are_found_where_they_were_painted():
    image, truth = simulated()
    found = Nuclei(diameter_px=DIAMETER).find(field(image))
    near, _ = KDTree(truth).query(found)
    back, _ = KDTree(found).query(truth)
    assert (near < 4).mean() > 0.97, "precision"
    assert (back < 4).mean() > 0.97, "recall"
    assert np.median(near) < 1.0


def test_a_diameter_in_micrometres_is_that_in_pixels():
    image, _ = simulated(1)
    in_pixels = Nuclei(diameter_px=DIAMETER).find(field(image))
    assert np.array_equal(Nuclei(diameter_um=DIAMETER / 2).find(field(image, pixel_size_um=0.5)), in_pixels)
    with pytest.raises(ValueError, match="needs pixel_size_um"):
        Nuclei(diameter_um=10).find(field(image))


def test_the_channel_of_the_nuclei_is_chosen_by_its_name():
    image, _ = simulated(1)
    both = np.concatenate([np.zeros_like(image), image])
    alone = Nuclei(diameter_px=DIAMETER).find(field(image))
    assert np.array_equal(Nuclei(diameter_px=DIAMETER).find(field(both, channels=("GFP", "DAPI"))), alone)
    assert np.array_equal(Nuclei(diameter_px=DIAMETER, channel="b").find(field(both, channels=("a", "b"))), alone)
    with pytest.raises(ValueError, match=r"'c' of the nuclei is not one of \['a', 'b'\]"):
        Nuclei(diameter_px=DIAMETER, channel="c").find(field(both, channels=("a", "b")))


@pytest.mark.parametrize("given", [{}, {"diameter_px": 9.0, "diameter_um": 9.0}])
def test_nuclei_need_one_diameter(given: dict[str, Any]):
    with pytest.raises(ValueError, match="give one of them"):
        Nuclei(**given)


def test_a_field_of_noise_holds_no_nuclei():
    noise = np.random.default_rng(0).normal(100, 5, (1, EDGE, EDGE)).astype(np.uint8)
    assert len(Nuclei(diameter_px=DIAMETER).find(field(noise))) == 0


def test_tiles_cover_the_middle_side_by_side():
    found = Tiles().find(field(np.zeros((1, 70, 100)), crop=32))
    assert sorted(set(found[:, 0])) == [17.5, 49.5, 81.5]
    assert sorted(set(found[:, 1])) == [18.5, 50.5]
    assert len(found) == 6


def test_centres_are_scikit_images():
    labels = np.random.default_rng(0).integers(0, 4, (9, 11))
    theirs = [region.centroid[::-1] for region in regionprops(labels)]
    assert np.allclose(centres(labels), theirs)


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_label_masks(tmp_path: Path, suffix: str):
    path = tmp_path / f"P1_A01_s2_cp_masks.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, squares())
    else:
        path.write_bytes(imagecodecs.png_encode(squares()))
    finder = LabelMasks(str(tmp_path), f"{{plate}}_{{well}}_s{{site}}_cp_masks.{suffix}")
    assert np.allclose(finder.find(field(np.zeros((1, 60, 80)))), CENTRES)
    with pytest.raises(UnreadableImage, match=r"is \(60, 80\), where the field f is \(61, 80\)"):
        finder.find(field(np.zeros((1, 61, 80))))
    with pytest.raises(UnreadableImage, match="missing"):
        finder.find(field(np.zeros((1, 60, 80)), row={"plate": "P2", "well": "A01", "site": "1"}))


def test_outlines_enclose_objects(tmp_path: Path):
    labels = squares()
    labels[50:, 70:] = 9  # cut by the edge: open
    tifffile.imwrite(tmp_path / "o.tif", (find_boundaries(labels, mode="inner") * 255).astype(np.uint8))
    assert np.allclose(OutlineMasks(str(tmp_path), "o.tif").find(field(np.zeros((1, 60, 80)))), CENTRES)


def nuclei_csv(path: Path) -> Path:
    pl.DataFrame(
        {
            "ImageNumber": [1, 1, 2, 2],
            "Metadata_Plate": ["007", "007", "007", "P1"],
            "Metadata_Well": ["A01", "A01", "A02", "A01"],
            "Metadata_Site": [2, 2, 2, 2],
            "Location_Center_X": ["1.5", "3.25", "9", "nan"],  # CellProfiler writes nan for what it lost
            "Location_Center_Y": ["2", "4", "8", "1"],
        }
    ).write_csv(path)
    return path


def test_a_table_of_centres(tmp_path: Path):
    finder = Centres(str(nuclei_csv(tmp_path / "Nuclei.csv")))
    blank = np.zeros((1, 20, 20))
    row = {"plate": "007", "well": "A01", "site": "2"}
    assert finder.find(field(blank, row=row)).tolist() == [[1.5, 2.0], [3.25, 4.0]]
    assert finder.find(field(blank, row=row | {"well": "A02"})).tolist() == [[9.0, 8.0]]
    assert len(finder.find(field(blank, row=row | {"well": "B01"}))) == 0
    assert len(finder.find(field(blank))) == 0, "a centre that is not a number is none"
    by_number = Centres(str(tmp_path / "Nuclei.csv"), match={"number": "ImageNumber"})
    assert by_number.find(field(blank, row={"number": 2})).tolist() == [[9.0, 8.0]]


def test_a_table_of_centres_names_what_it_lacks(tmp_path: Path):
    path = str(nuclei_csv(tmp_path / "Nuclei.csv"))
    with pytest.raises(InvalidIndex, match=r"column\(s\) \['X'\] are missing"):
        Centres(path, x="X").find(field(np.zeros((1, 5, 5))))
    with pytest.raises(InvalidIndex, match=r"match names \['site'\], no columns"):
        Centres(path).find(field(np.zeros((1, 5, 5)), row={"plate": "007", "well": "A01"}))
    with pytest.raises(FileNotFoundError, match="no table of centres"):
        Centres(str(tmp_path / "none.csv")).find(field(np.zeros((1, 5, 5))))


def test_nuclei_of_a_real_site(shared_data: Path):
    dna = tifffile.imread(next((shared_data / "metadata" / "jump_site").glob("*ch4*")))
    found = Nuclei(diameter_px=28).find(field(dna[None]))
    assert 280 < len(found) < 380  # 331 when first looked at, nearly all of them right
