"""Folders elsewhere: read as if they were here, a bounded cache of shards, damage named."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from tests.data.loading.test_datamodule import in_shards
from tests.data.loading.test_streaming import IMAGE, on_disk, shards
from tests.data.web import Web, served
from virtassay.data.dataset import BrokenDataset, open_dataset
from virtassay.data.dataset.remote import ShardCache


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return in_shards(tmp_path_factory.mktemp("remote") / "screen")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIRTASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shards"


@pytest.fixture
def web(folder: Path) -> Iterator[Web]:
    with served(folder) as web:
        yield web


@pytest.fixture
def store(folder: Path) -> Iterator[str]:
    """The folder in an object store."""
    file_system = fsspec.filesystem("memory")
    file_system.put(str(folder), "/bucket/screen", recursive=True)
    yield "memory://bucket/screen"
    file_system.rm("/bucket", recursive=True)


def test_what_is_elsewhere_is_read_as_if_it_were_here(folder: Path, store: str, web: Web, cache: Path):
    local = open_dataset(folder)
    rows = np.array([5, 2, 40, 2])
    for address in (store, web.address, f"file://{folder}"):
        elsewhere = open_dataset(address)
        assert elsewhere.index.equals(local.index) and elsewhere.info == local.info
        assert np.array_equal(elsewhere.images(rows), local.images(rows))
        assert np.array_equal(elsewhere.split("val").images(), local.split("val").images())
    assert not cache.exists(), "a few images are read by their byte ranges"


@pytest.mark.parametrize("what", ["damaged", "short", "missing"])
def test_a_bad_shard_is_named(folder: Path, store: str, cache: Path, what: str):
    file_system, name = fsspec.filesystem("memory"), shards(folder)[2]["file"]
    path = f"/bucket/screen/{name}"
    data = bytearray(file_system.cat_file(path))
    data[7] ^= 1
    if what == "missing":
        file_system.rm(path)
    else:
        file_system.pipe_file(path, bytes(data if what == "damaged" else data[:-IMAGE]))
    says = {"damaged": "is damaged", "short": "bytes instead of", "missing": "is missing"}[what]
    (part,) = [part for part in open_dataset(store).maps if getattr(part, "entry", {}).get("file") == name]
    with pytest.raises(BrokenDataset, match=f"memory://bucket/screen/{name} .*{says}"):
        part.hold()  # pyright: ignore[reportAttributeAccessIssue]
    assert on_disk(cache) == 0, "nothing of it is left"
    if what != "damaged":  # which only the whole shard's checksum tells
        with pytest.raises(BrokenDataset, match=f"{name} (did not send|is missing)"):
            part[np.array([11])]


def test_a_bad_folder_elsewhere_is_named(store: str, folder: Path, web: Web):
    file_system = fsspec.filesystem("memory")
    with pytest.raises(BrokenDataset, match=r"nowhere has no dataset\.json"):
        open_dataset("memory://bucket/nowhere")
    with pytest.raises(BrokenDataset, match=r"nowhere has no dataset\.json"):
        open_dataset(f"{web.address}/nowhere")
    index = file_system.cat_file("/bucket/screen/index.parquet")
    file_system.pipe_file("/bucket/screen/index.parquet", index[:-1] + b"x")
    with pytest.raises(BrokenDataset, match=r"index\.parquet is damaged"):
        open_dataset(store)
    head = json.loads((folder / "dataset.json").read_text())
    head["index"]["file"] = "../other/index.parquet"
    file_system.pipe_file("/bucket/screen/dataset.json", json.dumps(head).encode())
    with pytest.raises(BrokenDataset, match="outside the folder: refused"):
        open_dataset(store)


def test_a_server_without_byte_ranges_is_told(folder: Path):
    with served(folder, ranges=False) as web, pytest.raises(BrokenDataset, match=r"byte ranges"):
        open_dataset(web.address).images(np.array([3]))


def test_what_is_used_least_recently_goes_first_and_what_a_killed_process_left_goes_too(
    store: str, folder: Path, cache: Path
):
    entries = [entry for entry in shards(folder) if entry["bytes"] == 12 * IMAGE][:4]
    shard_cache = ShardCache(store, 3 * 12 * IMAGE)
    for age, entry in enumerate(entries[:3]):
        os.utime(shard_cache.fetch(entry), (age + 1, age + 1))
    shard_cache.fetch(entries[0])  # used again
    shard_cache.fetch(entries[3])
    kept = [shard_cache.place(entry).exists() for entry in entries]
    assert kept == [True, False, True, True]
    left = cache / "left.part"
    left.write_bytes(bytes(12 * IMAGE))
    os.utime(left, (0, 0))
    shard_cache.fetch(entries[1])
    assert not left.exists() and on_disk(cache) <= shard_cache.limit_bytes
    with pytest.raises(ValueError, match=r"loader\.cache_gib is less"):
        ShardCache(store, IMAGE).fetch(entries[2] | {"sha256": "other"})
