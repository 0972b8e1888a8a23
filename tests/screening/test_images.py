"""ImageWriter of the best compounds: every format holds the same pixels, with names of channels."""

import json

import numpy as np
import polars as pl
import pytest
from tifffile import TiffFile

from tests.screening.toy import LAST, recipe
from virtassay.data.dataset.store import open_dataset
from virtassay.screening import engines, images
from virtassay.screening.goals import Context
from virtassay.screening.images import DatasetImages, OmeTiffImages, OmeZarrImages
from virtassay.screening.reference import ReferenceEffects

TOP, CELLS = 2, 4


@pytest.fixture(scope="module")
def made(run, left_alone, tmp_path_factory):
    """The dataset folder of the best, and what the others are made of."""
    hits = pl.read_parquet(left_alone / "hits.parquet")
    reference = ReferenceEffects.load(left_alone / "stages" / "2" / "reference.npz", recipe(run).predictor(LAST))
    folder = tmp_path_factory.mktemp("images") / "images"
    DatasetImages(TOP, CELLS)(folder, hits, reference, Context())
    return open_dataset(folder), hits, reference


def labels(dataset) -> list[str]:
    return dataset.index["image_id"].str.replace(r"-\d+$", "").unique(maintain_order=True).to_list()


def test_a_dataset_folder(made):
    dataset, hits, reference = made
    assert len(dataset) == CELLS * (1 + TOP)
    assert dataset.index["name"].unique(maintain_order=True).to_list() == ["untreated", *hits["name"].head(TOP)]
    assert dataset.index["is_control"].to_list() == [True] * CELLS + [False] * CELLS * TOP
    assert dataset.index["batch"].to_list()[:CELLS] == ["week1"] * 2 + ["week2"] * 2  # of all batches
    seeds = dataset.index["seed"].to_numpy().reshape(1 + TOP, CELLS)
    assert (seeds == seeds[0]).all()  # the same cells
    assert dataset.index["dose_um"].to_list()[CELLS] == [hits["dose_um"][0]]
    alone = reference.predictor.images([reference.query("DMSO", None, None, Context())], np.array([0, 2, 4, 6]))[0]
    assert np.array_equal(dataset.images(np.arange(CELLS)), alone)


def test_ome_tiff(made, tmp_path):
    dataset, hits, reference = made
    OmeTiffImages(TOP, CELLS)(tmp_path / "images", hits, reference, Context())
    files = sorted((tmp_path / "images").iterdir())
    assert [file.name for file in files] == [f"{label}.ome.tif" for label in labels(dataset)]
    for number, path in enumerate(files):
        with TiffFile(path) as file:
            pixels = np.stack([series.asarray() for series in file.series])
            told = file.ome_metadata or ""
        assert np.array_equal(pixels, dataset.images(np.arange(number * CELLS, (number + 1) * CELLS)))
        assert 'Channel ID="Channel:0:0"' in told and 'Name="DNA"' in told and 'Name="actin"' in told
        assert f'Name="week1, seed {dataset.index["seed"][0]}"' in told


@pytest.mark.filterwarnings("ignore:Call to deprecated class Scaler:DeprecationWarning")  # by the package, of itself
def test_ome_zarr(made, tmp_path):
    zarr = pytest.importorskip("zarr", reason="zarr is not installed: pip install virtassay[ome]")
    pytest.importorskip("ome_zarr", reason="ome-zarr is not installed: pip install virtassay[ome]")
    dataset, hits, reference = made
    OmeZarrImages(TOP, CELLS)(tmp_path / "images", hits, reference, Context())
    folders = sorted((tmp_path / "images").iterdir())
    assert [folder.name for folder in folders] == [f"{label}.ome.zarr" for label in labels(dataset)]
    for number, folder in enumerate(folders):
        group = zarr.open_group(folder, mode="r")
        told = group["0"].attrs["ome"]
        path = told["multiscales"][0]["datasets"][0]["path"]
        pixels = np.stack([group[f"{i}/{path}"][:] for i in range(CELLS)])
        assert np.array_equal(pixels, dataset.images(np.arange(number * CELLS, (number + 1) * CELLS)))
        assert [axis["name"] for axis in told["multiscales"][0]["axes"]] == ["c", "y", "x"]
        assert [channel["label"] for channel in told["omero"]["channels"]] == ["DNA", "actin"]
        assert json.loads((folder / "zarr.json").read_text())["attributes"]["ome"]["bioformats2raw.layout"] == 3


def test_the_folder_is_replaced_whole(made, tmp_path):
    _, hits, reference = made
    for top in (2, 1):
        OmeTiffImages(top, 1)(tmp_path / "images", hits, reference, Context())
    assert len(list((tmp_path / "images").iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["images"]


def test_no_image_is_no_request():
    with pytest.raises(ValueError, match=r"images\.top=0, images\.cells=4"):
        DatasetImages(0, 4)


def test_a_missing_extra_is_told_before_the_screen_begins(monkeypatch):
    monkeypatch.setattr(images, "find_spec", lambda name: None)
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'ome-zarr: pip install "virtassay\[ome\]"'):
        OmeZarrImages()
    with pytest.raises(ImportError, match=r'ray: pip install "virtassay\[cluster\]"'):
        engines.Ray()
