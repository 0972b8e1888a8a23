"""Images: found in every way that they lie, and named where they are wrong."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import polars as pl
import pytest
import tifffile
from PIL import Image

from tests.data.prepare.own_screen import (
    CHANNELS,
    COLUMNS,
    SOURCES,
    C,
    H,
    N,
    W,
    channel_tif,
    crop_npy,
    first,
    pixels,
    refused,
    screen,
    stack_npy,
    stack_npz,
)
from virtassay.data.prepare.sources import FilePerChannel, FilePerCrop, Stack, UnreadableImage
from virtassay.schema import InvalidIndex


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_images_are_found_wherever_they_lie(prepare: Callable, tmp_path: Path, source: Callable, dtype: str):
    images = pixels(dtype)
    dataset = prepare(images=source(tmp_path, images), dtype=dtype)
    np.testing.assert_array_equal(dataset.images(), first(images))
    assert dataset.info.channels == CHANNELS and dataset.info.dtype == dtype
    assert not (dataset.root / "skipped.csv").exists()


def test_a_prepared_folder_holds_its_pictures(prepare: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    dataset = prepare()
    for name in ("contact_sheet.png", "plate_layout.png"):
        with Image.open(dataset.root / name) as picture:
            assert min(picture.size) > 100
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 12])
def test_one_to_twelve_channels(prepare: Callable, tmp_path: Path, channels: int, dtype: str):
    images = pixels(dtype, channels)
    prepare = partial(prepare, dtype=dtype)
    names = [f"w{i}" for i in range(channels)]
    dataset = prepare(images=stack_npy(tmp_path, images), channels=names)
    np.testing.assert_array_equal(dataset.images(), first(images))
    if channels == 1:  # grey images need no axis for it
        dataset = prepare(images=stack_npy(tmp_path, images[..., 0]), channels=names, overwrite=True)
        np.testing.assert_array_equal(dataset.images(), first(images))
    with pytest.raises(ValueError, match="13 channels: an image has 1 to 12"):
        prepare(channels=[str(i) for i in range(13)])


def test_jpegs_are_read_though_they_lose_a_little(prepare: Callable, tmp_path: Path):
    smooth = np.random.default_rng(0).integers(0, 256, (N, 1, 1, C)).repeat(H, 1).repeat(W, 2).astype(np.uint8)
    for i, image in enumerate(smooth):
        (tmp_path / f"crop{i}.jpg").write_bytes(imagecodecs.jpeg_encode(image, level=98))
    images = prepare(images=FilePerCrop(str(tmp_path), "{file}.jpg")).images()
    assert np.abs(images.astype(int) - first(smooth)).max() <= 3


def test_channel_files_may_be_named_by_columns(prepare: Callable, tmp_path: Path):
    images = pixels()
    crop_npy(tmp_path, images[..., 0])
    source = FilePerChannel(str(tmp_path), "{channel}.npy", ["{file}", "{file}", "{file}"])
    np.testing.assert_array_equal(prepare(images=source).images()[:, 1], images[..., 0])


def damage_missing(folder: Path) -> str:
    (folder / "crop7.npy").unlink()
    return r"1 of 24 image files cannot be found in .*: crop7.npy is missing \(row-7, plate 000, well B02\)"


def damage_unreadable(folder: Path) -> str:
    (folder / "crop7.npy").write_bytes(b"no image")
    return "crop7.npy cannot be read"


def damage_pickled(folder: Path) -> str:
    np.save(folder / "crop7.npy", np.array([{}]), allow_pickle=True)
    return "crop7.npy cannot be read"


def damage_size(folder: Path) -> str:
    np.save(folder / "crop7.npy", pixels()[0, :, :5])
    return r"crop7.npy is uint8 \(3, 12, 5\), where crop0.npy is uint8 \(3, 12, 12\)"


def damage_dtype(folder: Path) -> str:
    np.save(folder / "crop7.npy", pixels("uint16")[0])
    return r"crop7.npy is uint16 \(3, 12, 12\), where crop0.npy is uint8"


def damage_channels(folder: Path) -> str:
    np.save(folder / "crop7.npy", pixels()[0, :, :, :2])
    return "crop7.npy has 2 channels, and 3 are named: DAPI, actin, tubulin"


DAMAGES = [damage_missing, damage_unreadable, damage_pickled, damage_size, damage_dtype, damage_channels]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_wrong_image_is_named_or_left_out_and_listed(prepare: Callable, tmp_path: Path, damage: Callable):
    source = crop_npy(tmp_path, pixels())
    message = damage(tmp_path)
    with pytest.raises(UnreadableImage, match=f"{message}.*on_error=skip"):
        prepare(images=source)
    assert not (tmp_path / "out").exists()
    dataset = prepare(images=source, on_error="skip")
    assert len(dataset) == N - 1 and "row-7" not in dataset.index["image_id"]
    np.testing.assert_array_equal(dataset.images(), np.delete(first(pixels()), 7, axis=0))
    skipped = pl.read_csv(dataset.root / "skipped.csv")
    assert skipped["image_id"].to_list() == ["row-7"] and "crop7.npy" in skipped["reason"][0]
    assert dataset.info.provenance is not None and dataset.info.provenance["skipped"] == 1


def test_one_odd_image_at_the_front_does_not_oust_all_others(prepare: Callable, tmp_path: Path):
    source = crop_npy(tmp_path, pixels())
    np.save(tmp_path / "crop0.npy", pixels()[0, :, :5])
    with pytest.raises(UnreadableImage, match=r"crop0.npy is uint8 \(3, 12, 5\), where crop1.npy is"):
        prepare(images=source)
    dataset = prepare(images=source, on_error="skip")
    assert len(dataset) == N - 1 and "row-0" not in dataset.index["image_id"]


def test_leaving_out_all_controls_of_a_batch_is_an_error(prepare: Callable, tmp_path: Path):
    source = crop_npy(tmp_path, pixels())
    batch = screen().with_row_index("_n").filter((pl.col("plate") == "001") & (pl.col("compound") == "DMSO"))["_n"]
    for number in batch:
        (tmp_path / f"crop{number}.npy").unlink()
    message = rf"{len(batch)} images were left out, .*crop{batch[0]}.npy is missing.*no control images in batch"
    with pytest.raises(InvalidIndex, match=message):
        prepare(images=source, columns=COLUMNS | {"batch": "plate"}, on_error="skip")
    assert not (tmp_path / "out").exists()


def test_a_broken_file_of_every_kind_is_named(prepare: Callable, tmp_path: Path):
    for suffix in ("tif", "png", "jpg", "npy", "xyz"):
        (tmp_path / f"all.{suffix}").write_bytes(b"no image")
        with pytest.raises(UnreadableImage, match=f"all.{suffix} (cannot be read|is of an unknown kind)"):
            FilePerCrop(str(tmp_path), f"all.{suffix}").read({})
    for number in range(N):
        (tmp_path / f"crop{number}.npy").write_bytes(b"no image")
    with pytest.raises(UnreadableImage, match=r"none of 24 images .* can be read: the image .*crop0.npy"):
        prepare(images=FilePerCrop(str(tmp_path), "{file}.npy"), on_error="skip")


def test_a_stack_that_is_too_short_missing_or_garbled(prepare: Callable, tmp_path: Path):
    with pytest.raises(UnreadableImage, match=r"a.npy\[10\] does not exist: the stack has 10 images"):
        prepare(images=stack_npy(tmp_path, pixels()[:10]))
    with pytest.raises(FileNotFoundError, match="there is no image stack"):
        prepare(images=Stack(str(tmp_path / "nowhere.npy")))
    stack_npz(tmp_path, pixels())
    with pytest.raises(ValueError, match=r"no array 'imgs' in it; it has \['other', 'images'\]"):
        prepare(images=Stack(str(tmp_path / "a.npz"), key="imgs"))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"a.npz cannot be read"):
        prepare(images=Stack(str(tmp_path / "a.npz")))


def test_a_pattern_that_cannot_be_filled_is_explained(prepare: Callable, tmp_path: Path):
    with pytest.raises(ValueError, match=r"names 'wells', which is no column of the table. There are"):
        prepare(images=FilePerCrop(str(tmp_path), "{wells}.npy"))
    with pytest.raises(ValueError, match="cannot be filled"):
        prepare(images=FilePerCrop(str(tmp_path), "{well:02d}.npy"))


def test_a_pattern_without_the_channel_would_read_one_file_for_all(tmp_path: Path):
    with pytest.raises(ValueError, match=r"pattern '\{well\}.tif' lacks \{channel\}"):
        FilePerChannel(str(tmp_path), "{well}.tif", ["1", "2"])
    FilePerChannel(str(tmp_path), "{well}_w{channel:02d}.tif", ["1", "2"])


def test_channels_that_are_not_alike_are_named(prepare: Callable, tmp_path: Path):
    source = channel_tif(tmp_path, pixels())
    tifffile.imwrite(tmp_path / "000" / "A03_s01_w2.tif", pixels()[0, :5, :, 0])
    with pytest.raises(UnreadableImage, match=r"A03_s01_w2.tif is uint8 \(5, 12\), where A03_s01_w1.tif is"):
        prepare(images=source)


def test_interrupted_reading_leaves_what_was_there(prepare: Callable, tmp_path: Path):
    prepare()
    before = (tmp_path / "out" / "dataset.json").read_bytes()

    class Interrupted(Stack):
        def read(self, row: dict[str, Any]) -> np.ndarray:
            if row["_number"] == 20:
                raise KeyboardInterrupt
            return super().read(row)

    with pytest.raises(KeyboardInterrupt):
        prepare(images=Interrupted(str(tmp_path / "stack.npy")), overwrite=True)
    assert (tmp_path / "out" / "dataset.json").read_bytes() == before
    assert not list(tmp_path.glob(".out*"))
    with pytest.raises(FileExistsError, match="exists already"):
        prepare()


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
