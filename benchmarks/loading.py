"""Minibatches a second, ours beside the ways that are published: python benchmarks/loading.py [images] [folder]

Needs pip install lmdb zarr webdataset. Every way serves minibatches of 256 random images of 96×96×3 uint8 from a warm
page cache, in turns, and the best of several turns counts: on a shared machine only the ratios tell.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import polars as pl
import torch
from torch.utils.data import DataLoader, Dataset

from virtassay.data.dataset.store import DatasetInfo, open_dataset, write_dataset
from virtassay.data.loading.datamodule import AssayData
from virtassay.data.loading.streaming import Resident
from virtassay.flow.source import Control, Noise

try:
    import lmdb
    import webdataset
    import zarr
except ImportError as missing:
    raise SystemExit(f"{missing}: this benchmark needs pip install lmdb zarr webdataset") from missing

SHAPE, SIZE, TURNS, SECONDS = (3, 96, 96), 256, 8, 0.5
SLOW = 2048  # images of the way that takes a file an image and milliseconds to write it
WORKERS = 2
Ways = dict[str, Callable[[], Iterator[object]]]


class Items(Dataset):
    """A data set that is read image by image, as is published."""

    def __init__(self, read: Callable[[int], np.ndarray], n: int) -> None:
        self.read, self.n = read, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, number: int) -> torch.Tensor:
        return torch.from_numpy(self.read(number))


def by_item(read: Callable[[int], np.ndarray], n: int, workers: int) -> Iterator[object]:
    """Serve shuffled images through a DataLoader, for ever."""
    while True:
        yield from DataLoader(Items(read, n), SIZE, shuffle=True, num_workers=workers, drop_last=True)


def ours(folder: Path, workers: int, controls: bool = False) -> Iterator[object]:
    """Serve our minibatches, with their conditions."""
    data = AssayData(
        folder=folder, minibatch_size=SIZE, images_total=SIZE * 1_000_000, molecules=None,
        source=Control() if controls else Noise(),
        workers=workers, standardise=False, verify=False,
    )  # fmt: skip
    data.trainer = SimpleNamespace(accumulate_grad_batches=1, world_size=1, global_rank=0, global_step=0)  # type: ignore[assignment]
    yield from data.train_dataloader()


def bare(images: np.ndarray) -> Iterator[object]:
    """Copy random minibatches within memory."""
    random = np.random.default_rng(0)
    while True:
        rows = random.permutation(len(images))
        for start in range(0, len(images) - SIZE + 1, SIZE):
            yield images.take(rows[start : start + SIZE], axis=0)


def resident(folder: Path) -> Iterator[object]:
    """Gather on the device: here, the processor."""
    kept = Resident(open_dataset(folder, verify=False).split("train"), torch.device("cpu"))
    random = np.random.default_rng(0)
    while True:
        yield kept.images(random.integers(0, len(kept.stored), SIZE))


def tars(pattern: str, workers: int) -> Iterator[object]:
    """Serve images from tar files through webdataset's shuffle buffer."""
    read = webdataset.WebDataset(pattern, shardshuffle=100).repeat().shuffle(1000).decode().to_tuple("npy")
    yield from DataLoader(read.batched(SIZE), batch_size=None, num_workers=workers)


def write(place: Path, images: np.ndarray) -> Ways:
    """Write the images in every way; return how each is read."""
    n = len(images)
    folder = write_dataset(place / "ours", DatasetInfo("bench", ("a", "b", "c"), SHAPE, "uint8"), images, index(n))
    (place / "npy").mkdir()
    for number, image in enumerate(images):
        np.save(place / "npy" / f"{number}.npy", image)
    with lmdb.open(str(place / "lmdb"), map_size=2 * images.nbytes) as base, base.begin(write=True) as writing:
        for number, image in enumerate(images):
            writing.put(str(number).encode(), image.tobytes())
    stored = zarr.create_array(str(place / "zarr"), shape=(SLOW, *SHAPE), chunks=(1, *SHAPE), dtype="uint8")
    stored[:] = images[:SLOW]
    with webdataset.ShardWriter(str(place / "%05d.tar"), maxcount=2000, verbose=0) as tar:
        for number, image in enumerate(images):
            tar.write({"__key__": str(number), "npy": image})
    pattern = str(place / f"{{00000..{(n - 1) // 2000:05d}}}.tar")
    base = lmdb.open(str(place / "lmdb"), readonly=True, lock=False)
    reading = base.begin(buffers=True)

    def from_npy(number: int) -> np.ndarray:
        return np.load(place / "npy" / f"{number}.npy")

    def from_lmdb(number: int) -> np.ndarray:
        return np.frombuffer(reading.get(str(number).encode()), np.uint8).reshape(SHAPE).copy()

    def from_zarr() -> Iterator[object]:
        random = np.random.default_rng(0)
        while True:
            yield stored.oindex[np.sort(random.permutation(SLOW)[:SIZE])]

    return {
        "bare copy in memory": lambda: bare(images),
        "ours": lambda: ours(folder, 0),
        "ours, with a control for each image": lambda: ours(folder, 0, controls=True),
        f"ours, {WORKERS} workers": lambda: ours(folder, WORKERS),
        "ours, resident (on the processor)": lambda: resident(folder),
        f"one npy an image, {WORKERS} workers (as published)": lambda: by_item(from_npy, n, WORKERS),
        "one npy an image": lambda: by_item(from_npy, n, 0),
        f"LMDB, {WORKERS} workers": lambda: by_item(from_lmdb, n, WORKERS),
        "LMDB": lambda: by_item(from_lmdb, n, 0),
        "zarr v3, one chunk an image": from_zarr,
        f"webdataset, {WORKERS} workers": lambda: tars(pattern, WORKERS),
        "webdataset": lambda: tars(pattern, 0),
    }


def index(n: int) -> pl.DataFrame:
    """Annotate n images: 20 treatments, a tenth controls, 4 batches."""
    number = pl.int_range(n, eager=True)
    names = pl.Series(["DMSO" if i % 10 == 0 else f"drug{i % 19}" for i in range(n)])
    return pl.DataFrame({
        "image_id": number.cast(pl.String), "plate": "p", "well": "A01",
        "batch": (number // (n // 4 + 1)).cast(pl.String),
        "perturbation": names, "is_control": names == "DMSO",
        "split": pl.select(pl.when(number % 50 == 1).then(pl.lit("val")).otherwise(pl.lit("train"))).to_series(),
    })  # fmt: skip


def speed(served: Iterator[object]) -> float:
    """Return images a second over about SECONDS; as in training, a minibatch is kept until the next has come."""
    start, n, kept = time.perf_counter(), 0, None
    while n < 3 or time.perf_counter() - start < SECONDS:
        kept = next(served)
        n += 1
    del kept
    return n * SIZE / (time.perf_counter() - start)


def main(images: int = 12_000, folder: str | None = None) -> None:
    """Print one line a way: images a second, and its ratios to the bare copy and to the published way."""
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (images, *SHAPE), np.uint8)
    with TemporaryDirectory(dir=folder) as place:
        ways = write(Path(place), pixels)
        best = dict.fromkeys(ways, 0.0)
        for _ in range(TURNS):
            for name, way in ways.items():
                served = way()
                next(served)  # workers start
                best[name] = max(best[name], speed(served))
                del served
    copied, published = next(iter(best.values())), best[f"one npy an image, {WORKERS} workers (as published)"]
    for name, found in best.items():
        print(f"{name:52s} {found:9,.0f} images/s  {found / copied:5.2f} × bare  {found / published:6.1f} × published")  # noqa: T201


if __name__ == "__main__":
    main(*(int(n) for n in sys.argv[1:2]), *sys.argv[2:3])
