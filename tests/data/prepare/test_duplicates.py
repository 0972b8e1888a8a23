"""Planted duplicates are found across the sides of a split, and nothing else."""

from pathlib import Path

import numpy as np
import polars as pl

from tests.data.prepare.own_screen import N, pixels
from virtassay.data.dataset.store import Dataset, DatasetInfo, open_dataset, write_dataset
from virtassay.data.prepare import leaks


def dataset(folder: Path, images: np.ndarray, split: list[str]) -> Dataset:
    n = len(images)
    table = pl.DataFrame(
        {
            "image_id": [f"i{i}" for i in range(n)], "plate": "P", "well": [f"w{i}" for i in range(n)], "batch": "b",
            "perturbation": "DMSO", "is_control": True, "split": split,
        }
    )  # fmt: skip
    info = DatasetInfo("a", tuple(map(str, range(images.shape[1]))), images.shape[1:], str(images.dtype))
    return open_dataset(write_dataset(folder, info, images, table))


def cells(n: int, size: int = 32, channels: int = 2) -> np.ndarray:
    """Blobs at random places with grain: images that are alike in kind and differ one by one."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    out = np.zeros((n, channels, size, size))
    for image in out.reshape(-1, size, size):
        for cy, cx, width in zip(*random.uniform(6, size - 6, (2, 4)), random.uniform(2, 5, 4), strict=True):
            image += random.uniform(40, 120) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
    return (out + random.normal(20, 4, out.shape)).clip(0, 255).astype(np.uint8)


def test_planted_duplicates_are_found_and_nothing_else(tmp_path: Path):
    images, random = cells(300), np.random.default_rng(1)
    copied, noisy, dimmed = images[:3], images[10:15], images[20:25]
    noisy = (noisy + random.normal(0, 2, noisy.shape)).clip(0, 255).astype(np.uint8)
    planted = np.concatenate([images, copied, noisy, (dimmed * 0.7).astype(np.uint8)])
    split = ["train", "val"] * 100 + ["test"] * (len(planted) - 200)
    same, near = leaks.audit_images(dataset(tmp_path / "a", planted, split))
    assert same.offenders == ("i300 (test) = i0", "i301 (test) = i1", "i302 (test) = i2")
    assert set(near.offenders) == {f"i{303 + i} (test) = i{10 + i}" for i in range(5)} | {
        f"i{308 + i} (test) = i{20 + i}" for i in range(5)
    }


def test_empty_images_and_shared_light_are_no_duplicates(tmp_path: Path):
    y, x = np.mgrid[:32, :32]
    light = 120 * np.exp(-((y - 16) ** 2 + (x - 16) ** 2) / 800)
    fields = np.random.default_rng(0).normal(light, 5, (60, 2, 32, 32)).clip(0, 255).astype(np.uint8)
    fields[:10] = 0
    checks = leaks.audit_images(dataset(tmp_path / "a", fields, ["train", "test"] * 30))
    assert [check.n for check in checks] == [0, 0]


def test_vectors_are_compared_byte_by_byte(tmp_path: Path):
    vectors = np.random.default_rng(0).normal(size=(20, 8, 1, 1)).astype(np.float32)
    vectors[15] = vectors[3]
    same, near = leaks.audit_images(dataset(tmp_path / "a", vectors, ["train"] * 10 + ["test"] * 10))
    assert same.offenders == ("i15 (test) = i3",) and near.passed


def test_without_training_or_test_there_is_nothing_to_share(tmp_path: Path):
    assert all(
        check.passed for check in leaks.audit(dataset(tmp_path / "a", pixels().transpose(0, 3, 1, 2), ["test"] * N))
    )


def test_different_cells_of_a_real_screen_are_told_apart(shared_data: Path, tmp_path: Path):
    with np.load(shared_data / "bbbc021" / "crops.npz") as archive:
        crops = np.moveaxis(archive["images"], -1, 1)
    side = np.random.default_rng(0).choice(["train", "test"], len(crops), p=[0.75, 0.25]).tolist()
    checks = leaks.audit_images(dataset(tmp_path / "a", np.concatenate([crops, crops[:5]]), [*side, *["test"] * 5]))
    trained = [i for i in range(5) if side[i] == "train"]
    assert checks[0].offenders == tuple(f"i{len(crops) + i} (test) = i{i}" for i in trained) and trained
    assert checks[1].passed
