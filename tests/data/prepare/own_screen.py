"""A small screen as somebody else would keep it: its table, and its images in every way that images lie."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import polars as pl
import pytest
import tifffile

from virtassay.data.dataset.store import Dataset
from virtassay.data.prepare.sources import FilePerChannel, FilePerCrop, Stack

N, C, H, W = 24, 3, 12, 12


CHANNELS = ("DAPI", "actin", "tubulin")


COLUMNS = {"perturbation": "compound", "dose_um": "conc", "well": "Well", "batch": "week"}


def pixels(dtype: str = "uint8", channels: int = C) -> np.ndarray:
    """Random images (n, h, w, c); treated ones are brighter than controls."""
    top = np.iinfo(dtype).max // 2
    images = np.random.default_rng(0).integers(0, top, (N, H, W, channels))
    return (images + top * (np.arange(N) % 4 != 0)[:, None, None, None]).astype(dtype)


def screen() -> pl.DataFrame:
    """Two plates of twelve wells, an image a well; every fourth well is DMSO, the others taxol at two doses."""
    number = np.arange(N)
    control = number % 4 == 0
    return pl.DataFrame(
        {
            "plate": [f"00{i // 12}" for i in number],
            "Well": [f"{'AB'[i % 12 // 6]}{i % 6 + 1:02d}" for i in number],
            "week": "w1",
            "site": "1",
            "compound": np.where(control, "DMSO", "taxol"),
            "conc": np.where(control, 0.0, np.where(number % 4 == 1, 0.3, 3.0)),
            "smiles": np.where(control, "", "CCO"),
            "file": [f"crop{i}" for i in number],
        }
    )


def first(images: np.ndarray) -> np.ndarray:
    return np.moveaxis(images, -1, 1)


def stack_npy(folder: Path, images: np.ndarray) -> Stack:
    np.save(folder / "a.npy", images)
    return Stack(str(folder / "a.npy"))


def stack_npz(folder: Path, images: np.ndarray) -> Stack:
    np.savez_compressed(folder / "a.npz", other=np.zeros(3), images=np.asfortranarray(images))
    return Stack(str(folder / "a.npz"), key="images")


def stack_channels_first(folder: Path, images: np.ndarray) -> Stack:
    np.save(folder / "a.npy", first(images))
    return Stack(str(folder / "a.npy"), channels_first=True)


def crop_npy(folder: Path, images: np.ndarray) -> FilePerCrop:
    for i, image in enumerate(images):
        np.save(folder / f"crop{i}.npy", image)
    return FilePerCrop(str(folder), "{file}.npy")


def crop_tif(folder: Path, images: np.ndarray) -> FilePerCrop:
    for i, image in enumerate(first(images)):
        tifffile.imwrite(folder / f"crop{i}.tif", image, compression="lzw", photometric="minisblack")
    return FilePerCrop(str(folder), "{file}.tif", channels_first=True)


def crop_png(folder: Path, images: np.ndarray) -> FilePerCrop:
    for i, image in enumerate(images):
        (folder / f"crop{i}.png").write_bytes(imagecodecs.png_encode(image))
    return FilePerCrop(str(folder), "{file}.png")


def channel_tif(folder: Path, images: np.ndarray) -> FilePerChannel:
    for row, image in zip(screen().iter_rows(named=True), images, strict=True):
        (folder / row["plate"]).mkdir(exist_ok=True)
        for c in range(image.shape[2]):
            tifffile.imwrite(folder / row["plate"] / f"{row['Well']}_s01_w{c + 1}.tif", image[..., c])
    return FilePerChannel(str(folder), "{plate}/{well}_s{site:02d}_w{channel}.tif", ["1", "2", "3"])


SOURCES = [stack_npy, stack_npz, stack_channels_first, crop_npy, crop_tif, crop_png, channel_tif]


FILE = "000/A02_s01_w2.tif"  # the second channel of row 1


def refused(prepare: Callable, error: type[Exception], match: str, **settings: Any) -> None:
    with pytest.raises(error, match=match):
        prepare(**settings)


def left_out(dataset: Dataset) -> list[str]:
    return pl.read_csv(dataset.root / "skipped.csv")["image_id"].to_list()


def listed(dataset: Dataset) -> list[str]:
    path = dataset.root / "unlisted.csv"
    return pl.read_csv(path)["file"].to_list() if path.exists() else []
