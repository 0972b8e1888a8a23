"""One epoch sees each image once, in any number of workers, devices and micro-steps; so does a resumed run."""

import cProfile
import pstats
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.toy_screen import write_screen
from virtassay.data.dataset.store import Dataset, DatasetInfo, DatasetWriter, open_dataset
from virtassay.data.loading.datamodule import AssayData
from virtassay.data.loading.streaming import Resident, fits
from virtassay.flow.source import Control
from virtassay.schema import Minibatch

CPU = torch.device("cpu")


@dataclass
class Trainer:
    """What the data module reads of Lightning's."""

    world_size: int = 1
    accumulate_grad_batches: int = 1
    global_rank: int = 0
    global_step: int = 0


def in_shards(root: Path, images: int = 12, seed: int = 0) -> Path:
    """Write the toy screen in shards of so many images, its rows in random order, so that batches share shards."""
    screen = open_dataset(write_screen(root.with_name(f"{root.name}-whole"), 6))
    rows = np.random.default_rng(seed).permutation(len(screen))
    pixels, index = screen.images(rows), screen.index[rows].drop("shard", "offset", "treatment")
    with DatasetWriter(root, screen.info, shard_bytes=images * pixels[0].nbytes) as writer:
        writer.append(pixels, index)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return in_shards(tmp_path_factory.mktemp("loading") / "screen")


def serve(folder: Path | str, trainer: Trainer, **options: Any) -> list[Minibatch]:
    settings = {"minibatch_size": 8, "images_total": 8 * 30, "molecules": None, "seed": 3, "source": Control()}
    data = AssayData(folder=folder, **(settings | options))
    data.trainer = trainer  # pyright: ignore[reportAttributeAccessIssue]
    return list(data.train_dataloader())


def same(one: Minibatch, other: Minibatch) -> bool:
    both = [(one.target, other.target), (one.control, other.control), (one.row, other.row), (one.group, other.group)]
    labels = (one.condition.perturbation, other.condition.perturbation)
    return all(a is not None and b is not None and a.dtype == b.dtype and torch.equal(a, b) for a, b in [*both, labels])


def whole(parts: Sequence[Minibatch]) -> torch.Tensor:
    return torch.cat([part.row for part in parts])


@pytest.mark.parametrize("buffer", [0, 2])
@pytest.mark.parametrize(
    ("workers", "accumulate", "world"),
    [(0, 1, 1), (0, 1, 2), (0, 1, 4), (0, 2, 1), (0, 2, 2), (0, 2, 4), (1, 1, 1), (2, 1, 4), (1, 2, 2), (2, 2, 1)],
)
def test_an_epoch_sees_each_image_once(folder: Path, workers: int, accumulate: int, world: int, buffer: int):
    n = len(open_dataset(folder).split("train"))
    alone = [batch.row for batch in serve(folder, Trainer(), buffer_shards=buffer)]
    ranks = [
        serve(folder, Trainer(world, accumulate, rank), workers=workers, buffer_shards=buffer) for rank in range(world)
    ]
    steps = [
        whole([ranks[rank][accumulate * step + micro] for micro in range(accumulate) for rank in range(world)])
        for step in range(30)
    ]
    assert all(torch.equal(step.sort().values, one.sort().values) for step, one in zip(steps, alone, strict=True))
    seen = torch.cat(steps)
    for epoch in range(len(seen) // n):
        assert torch.equal(seen[n * epoch : n * (epoch + 1)].sort().values, torch.arange(n))
    assert len(seen) // n == 3


@pytest.mark.parametrize("options", [{}, {"buffer_shards": 2}, {"balance": 0.7}, {"per_group": 2, "control_set": 2}])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(folder: Path, workers: int, options: dict[str, Any]):
    unbroken = serve(folder, Trainer(), **options)
    resumed = serve(folder, Trainer(global_step=17), workers=workers, **options)
    assert len(resumed) == 13
    assert all(same(one, other) for one, other in zip(resumed, unbroken[17:], strict=True))
    assert not same(resumed[0], unbroken[0]) and not same(serve(folder, Trainer(), seed=4, **options)[0], unbroken[0])


def test_images_are_those_of_their_rows_and_controls_those_of_their_batch(folder: Path):
    train = open_dataset(folder).split("train")
    control = train.index["is_control"].to_numpy()
    batch, pixels = train.index["batch"].to_numpy(), train.images()
    for minibatch in serve(folder, Trainer()):
        rows = minibatch.row.numpy()
        assert np.array_equal(minibatch.target.numpy(), pixels[rows]) and minibatch.control is not None
        for drawn, row in zip(minibatch.control.numpy(), rows, strict=True):
            (source,) = np.flatnonzero((pixels == drawn).all((1, 2, 3)))
            assert control[source] and batch[source] == batch[row] and source != row


def test_the_work_of_python_does_not_grow_with_the_minibatch(tmp_path: Path):
    folder = write_screen(tmp_path / "screen")  # of one shard: each shard is a few calls more

    def calls(size: int) -> int:
        data = AssayData(
            folder=folder, minibatch_size=size, images_total=size * 9, molecules=None, source=Control(), control_set=2
        )
        data.trainer = Trainer()  # pyright: ignore[reportAttributeAccessIssue]
        minibatches = data.train_dataloader().dataset
        minibatches[0]  # the permutation of the epoch is made once
        profile = cProfile.Profile()
        profile.runcall(lambda: minibatches[1])
        return pstats.Stats(profile).total_calls  # pyright: ignore[reportAttributeAccessIssue]

    assert calls(36) - calls(12) < 24, "less than one call an image"


def test_balance_serves_treatments_alike(folder: Path):
    treatment = open_dataset(folder).split("train").index["treatment"].to_numpy()
    drawn = treatment[whole(serve(folder, Trainer(), balance=1.0, images_total=8 * 300)).numpy()]
    names, counts = np.unique(drawn, return_counts=True)
    assert len(names) == 3 and np.ptp(counts) < 0.02 * counts.sum()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_images_on_the_device_are_the_same_to_the_bit(folder: Path, tmp_path: Path, dtype: str):
    screen = open_dataset(folder)
    info = DatasetInfo("toy", screen.info.channels, screen.info.image_shape, dtype)
    images = screen.images().astype(dtype) * (257 if dtype == "uint16" else 1)
    with DatasetWriter(tmp_path / "toy", info) as writer:
        writer.append(images, screen.index.drop("shard", "offset", "treatment"))
    _compare(open_dataset(tmp_path / "toy").split("train"), CPU)


def _compare(train: Dataset, device: torch.device) -> None:
    resident = Resident(train, device)
    rows = np.random.default_rng(0).integers(0, len(train), 50)
    gathered = resident.images(rows)
    assert gathered.device.type == device.type and resident.stored.device.type == device.type
    assert np.array_equal(gathered.cpu().numpy(), train.images(rows))
    assert gathered.dtype == getattr(torch, train.info.dtype)


def test_a_device_that_is_the_computer_keeps_the_memory_map(folder: Path):
    assert not fits(open_dataset(folder), CPU, 1.0)


def test_free_memory_decides_what_is_kept_on_a_device(folder: Path, monkeypatch: pytest.MonkeyPatch):
    train = open_dataset(folder)
    size = train.images().nbytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (4 * size, 8 * size))
    assert fits(train, torch.device("cuda"), 0.25) and not fits(train, torch.device("cuda"), 0.24)


def test_a_resident_data_set_serves_the_same_minibatches(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("virtassay.data.loading.datamodule.fits", lambda *_: True)
    trainer = Trainer()
    trainer.strategy = type("Strategy", (), {"root_device": CPU})()  # pyright: ignore[reportAttributeAccessIssue]
    options = {"control_set": 2, "channel_subsets": True}
    kept = serve(folder, trainer, resident_share=0.5, workers=2, **options)
    assert all(same(one, other) for one, other in zip(kept, serve(folder, Trainer(), **options), strict=True))


@pytest.mark.gpu
def test_a_gpu_keeps_and_gathers_the_images(folder: Path):
    _compare(open_dataset(folder).split("train"), torch.device("cuda"))
    assert fits(open_dataset(folder), torch.device("cuda", 0), 0.5)


@pytest.mark.gpu
def test_minibatches_are_page_locked_for_a_gpu(folder: Path):
    batch = serve(folder, Trainer(), workers=1)[0]
    assert batch.target.is_pinned() and batch.condition.log_dose.is_pinned()
    assert batch.to("cuda", non_blocking=True).target.device.type == "cuda"
