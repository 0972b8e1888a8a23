"""Streaming from elsewhere: the same minibatches as from a local folder, a bounded cache, damage named."""

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pytest

from tests.data.loading.test_datamodule import Trainer, in_shards, same, serve
from tests.data.web import Web, served
from virtassay.data.dataset.remote import ShardCache
from virtassay.data.dataset.store import BrokenDataset, open_dataset, write_dataset
from virtassay.data.loading.datamodule import AssayData
from virtassay.data.loading.streaming import ShardStream
from virtassay.flow.source import Control, Noise

IMAGE = 2 * 12 * 12  # bytes
GIB = 1 / 2**30  # a byte, in the unit of cache_gib


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return in_shards(tmp_path_factory.mktemp("streaming") / "screen")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("VIRTASSAY_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "shards"
    _join()


def _join() -> None:
    """Wait for what is being fetched ahead."""
    for thread in threading.enumerate():
        if thread.name == "ahead":
            thread.join()


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


def shards(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "dataset.json").read_text())["shards"]


def kept(folder: Path) -> int:
    """Bytes of the shards that hold controls."""
    screen = open_dataset(folder)
    numbers = set(screen.shard[screen.index["is_control"].to_numpy()])
    return sum(entry["bytes"] for number, entry in enumerate(shards(folder)) if number in numbers)


def on_disk(cache: Path) -> int:
    sizes = {}  # by shard: a part that ends between the two looks is one file, not two
    for suffix in ("part", "bin"):
        for path in cache.glob(f"*.{suffix}"):
            with contextlib.suppress(FileNotFoundError):  # it may go while we look
                sizes[path.stem] = path.stat().st_size
    return sum(sizes.values())


def test_what_is_elsewhere_is_read_as_if_it_were_here(folder: Path, store: str, web: Web, cache: Path):
    here = open_dataset(folder)
    rows = np.array([5, 2, 40, 2])
    for address in (store, web.address, f"file://{folder}"):
        elsewhere = open_dataset(address)
        assert elsewhere.index.equals(here.index) and elsewhere.info == here.info
        assert np.array_equal(elsewhere.images(rows), here.images(rows))
        assert np.array_equal(elsewhere.split("val").images(), here.split("val").images())
    assert not cache.exists(), "a few images are read by their byte ranges"


@pytest.mark.parametrize(("buffer", "control"), [(0, True), (1, True), (2, True), (2, False)])
def test_minibatches_are_those_of_the_local_folder(folder: Path, store: str, buffer: int, control: bool):
    options = {"buffer_shards": buffer, "source": Control() if control else Noise(), "control_set": 2 * control}
    for one, other in zip(serve(store, Trainer(), **options), serve(folder, Trainer(), **options), strict=True):
        assert np.array_equal(one.target, other.target) and np.array_equal(one.row, other.row)
        if control:
            assert same(one, other) and np.array_equal(one.control_set, other.control_set)  # pyright: ignore


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_share_what_is_fetched(folder: Path, web: Web, workers: int):
    got = serve(web.address, Trainer(), workers=workers, buffer_shards=2)
    assert all(same(one, other) for one, other in zip(got, serve(folder, Trainer(), buffer_shards=2), strict=True))
    assert max(web.asked[entry["file"]] for entry in shards(folder)) <= 30, "the rest are images of measuring"


def test_the_cache_never_holds_more_than_it_may(folder: Path, store: str, cache: Path):
    limit = kept(folder) + 3 * 12 * IMAGE
    assert limit < sum(entry["bytes"] for entry in shards(folder))
    data = AssayData(
        folder=store, minibatch_size=8, images_total=8 * 40, molecules=None, seed=3, source=Control(),
        buffer_shards=1, cache_gib=(limit + 0.5) * GIB,
    )  # fmt: skip
    data.trainer = Trainer()  # pyright: ignore[reportAttributeAccessIssue]
    largest, local = 0, serve(folder, Trainer(), buffer_shards=1, images_total=8 * 40)
    for one, other in zip(data.train_dataloader(), local, strict=True):
        assert same(one, other)
        largest = max(largest, on_disk(cache))
        _join()
    assert kept(folder) < largest <= limit


def test_a_cache_that_is_too_small_is_refused_at_once(folder: Path, store: str):
    needed = kept(folder) + 3 * 12 * IMAGE
    with pytest.raises(
        ValueError, match=r"screen: .* with controls and .* do not fit loader.cache_gib=.*buffer_shards=1"
    ):
        serve(store, Trainer(), buffer_shards=1, cache_gib=(needed - 1) * GIB)
    serve(store, Trainer(), buffer_shards=1, source=Noise(), cache_gib=(needed - 1) * GIB)
    with pytest.raises(ValueError, match=r"buffer_shards=0 \(0: all of them\)"):
        serve(store, Trainer(), cache_gib=needed * GIB)


def test_resuming_fetches_only_what_is_still_read(folder: Path, store: str, cache: Path):
    options = {"buffer_shards": 1, "source": Noise(), "images_total": 8 * 9}  # one epoch of 72 images
    resumed = serve(store, Trainer(global_step=7), **options)
    rows = np.concatenate([batch.row for batch in resumed])
    read = set(open_dataset(folder).split("train").shard[rows])
    fetched = {path.stem for path in cache.glob("*.bin")}
    entries = shards(folder)
    assert {entries[number]["sha256"] for number in read} <= fetched
    assert len(fetched) <= len(read) + 2 < len(entries), "and what comes next, and what a step shares with the last"


def test_what_comes_next_is_fetched_ahead(store: str, cache: Path):
    screen = open_dataset(store)
    parts = [part for part in screen.maps if not isinstance(part, np.ndarray)]
    stream = ShardStream(parts, kept=[3])
    stream.move(np.array([0]), np.array([1]))
    _join()
    assert {path.stem for path in cache.glob("*.bin")} == {parts[number].entry["sha256"] for number in (0, 1, 3)}
    assert [number for number, part in enumerate(parts) if part.held is not None] == [0, 3]
    stream.move(np.array([1]), np.array([2]))
    assert [number for number, part in enumerate(parts) if part.held is not None] == [1, 3]


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
    held = ShardCache(store, 3 * 12 * IMAGE)
    for age, entry in enumerate(entries[:3]):
        os.utime(held.fetch(entry), (age + 1, age + 1))
    held.fetch(entries[0])  # used again
    held.fetch(entries[3])
    there = [held.place(entry).exists() for entry in entries]
    assert there == [True, False, True, True]
    left = cache / "left.part"
    left.write_bytes(bytes(12 * IMAGE))
    os.utime(left, (0, 0))
    held.fetch(entries[1])
    assert not left.exists() and on_disk(cache) <= held.limit_bytes
    with pytest.raises(ValueError, match=r"loader\.cache_gib is less"):
        ShardCache(store, IMAGE).fetch(entries[2] | {"sha256": "other"})


def test_validation_is_read_once(folder: Path, store: str):
    options: dict[str, Any] = {"minibatch_size": 8, "images_total": 80, "molecules": None, "source": Control()}
    here, elsewhere = (AssayData(folder=one, **options) for one in (folder, store))
    assert all(isinstance(part, np.ndarray) for part in elsewhere.validation_parts[0].maps)
    pairs = zip(elsewhere.val_dataloader(), here.val_dataloader(), strict=True)
    assert all(same(one, other) for one, other in pairs)
    assert elsewhere.vocabulary == here.vocabulary


def test_folders_are_streamed_one_at_a_time(folder: Path, store: str):
    with pytest.raises(ValueError, match="both have batch"):
        serve([folder, store], Trainer())  # pyright: ignore[reportArgumentType]
    screen = open_dataset(folder)
    index = screen.index.drop("shard", "offset", "treatment").with_columns(batch=pl.format("other-{}", "batch"))
    other = write_dataset(folder.with_name("other"), screen.info, screen.images(), index)
    with pytest.raises(ValueError, match=r"one folder is streamed at a time.*elsewhere: \['memory:/bucket/screen'\]"):
        serve([store, other], Trainer())  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"elsewhere: \[\], loader.buffer_shards=2"):
        serve([folder, other], Trainer(), buffer_shards=2)  # pyright: ignore[reportArgumentType]
