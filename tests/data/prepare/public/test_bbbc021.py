"""BBBC021's fields: the real tables, their images rendered into the official layout, downloads and dry runs."""

import hashlib
import json
import logging
import shutil
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import tifffile

from tests.data.prepare.public.official import broad, opened, serving
from virtassay.data.prepare.public import BBBC021, prepare_public
from virtassay.data.prepare.public.bbbc021 import ADDRESS, IMAGES, PLATES, fields
from virtassay.data.prepare.scaling import Percentile
from virtassay.data.prepare.sources import UnreadableImage
from virtassay.data.prepare.splits import split_by_well
from virtassay.files.download import BLOCK
from virtassay.schema import InvalidIndex

TWO_PLATES, WELLS = ["Week1_22123", "Week4_27801"], ["B02", "B11", "C05", "E02", "G10"]
DOUBLES = ["same_images", "near_images"]  # the few real sites stand at many places here


def prepare(*, address: str = ADDRESS, **changes: Any) -> Path | None:
    settings = {"scaling": Percentile(), "split": partial(split_by_well, val=0.0), "accept": DOUBLES}
    return prepare_public(BBBC021(address), **(settings | changes))


@pytest.fixture
def screen(shared_data: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    broad(folder, shared_data / "bbbc021", TWO_PLATES, WELLS)
    return folder


def test_the_official_tables_are_mapped(shared_data: Path):
    table = fields(shared_data / "bbbc021")
    assert table.height == 13_200 and table["plate"].n_unique() == 55 and table["batch"].n_unique() == 10
    assert sorted(table["plate"].unique()) == sorted(f"Week{w}_{n}" for w, ns in PLATES.items() for n in ns.split())
    assert set(table["site"]) == set("1234") and not table["image_id"].is_duplicated().any()
    kinds = {name: set(part["control_type"]) for (name,), part in table.group_by("compound")}
    assert (kinds["DMSO"], kinds["taxol"], kinds["ALLN"]) == ({"negative"}, {"positive"}, {None})
    annotated = table.filter(pl.col("moa").is_not_null()).unique(["compound", "dose_um"])
    assert annotated.height == 104  # every row of the official table of mechanisms finds its wells
    assert table.filter(pl.col("smiles").is_null())["compound"].n_unique() == 15
    first = table.filter((pl.col("plate") == "Week4_27481") & (pl.col("well") == "G10")).row(0, named=True)
    assert first["dose_um"] == 0.003 and first["compound"] == "5-fluorouracil" and first["batch"] == "Week4"
    assert first["DAPI_file"] == "Week4_27481/G10_s1_w1BEDC2073-A983-4B98-95E9-84466707A25D.tif"


def test_its_fields_become_images(screen: Path, tmp_path: Path):
    root = prepare(root=tmp_path / "out", folder=screen, crop=24, size=12)
    dataset = opened(root)
    index = dataset.index
    assert dataset.info.channels == ("DAPI", "tubulin", "actin") and dataset.info.image_shape == (3, 12, 12)
    assert set(index["plate"]) == set(TWO_PLATES) and index["cell_type"].unique().to_list() == ["MCF7"]
    assert index.filter("is_control")["perturbation"].explode(empty_as_null=False).unique().to_list() == ["DMSO"]
    assert index.filter("is_control")["perturbation_type"].unique().to_list() == ["none"]
    known = index.filter(pl.col("smiles").list.first().is_not_null())
    assert known.height and known["inchikey"].list.first().str.contains(r"^[A-Z]{14}-[A-Z]{10}-[A-Z]$").all()
    told = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert "bbbc.broadinstitute.org" in told["licence"] and "BBBC021v1" in told["citation"]
    row = index.row(7, named=True)
    raw = tifffile.imread(screen / row["Actin_file"])[4:28, 4:28].reshape(12, 2, 12, 2).mean((1, 3))
    assert np.corrcoef(raw.ravel(), dataset.images(np.array([7]))[0, 2].ravel())[0, 1] > 0.9


def test_the_layout_of_the_table_is_read_too(screen: Path, tmp_path: Path):
    for plate in TWO_PLATES:
        (screen / plate.split("_")[0]).mkdir()
        shutil.move(screen / plate, screen / plate.split("_")[0] / plate)
    root = prepare(root=tmp_path / "out", folder=screen)
    assert len(opened(root)) == 40


def test_files_of_plates_that_are_not_kept_are_no_strangers(screen: Path, tmp_path: Path):
    root = prepare(root=tmp_path / "out", folder=screen, keep={"plate": ["Week1_22123"]})
    assert root is not None and not (root / "unlisted.csv").exists()
    assert set(opened(root).index["plate"]) == {"Week1_22123"}


def test_keep_takes_plates_and_compounds(screen: Path, tmp_path: Path):
    shutil.rmtree(screen / "Week4_27801")
    root = prepare(root=tmp_path / "out", folder=screen, keep={"plate": ["Week1_22123"]})
    assert set(opened(root).index["plate"]) == {"Week1_22123"}
    with pytest.raises(InvalidIndex, match=r"keep names \['Week4_99'\], not in column 'plate'"):
        prepare(root=tmp_path / "other", folder=screen, keep={"plate": ["Week4_99"]})
    with pytest.raises(InvalidIndex, match=r"keep names column\(s\) \['plates'\], not in the table, which has"):
        prepare(root=tmp_path / "other", folder=screen, keep={"plates": ["Week1_22123"]})


def test_plates_without_images_are_counted_and_named(screen: Path, tmp_path: Path):
    shutil.rmtree(screen / "Week4_27801")
    next((screen / "Week1_22123").iterdir()).unlink()
    expected = r"lacks 61 of the 120 image files .* 2 of 2 plates: .*Week1_22123 \(1 files\).*download=true.*on_error"
    with pytest.raises(
        UnreadableImage, match=expected.replace("Week1_22123", "Week4_27801").replace("1 files", "60 files")
    ):
        prepare(root=tmp_path / "out", folder=screen)
    assert not (tmp_path / "out").exists()


def test_wrong_folders_and_tables_are_explained(screen: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nowhere has no BBBC021_v1_image.csv, .*paths.data=.*download=true"):
        prepare(root=tmp_path / "out", folder=tmp_path / "nowhere")
    (screen / IMAGES).write_text("TableNumber,ImageNumber\n1,2\n")
    with pytest.raises(InvalidIndex, match=r"'Image_FileName_DAPI', .* are missing: is this BBBC021's table of images"):
        prepare(root=tmp_path / "out", folder=screen)


@pytest.fixture
def publisher(screen: Path, tmp_path: Path):
    """A server with the tables and a zip file a plate."""
    site = tmp_path / "site"
    site.mkdir()
    for table in screen.glob("*.csv"):
        shutil.copy(table, site)
    for plate in TWO_PLATES:
        with zipfile.ZipFile(site / f"BBBC021_v1_images_{plate}.zip", "w") as archive:
            for path in sorted((screen / plate).iterdir()):
                archive.write(path, f"{plate}/{path.name}")
    with serving(site) as server:
        yield server


def test_what_is_missing_is_downloaded_verified_and_unpacked(publisher, screen: Path, tmp_path: Path):
    folder = tmp_path / "mine"
    got = prepare(root=tmp_path / "out", folder=folder, address=publisher.url, download=True)
    had = prepare(root=tmp_path / "had", folder=screen)
    assert np.array_equal(opened(got).images(), opened(had).images())
    sums = dict(line.split()[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert len(sums) == 5
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
    publisher.requests.clear()
    prepare(root=tmp_path / "out", folder=folder, address=publisher.url, download=True, overwrite=True)
    assert publisher.requests == []  # nothing twice
    next((folder / "Week1_22123").iterdir()).unlink()  # unpacked again from the zip file that is here
    prepare(root=tmp_path / "out", folder=folder, address=publisher.url, download=True, overwrite=True)
    assert publisher.requests == []


def test_a_cut_download_goes_on(publisher, tmp_path: Path):
    publisher.cut = BLOCK + 4_000
    only = {"plate": ["Week1_22123"]}
    prepare(root=tmp_path / "out", folder=tmp_path / "mine", address=publisher.url, download=True, keep=only)
    assert f"GET /BBBC021_v1_images_Week1_22123.zip {BLOCK}" in publisher.requests
    assert not any("Week4_27801.zip" in request for request in publisher.requests)  # only the plates of keep


def test_another_file_than_was_recorded_is_refused(publisher, tmp_path: Path):
    folder = tmp_path / "mine"
    folder.mkdir()
    name = "BBBC021_v1_images_Week1_22123.zip"
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  {name}\n")
    with pytest.raises(ValueError, match=rf"{name} is not the file expected.*0000"):
        prepare(root=tmp_path / "out", folder=folder, address=publisher.url, download=True)
    assert not (folder / name).exists() and not (folder / "Week1_22123").exists()


def test_a_dry_run_says_what_is_missing_and_writes_nothing(publisher, tmp_path: Path, caplog):
    folder, only = tmp_path / "mine", {"plate": ["Week1_22123"]}
    with caplog.at_level(logging.INFO):
        assert prepare(root=tmp_path / "out", folder=folder, address=publisher.url, dry_run=True, keep=only) is None
    size = (tmp_path / "site" / "BBBC021_v1_images_Week1_22123.zip").stat().st_size
    assert f"BBBC021_v1_images_Week1_22123.zip ({size / 1e3:.3g} kB) from {publisher.url}" in caplog.text
    assert "4 files, " in caplog.text and "BBBC021_v1_moa.csv (4.4 kB)" in caplog.text
    assert not folder.exists() and not (tmp_path / "out").exists()
    assert all(request.startswith("HEAD") for request in publisher.requests)


def test_a_dry_run_without_the_server_tells_published_sizes(tmp_path: Path, caplog):
    with caplog.at_level(logging.INFO):
        prepare(root=tmp_path / "out", folder=tmp_path, address="http://127.0.0.1:1", dry_run=True)
    assert (
        "Week10_40119.zip (about 839 MB, published)" in caplog.text and "58 files, 46.1 GB to download" in caplog.text
    )
    assert ADDRESS.startswith("https://data.broadinstitute.org/")


def test_a_full_disk_is_told_before_anything_is_written(publisher, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(OSError, match=r"downloading 3 files needs (3\.9\d|4) MB"):
        prepare(root=tmp_path / "out", folder=tmp_path / "mine", address=publisher.url, download=True)
    assert not (tmp_path / "mine").exists()
