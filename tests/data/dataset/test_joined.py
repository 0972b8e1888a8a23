"""Several folders read as one: a minibatch of one folder, in proportion; what they share by name; what is refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.toy_screen import write_screen
from virtassay.data.dataset.joined import JoinedDataset, open_images
from virtassay.data.loading.datamodule import AssayData
from virtassay.data.loading.normalisation import Normalisation, measured
from virtassay.flow.source import Control
from virtassay.schema import Minibatch

THREE, TWO = ("DNA", "actin", "tubulin"), ("ER", "DNA")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    place = tmp_path_factory.mktemp("joined")
    return [
        write_screen(place / "a", 8, channels=THREE),
        write_screen(place / "b", 4, channels=TWO, batches=("week3", "week4", "week5")),
    ]


@pytest.fixture(scope="module")
def joined(folders) -> JoinedDataset:
    return JoinedDataset.of([one for one in map(open_images, folders) if not isinstance(one, JoinedDataset)])


class Trainer:
    world_size, global_rank, global_step = 1, 0, 0

    def __init__(self, accumulate: int = 1) -> None:
        self.accumulate_grad_batches = accumulate


def minibatches(folder: Sequence[Path], accumulate: int = 1, **options) -> list[Minibatch]:
    settings = {"minibatch_size": 8, "images_total": 160, "molecules": None, "seed": 3}
    data = AssayData(folder=folder, **(settings | options))
    data.trainer = Trainer(accumulate)  # pyright: ignore[reportAttributeAccessIssue]
    return list(data.train_dataloader())


def test_what_folders_share_by_name_is_one_and_images_are_those_of_their_folder(folders, joined):
    assert joined.info.channels == ("DNA", "actin", "tubulin", "ER") and joined.info.image_shape == (4, 12, 12)
    assert len(joined) == sum(map(len, joined.folders))
    for number, (channels, one) in enumerate(zip(([0, 1, 2], [3, 0]), joined.folders, strict=True)):
        part = joined.where(pl.col("folder") == number)
        rows = np.array([5, 2, 40])
        assert part.channel_numbers(rows).tolist() == channels
        assert np.array_equal(part.images(rows), one.images(rows))
        assert part.index["image_id"][5] == f"{folders[number]}/{one.index['image_id'][5]}"
    held_out = joined.split("test").by_folder()
    for ours, one in zip(held_out, joined.folders, strict=True):
        theirs = one.split("test")
        assert ours.index.equals(theirs.index) and np.array_equal(ours.images(), theirs.images())
    with pytest.raises(ValueError, match="one folder at a time"):
        joined.images(np.array([0, len(joined) - 1]))


def test_one_folder_is_read_as_it_always_was(folders):
    alone, listed = open_images(folders[0]), open_images([str(folders[0])])
    assert not isinstance(alone, JoinedDataset) and not isinstance(listed, JoinedDataset)
    assert alone.index.equals(listed.index)
    for one, other in zip(minibatches([folders[0]]), minibatches(folders[0]), strict=True):  # pyright: ignore
        assert torch.equal(one.target, other.target) and one.condition.stain is None


def test_a_channel_is_standardised_over_all_images_that_show_it(joined):
    found = measured(joined, seed=0)
    scaled = [one.images().astype(np.float64) * 2 / 255 - 1 for one in joined.folders]
    shows = {"DNA": [(0, 0), (1, 1)], "actin": [(0, 1)], "tubulin": [(0, 2)], "ER": [(1, 0)]}
    for number, name in enumerate(joined.info.channels):
        pixels = np.concatenate([scaled[folder][:, channel].ravel() for folder, channel in shows[name]])
        assert found.mean[number] == pytest.approx(pixels.mean(), abs=1e-12)
        assert found.spread[number] == pytest.approx(pixels.std(), rel=1e-12)
    few = measured(joined, seed=0, most=20)  # of each: its weight is still its whole number of images
    assert few.mean == pytest.approx(found.mean, abs=0.05) and few.mean != found.mean
    alone = joined.folders[0]
    assert measured(alone, seed=0) == Normalisation.of(alone.images())


def test_what_a_minibatch_shows_and_its_controls_are_of_its_folder(folders, joined):
    train = joined.split("train")
    served = minibatches(folders, source=Control(), control_set=2)
    seen: set[int] = set()
    for batch in served:
        (number,) = np.unique(train.folder[batch.row.numpy()])
        seen.add(number)
        stain = batch.condition.stain
        assert stain is not None and stain.tolist() == [[[0, 1, 2], [3, 0]][number]] * 8
        assert np.array_equal(batch.target.numpy(), train.images(batch.row.numpy()))
        assert batch.control is not None and batch.control.shape == batch.target.shape
        assert batch.control_set is not None and batch.control_set.shape == (8, 2, *batch.target.shape[1:])
        pool = train.folders[number].split("train")
        controls = pool.images()[pool.index["is_control"].to_numpy()]
        batches = pool.index.filter("is_control")["batch"].to_numpy()
        for control, row in zip(batch.control.numpy(), batch.row.tolist(), strict=True):
            found = (controls == control).all((1, 2, 3))
            assert set(batches[found]) == {train.index["batch"][row]}
    assert seen == {0, 1}


def test_accumulation_serves_the_same_images(folders):
    whole, parted = minibatches(folders, channel_subsets=True), minibatches(folders, 2, channel_subsets=True)
    assert len(parted) == 2 * len(whole)
    for step, batch in enumerate(whole):
        halves = parted[2 * step : 2 * step + 2]
        assert torch.equal(torch.cat([half.target for half in halves]), batch.target)


def test_validation_sees_each_folder_and_no_image_twice(folders):
    data = AssayData(folder=folders, minibatch_size=8, images_total=80, molecules=None, validation_images=1000)
    rows = [batch.row for batch in data.val_dataloader()]
    held_out = data.validation
    assert isinstance(held_out, JoinedDataset)
    assert set(held_out.folder[torch.cat(rows).numpy()]) == {0, 1}
    assert len(torch.cat(rows).unique()) == len(torch.cat(rows))
    assert [len(part) // 8 for part in data.validation_parts] == np.bincount(
        [held_out.folder[one[0]] for one in rows]
    ).tolist()


def test_perturbations_are_shared_and_batches_are_not(folders):
    data = AssayData(folder=folders, minibatch_size=8, images_total=80, molecules=None)
    assert data.vocabulary.perturbations == ("DMSO", "ethanol", "taxol")
    assert data.vocabulary.batches == ("week1", "week2", "week3", "week4", "week5")
    assert data.vocabulary.channels == ("DNA", "actin", "tubulin", "ER")
    assert data.mixed_folders and data.mixed_channels


def test_subsets_of_the_channels_come_up_by_size_and_keep_their_names(folders):
    options = {"images_total": 8 * 900, "source": Control(), "control_set": 1}
    shown = minibatches(folders[0], channel_subsets=True, **options)  # pyright: ignore[reportArgumentType]
    whole = minibatches(folders[0], **options)  # pyright: ignore[reportArgumentType]
    sizes = np.zeros(4)
    for some, every in zip(shown, whole, strict=True):
        assert some.condition.stain is not None and some.control is not None and every.control is not None
        kept = some.condition.stain[0]
        sizes[len(kept)] += 1
        assert torch.equal(some.target, every.target[:, kept]) and torch.equal(some.control, every.control[:, kept])
        assert torch.equal(some.control_set, every.control_set)  # pyright: ignore[reportArgumentType]
    assert sizes[1:] / sizes.sum() == pytest.approx([1 / 3] * 3, abs=0.06), "each size alike"
    singles = [int(batch.condition.stain[0, 0]) for batch in shown if batch.condition.stain.shape[1] == 1]  # pyright: ignore
    assert np.bincount(singles) / len(singles) == pytest.approx([1 / 3] * 3, abs=0.1), "each channel alike"
    joined = minibatches(folders, channel_subsets=True)
    assert {int(s) for batch in joined for s in batch.condition.stain.ravel()} == {0, 1, 2, 3}  # pyright: ignore


def test_folders_that_do_not_fit_together_are_named(folders, tmp_path):
    large = write_screen(tmp_path / "large", 1, channels=TWO, batches=("week8",), size=16)
    with pytest.raises(ValueError, match=r"a has \(12, 12\) uint8, .*large has \(16, 16\) uint8"):
        open_images([folders[0], large])
    same = write_screen(tmp_path / "same", 1, batches=("week2", "week9"))
    with pytest.raises(ValueError, match=r"a and .*same both have batch\(es\) \['week2'\]"):
        open_images([folders[0], same])
    with pytest.raises(ValueError, match="names no dataset folder"):
        open_images([])
    untrained = open_images(write_screen(tmp_path / "test_only", 1, batches=("week7",)))
    assert not isinstance(untrained, JoinedDataset)
    first = open_images(folders[0])
    assert not isinstance(first, JoinedDataset)
    of_test = JoinedDataset.of([first, untrained.where(pl.col("split") == "test")])
    with pytest.raises(ValueError, match="test_only: no images in split 'train'"):
        of_test.split("train")
