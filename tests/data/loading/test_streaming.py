"""Streaming from elsewhere: the same minibatches as from a local folder, a bounded cache, damage named."""

import contextlib
import json
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
from virtassay.data.dataset.store import open_dataset, write_dataset
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
    assert [number for number, part in enumerate(parts) if part.local is not None] == [0, 3]
    stream.move(np.array([1]), np.array([2]))
    assert [number for number, part in enumerate(parts) if part.local is not None] == [1, 3]


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
