"""Files that rows lack, or rows that files lack, are named before anything is read."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import tifffile

from tests.data.prepare.own_screen import FILE, N, channel_tif, crop_npy, left_out, listed, pixels, refused, screen
from virtassay.data.prepare.sources import FilePerCrop, UnreadableImage
from virtassay.schema import InvalidIndex


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
