"""JUMP: real plate maps and a real site of TIFFs, plates rendered into the gallery's layout, a bucket of our own."""

import logging
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tifffile

from tests.data.prepare.public.official import jump_plate, opened, serving
from virtassay.data.prepare.public import Jump, prepare_public
from virtassay.data.prepare.public.jump import CHANNELS, channel_numbers, plate_map
from virtassay.data.prepare.scaling import Percentile
from virtassay.data.prepare.sources import UnreadableImage
from virtassay.data.prepare.splits import split_by_well
from virtassay.schema import InvalidIndex

BATCH = "2020_11_04_CPJUMP1"
WELLS = ["A01", "A02", "A03", "A04", "A05", "A09"]  # A02 and A09 hold DMSO


def prepare(*, public_set: Jump | None = None, **changes: Any) -> Path | None:
    settings = {"scaling": Percentile(), "split": partial(split_by_well, val=0.0)}
    return prepare_public(public_set or Jump(), **(settings | changes))


INDEX = """<EvaluationInputData xmlns="http://www.perkinelmer.com/PEHH/HarmonyV5"><Maps><Map>
<Entry ChannelID="1"><ChannelName>{}</ChannelName></Entry><Entry ChannelID="2"><ChannelName>Alexa 568</ChannelName>
</Entry><Entry ChannelID="5"><ChannelName>{}</ChannelName></Entry></Map></Maps><Images></Images>
</EvaluationInputData>"""


@pytest.fixture
def screen(shared_data: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    for path in (shared_data / "metadata" / "jump_target").glob("*-1_*.tsv"):
        shutil.copyfile(path, folder / path.name)
    rows = [("BR1", "compound", "U2OS"), ("BR2", "crispr", "A549")]
    table = [
        {
            "Batch": BATCH, "Plate_Map_Name": f"JUMP-Target-1_{kind}_platemap", "Assay_Plate_Barcode": barcode,
            "Perturbation": kind, "Cell_type": cell, "Time": 48,
        }
        for barcode, kind, cell in rows
    ]  # fmt: skip
    pl.DataFrame(table).write_csv(folder / "experiment-metadata.tsv", separator="\t")
    jump_plate(folder, BATCH, "BR1", WELLS)
    jump_plate(folder, BATCH, "BR2", ["A01", "A13", "A14", "A15", "A18", "E01"])
    return folder


def test_real_plate_maps_are_mapped(shared_data: Path):
    folder = shared_data / "metadata" / "jump_target"
    for name, named in (("JUMP-Target-1", "gabapentin-enacarbil"), ("JUMP-Target-2", "1-octanol")):
        wells = plate_map(folder / f"{name}_compound_platemap.tsv")
        first = wells.row(0, named=True)
        assert wells.height == 384 and wells["is_control"].sum() == 64 and first["perturbation"] == named
        assert set(wells.filter("is_control")["control_type"]) == {"negative"}
        treated = wells.filter(~pl.col("is_control"))
        assert set(treated["control_type"]) == {"positive", None} and treated["inchikey"].null_count() == 0
    guides = plate_map(folder / "JUMP-Target-1_crispr_platemap.tsv")
    assert guides["control_type"].value_counts().sort("control_type").rows() == [
        (None, 260), ("non-targeting", 60), ("positive", 60), ("untreated", 4),
    ]  # fmt: skip
    assert guides.filter(pl.col("is_control"))["perturbation"].unique().to_list() == ["non-targeting"]
    assert guides.row(0, named=True)["perturbation"] == "HIF1A_BRDN0001480888" and guides["gene"][0] == "HIF1A"


def test_fields_become_images(screen: Path, tmp_path: Path):
    root = prepare(root=tmp_path / "out", folder=screen, public_set=Jump(dose_um=5.0))
    dataset = opened(root)
    index = dataset.index
    assert len(dataset) == 24 and dataset.info.channels == ("DNA", "ER", "RNA", "AGP", "Mito")
    assert dataset.info.pixel_size_um == 0.598 and dataset.info.licence == "CC0 1.0"
    assert set(index["batch"]) == {f"{BATCH} compound U2OS 48 h", f"{BATCH} crispr A549 48 h"}
    assert "gabapentin-enacarbil 5 µM" in index["treatment"].to_list()
    dmso = index.filter(pl.col("treatment") == "DMSO")
    assert set(dmso["well"]) == {"A02", "A09"} and dmso["is_control"].all()
    assert set(index.filter(pl.col("plate") == f"{BATCH}/BR2")["control_type"]) == {None, "non-targeting", "untreated"}
    row = index.with_row_index().filter((pl.col("well") == "A03") & (pl.col("site") == "2"))
    raw = tifffile.imread(screen / f"{row['stem'][0]}-ch{CHANNELS['Mito']}sk1fk1fl1.tiff")
    assert np.corrcoef(raw.ravel(), dataset.images(row["index"].to_numpy())[0, 4].ravel())[0, 1] > 0.99


def test_a_real_site_is_read(shared_data: Path, screen: Path, tmp_path: Path):
    site = shared_data / "metadata" / "jump_site"
    for path in (screen / "images" / BATCH / "images").glob("BR1__*/Images/*"):
        channel = path.name.split("-ch")[1][0]
        path.unlink()
        if path.name[:9] in ("r01c01f01", "r01c02f01"):
            path.symlink_to(site / f"r01c02f01p01-ch{channel}sk1fk1fl1.tiff")
    keep = {"Assay_Plate_Barcode": ["BR1"]}
    root = prepare(root=tmp_path / "out", folder=screen, keep=keep, crop=1024, size=64)
    info = opened(root).info
    assert info.image_shape == (5, 64, 64) and info.pixel_size_um == pytest.approx(0.598 * 16)
    assert info.provenance is not None and info.provenance["raw"] == "uint16 (5, 1080, 1080)"


def test_the_index_of_a_plate_decides_its_channels(screen: Path, tmp_path: Path, caplog):
    place = next((screen / "images" / BATCH / "images").glob("BR1__*")) / "Images"
    assert channel_numbers(place) == {}
    (place / "Index.idx.xml").write_text(INDEX.format("HOECHST 33342", "Alexa 647"), encoding="utf-8")
    assert channel_numbers(place) == {"DNA": 1, "AGP": 2, "Mito": 5}
    prepare(root=tmp_path / "out", folder=screen)
    assert (
        "BR1: by its Index.idx.xml the channels are {'DNA': 1, 'ER': 4, 'RNA': 3, 'AGP': 2, 'Mito': 5}" in caplog.text
    )
    index = opened(tmp_path / "out").index
    assert dict(index.select("plate", "ch_DNA").unique().rows()) == {f"{BATCH}/BR1": 1, f"{BATCH}/BR2": 5}
    (place / "Index.idx.xml").write_text("<Maps><Entry", encoding="utf-8")
    with pytest.raises(InvalidIndex, match=r"Index.idx.xml cannot be read"):
        channel_numbers(place)


def test_what_is_missing_is_named(screen: Path, tmp_path: Path, caplog):
    place = next((screen / "images" / BATCH / "images").glob("BR1__*")) / "Images"
    (place / "r01c03f02p01-ch4sk1fk1fl1.tiff").unlink()
    with pytest.raises(UnreadableImage, match=r"lacks 1 of the 120 image files.*BR1 \(1 files\).*r01c03f02p01-ch4"):
        prepare(root=tmp_path / "out", folder=screen)
    root = prepare(root=tmp_path / "out", folder=screen, on_error="skip")
    assert len(opened(root)) == 23
    assert "756 wells of the plate maps have no images" in caplog.text
    shutil.rmtree(place.parent)
    with pytest.raises(FileNotFoundError, match=r"no images of 1 of 2 plates, \['BR1'\]: keep="):
        prepare(root=tmp_path / "other", folder=screen)
    (screen / "JUMP-Target-1_crispr_platemap.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no JUMP-Target-1_crispr_platemap.tsv"):
        prepare(root=tmp_path / "other", folder=screen)


def test_a_well_in_no_plate_map_is_left_out_and_named(screen: Path, tmp_path: Path, caplog):
    path = screen / "JUMP-Target-1_compound_platemap.tsv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("A05")))
    root = prepare(root=tmp_path / "out", folder=screen)
    assert root is not None and "A05" not in opened(root).index.filter(pl.col("plate").str.ends_with("BR1"))["well"]
    assert f"1 wells with images are in no plate map, and are left out: [('{BATCH}/BR1', 'A05')]" in caplog.text


def test_plates_are_downloaded_from_the_bucket(screen: Path, tmp_path: Path, caplog):
    site, project = tmp_path / "site", "cpg0000-jump-pilot/source_4"
    shutil.copytree(screen / "images", site / project / "images")
    (site / "JUMP-Target" / "master").mkdir(parents=True)
    authors = site / "2024_Chandrasekaran_NatureMethods" / "main" / "benchmark" / "output"
    authors.mkdir(parents=True)
    for path in screen.glob("JUMP-*.tsv"):
        shutil.copyfile(path, site / "JUMP-Target" / "master" / path.name)
    shutil.copyfile(screen / "experiment-metadata.tsv", authors / "experiment-metadata.tsv")
    mine, keep = tmp_path / "mine", {"Assay_Plate_Barcode": ["BR1"]}
    with serving(site) as server:
        at_server = Jump(address=server.url, tables=server.url)
        ask = partial(prepare, root=tmp_path / "out", folder=mine, keep=keep)
        with caplog.at_level(logging.INFO):
            assert ask(public_set=at_server, dry_run=True) is None and not mine.exists()
        assert "experiment-metadata.tsv" in caplog.text and "each is about 40 GB" in caplog.text
        root = ask(public_set=at_server, download=True)
        assert len(opened(root)) == 12
        assert len(list(mine.rglob("*.tiff"))) == 60  # of five stains: no brightfield, and one plate
        next(mine.rglob("*.tiff")).unlink()
        caplog.clear()
        with caplog.at_level(logging.INFO):
            ask(public_set=at_server, dry_run=True)
        assert "1 files, " in caplog.text
        with pytest.raises(FileNotFoundError, match="has nothing under nowhere/images/"):
            ask(public_set=replace(at_server, project="nowhere"), download=True, overwrite=True)
