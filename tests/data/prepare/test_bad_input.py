"""What users bring that cannot be used: it is named, with the fix, and nothing is lost or written."""

import errno
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import tifffile

from tests.data.prepare.own_screen import N, channel_tif, crop_npy, first, pixels, screen, stack_npz
from virtassay.data.dataset.store import Dataset
from virtassay.data.prepare.sources import FilePerCrop, UnreadableImage
from virtassay.files import require_space
from virtassay.schema import InvalidIndex

FILE = "000/A02_s01_w2.tif"  # the second channel of row 1


def refused(prepare: Callable, error: type[Exception], match: str, **settings: Any) -> None:
    with pytest.raises(error, match=match):
        prepare(**settings)


def left_out(dataset: Dataset) -> list[str]:
    return pl.read_csv(dataset.root / "skipped.csv")["image_id"].to_list()


def listed(dataset: Dataset) -> list[str]:
    path = dataset.root / "unlisted.csv"
    return pl.read_csv(path)["file"].to_list() if path.exists() else []


@pytest.fixture(autouse=True)
def nothing_half_written(tmp_path: Path):
    yield
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
@pytest.mark.parametrize("kept", [0.99, 0.5, 0.1])
def test_a_truncated_tiff(prepare: Callable, tmp_path: Path, compression: str | None, kept: float):
    source = channel_tif(tmp_path, pixels())
    tifffile.imwrite(tmp_path / FILE, pixels()[1, ..., 1], compression=compression, rowsperstrip=3)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: int(kept * len(whole))])
    refused(prepare, UnreadableImage, "A02_s01_w2.tif cannot be read: .*on_error=skip", images=source)
    assert not (tmp_path / "out").exists()
    assert left_out(prepare(images=source, on_error="skip")) == ["row-1"]


def test_mixed_bit_depths(prepare: Callable, tmp_path: Path):
    source = channel_tif(tmp_path, pixels())
    tifffile.imwrite(tmp_path / FILE, pixels("uint16")[1, ..., 1])
    refused(
        prepare, UnreadableImage, r"A02_s01_w2.tif is uint16 \(12, 12\), where A02_s01_w1.tif is uint8", images=source
    )
    for channel in (1, 3):
        tifffile.imwrite(tmp_path / f"000/A02_s01_w{channel}.tif", pixels("uint16")[1, ..., 1])
    refused(prepare, UnreadableImage, r"A02_s01_w\*.tif is uint16 .*, where .*A01_s01_w\*.tif is uint8", images=source)
    assert left_out(prepare(images=source, on_error="skip")) == ["row-1"]


def test_rows_without_images_and_images_without_rows(prepare: Callable, tmp_path: Path):
    source = channel_tif(tmp_path, pixels())
    (tmp_path / FILE).unlink()
    shutil.copy(tmp_path / "000/A01_s01_w1.tif", tmp_path / "001/H12_s01_w1.tif")
    (tmp_path / "notes.txt").write_text("no image")
    match = (
        r"1 of 72 image files .*A02_s01_w2.tif is missing \(row-1, plate 000, well A02\)\. 1 file\(s\) .*001/H12_s01_w1"
    )
    refused(prepare, UnreadableImage, match, images=source)
    dataset = prepare(images=source, on_error="skip")
    assert left_out(dataset) == ["row-1"] and listed(dataset) == ["001/H12_s01_w1.tif"]
    kept = prepare(images=source, keep={"plate": ["001"]}, overwrite=True)
    assert listed(kept) == [], "rows that were not kept name files too"
    for number in range(N):
        (tmp_path / f"{'00' + str(number // 12)}/{screen()['Well'][number]}_s01_w3.tif").unlink()
    refused(
        prepare, UnreadableImage, r"25 of 72 .*w3.tif is missing \(row-3, [^)]*\), …", images=source, overwrite=True
    )


def test_files_that_two_rows_name(prepare: Callable, tmp_path: Path):
    source = crop_npy(tmp_path, pixels())
    table = pl.concat([screen(), screen()[3:5]])
    refused(
        prepare,
        InvalidIndex,
        r"2 file\(s\) .*: row-3 and row-24 \(crop3.npy\), row-4 and row-25",
        table=table,
        images=source,
    )
    elsewhere = FilePerCrop(str(tmp_path), "../{folder}/{file}.npy")
    assert len(prepare(table=screen().with_columns(folder=pl.lit(tmp_path.name)), images=elsewhere)) == N


@pytest.mark.parametrize(
    ("plates", "match"),
    [
        (["P1", "p1"], "'P1' = 'p1'"),
        (["P1", "P01"], "'P01' = 'P1'"),
        (["week2_1", "Week02_001"], "'Week02_001' = 'week2_1'"),
    ],
)
def test_plates_spelt_in_two_ways(prepare: Callable, plates: list[str], match: str):
    table = screen().with_columns(plate=pl.col("plate").replace(["000", "001"], plates))
    refused(
        prepare, InvalidIndex, rf"1 plate name\(s\) are spelt in several ways, by case or zeros: {match}", table=table
    )


@pytest.mark.parametrize("plates", [["P1", "P10"], ["P1", "P2"], ["100", "10"], ["0", "00A"]])
def test_plates_that_only_look_alike_pass(prepare: Callable, plates: list[str]):
    assert len(prepare(table=screen().with_columns(plate=pl.col("plate").replace(["000", "001"], plates)))) == N


def test_wells_spelt_in_two_ways(prepare: Callable):
    table = screen().with_columns(Well=pl.when(pl.col("file") == "crop1").then(pl.lit("a1")).otherwise("Well"))
    refused(prepare, InvalidIndex, r"1 well name\(s\) are spelt .*: 000 'A01' = 'a1'", table=table)


def test_windows_paths(prepare: Callable, tmp_path: Path):
    (tmp_path / "images").mkdir()
    crop_npy(tmp_path / "images", pixels())
    table, source = (
        screen().with_columns(path=pl.format("images\\{}.npy", "file")),
        FilePerCrop(str(tmp_path), "{path}"),
    )
    np.testing.assert_array_equal(prepare(table=table, images=source).images(), first(pixels()))
    for start in (r"D:\\screen\\", "D:/screen/", r"\\\\server\\share\\"):
        start = start.replace(r"\\", "\\")
        table = screen().with_columns(path=pl.lit(start) + pl.format("{}.npy", "file"))
        refused(
            prepare,
            ValueError,
            "crop0.npy is a path on one Windows machine",
            table=table,
            images=source,
            overwrite=True,
        )
    assert (tmp_path / "out" / "dataset.json").exists()


@pytest.mark.parametrize("unit", ["CENTIMETER", "INCH"])
def test_pixel_sizes_mixed_by_tiff_tags(prepare: Callable, tmp_path: Path, unit: str):
    source, per = channel_tif(tmp_path, pixels()), {"CENTIMETER": 10_000, "INCH": 25_400}[unit]
    for path in (tmp_path / "001").glob("*.tif"):
        tifffile.imwrite(path, tifffile.imread(path), resolution=(per / 0.65, per / 0.65), resolutionunit=unit)
    assert len(prepare(images=source)) == N, "plates that say nothing are not held against those that do"
    for path in (tmp_path / "000").glob("*.tif"):
        tifffile.imwrite(path, tifffile.imread(path), resolution=(per / 0.325, per / 0.325), resolutionunit=unit)
    mixed = r"pixel sizes are mixed: .*001/A01_s01_w1.tif has 0.65 µm, where .*000/A01_s01_w1.tif has 0.325 µm"
    refused(prepare, InvalidIndex, mixed, images=source, overwrite=True)
    assert prepare(images=source, pixel_size_um=0.5, overwrite=True).info.pixel_size_um == 0.5


def test_pixel_sizes_in_the_table(prepare: Callable):
    one = screen().with_columns(pixel_size_um=pl.lit(0.325))
    assert prepare(table=one, crop=6).info.pixel_size_um == pytest.approx(0.325)
    mixed = one.with_columns(pixel_size_um=pl.when(pl.col("plate") == "001").then(0.65).otherwise("pixel_size_um"))
    refused(
        prepare, InvalidIndex, r"differs from 0.325 at row 12 \(0.65\), .* 12 rows in all", table=mixed, overwrite=True
    )
    refused(prepare, InvalidIndex, r"differs from 0.65 at row 0", table=one, pixel_size_um=0.65, overwrite=True)


def test_a_plate_without_controls(prepare: Callable, caplog: pytest.LogCaptureFixture):
    alone = (pl.col("plate") == "001") & (pl.col("compound") == "DMSO")
    table = screen().with_columns(compound=pl.when(alone).then(pl.lit("taxol")).otherwise("compound"))
    with caplog.at_level(logging.WARNING):
        assert len(prepare(table=table)) == N
    assert "no control images on 1 plate(s): 001. Their wells are held against their batch's other" in caplog.text
    columns = {"perturbation": "compound", "dose_um": "conc", "well": "Well", "batch": "plate"}
    refused(
        prepare,
        InvalidIndex,
        r"no control images in batch\(es\) \['001'\]",
        table=table,
        columns=columns,
        overwrite=True,
    )


def test_a_disk_that_is_too_small(prepare: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    prepare()
    before = json.loads((tmp_path / "out" / "dataset.json").read_text())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=N * 3 * 12 * 12 - 1))
    with pytest.raises(OSError, match=r"a dataset of 24 images needs [\d.]+ kB .*has [\d.]+ kB free") as caught:
        prepare(overwrite=True)
    assert caught.value.errno == errno.ENOSPC
    assert json.loads((tmp_path / "out" / "dataset.json").read_text()) == before
    source = stack_npz(tmp_path, pixels())
    refused(prepare, OSError, "unpacking .*a.npz needs", images=source, overwrite=True)


def test_room_is_looked_for_where_the_folder_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Path] = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=2e9))
    require_space(tmp_path / "a" / "b", 2_000_000_000, "it")
    assert asked == [tmp_path]
    with pytest.raises(OSError, match=r"it needs 100 GB in .*a/b, and .* has 2 GB free: make room"):
        require_space(tmp_path / "a" / "b", 100_000_000_000, "it")
