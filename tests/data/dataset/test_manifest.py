"""dataset.json: what it says must be so, and nothing that it names lies outside the folder."""

import json
from pathlib import Path

import polars as pl
import pytest

from virtassay.data.dataset import BrokenDataset, open_dataset


def test_a_missing_folder_and_a_half_written_one_are_refused(root: Path):
    with pytest.raises(FileNotFoundError, match="no dataset folder"):
        open_dataset(root / "nowhere")
    (root / "dataset.json").unlink()
    with pytest.raises(BrokenDataset, match="half written"):
        open_dataset(root)


@pytest.mark.parametrize("name", ["index.parquet", "images/00000.bin"])
def test_a_damaged_file_is_named(root: Path, name: str):
    path = root / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BrokenDataset, match=f"{name} is damaged"):
        open_dataset(root)
    path.write_bytes(data[:-1])
    with pytest.raises(BrokenDataset, match=f"{name} has {len(data) - 1} bytes instead of {len(data)}"):
        open_dataset(root, verify=False)
    path.unlink()
    with pytest.raises(BrokenDataset, match=f"{name} is missing"):
        open_dataset(root)


def change(root: Path, **changes: object) -> None:
    path = root / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_shard_outside_the_folder_is_refused(root: Path, tmp_path: Path):
    shard = json.loads((root / "dataset.json").read_text())["shards"][0]
    (tmp_path / "outside.bin").write_bytes((root / shard["file"]).read_bytes())
    change(root, shards=[shard | {"file": "../outside.bin"}])
    with pytest.raises(BrokenDataset, match="outside the folder"):
        open_dataset(root)
    (root / "link.bin").symlink_to(tmp_path / "outside.bin")
    change(root, shards=[shard | {"file": "link.bin"}])
    with pytest.raises(BrokenDataset, match="outside the folder"):
        open_dataset(root)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "zarr"}, {"version": 2}, {"shards": []}, {"shards": 3}, {"index": None}, {"image_shape": [2, 6, 6]},
        {"image_shape": []}, {"dtype": "float32"}, {"channels": ["DNA"]},
    ],
)  # fmt: skip
def test_a_garbled_dataset_json_is_refused(root: Path, changes: dict):
    change(root, **changes)
    with pytest.raises(ValueError, match=r"toy|stored as|channel names"):
        open_dataset(root)
    (root / "dataset.json").write_text("[1, 2")
    with pytest.raises(BrokenDataset, match="cannot be read"):
        open_dataset(root)


def test_an_index_that_points_outside_the_images_is_refused(root: Path):
    index = pl.read_parquet(root / "index.parquet").with_columns(offset=pl.col("offset") + 1)
    index.write_parquet(root / "index.parquet")
    change(root, index={"file": "index.parquet", "bytes": (root / "index.parquet").stat().st_size, "sha256": ""})
    with pytest.raises(BrokenDataset, match="row 9 of the index points outside"):
        open_dataset(root, verify=False)
