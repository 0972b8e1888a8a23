"""The data of a run as a LightningDataModule: whole minibatches gathered from memory maps, one item a step."""

from collections.abc import Callable, Iterator
from pathlib import Path

import lightning
import numpy as np
import polars as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from virtassay.data.images import Normalisation
from virtassay.data.molecules import Descriptor
from virtassay.data.pairing import Controls, MinibatchOrder, require_groups
from virtassay.data.store import Dataset as ImageDataset
from virtassay.data.store import open_dataset
from virtassay.data.vocabulary import ConditionTable, UnknownToModel, Vocabulary
from virtassay.schema import InvalidIndex, Minibatch


class Minibatches(Dataset):
    """Item i is the whole minibatch of micro-step i, a function of (seed, i): workers and resuming change nothing."""

    def __init__(
        self,
        images: ImageDataset,
        conditions: ConditionTable,
        order: MinibatchOrder,
        group: np.ndarray,
        controls: Controls | None,
        *,
        needs_control: bool,
        control_set: int,
        accumulate: int = 1,
        rank: int = 0,
    ) -> None:
        self.images, self.conditions, self.order, self.group = images, conditions, order, group
        self.controls, self.needs_control, self.control_set = controls, needs_control, control_set
        self.accumulate, self.rank = accumulate, rank
        self.world = order.parts // accumulate

    def __getitem__(self, micro_step: int) -> Minibatch:
        step, micro = divmod(micro_step, self.accumulate)
        part = micro * self.world + self.rank
        rows = self.order.rows(step, part)
        random = np.random.default_rng((self.order.seed, step, part))
        return Minibatch(
            target=torch.from_numpy(self.images.images(rows)),
            control=self._draw(rows, random) if self.needs_control else None,
            control_set=self._draw(np.tile(rows[:, None], self.control_set), random) if self.control_set else None,
            condition=self.conditions.condition(rows),
            group=torch.from_numpy(self.group[rows]),
            row=torch.from_numpy(rows),
        )

    def _draw(self, rows: np.ndarray, random: np.random.Generator) -> torch.Tensor:
        """Read a control of the same batch for each of `rows`, which may be (n,) or (n, m)."""
        assert self.controls is not None  # AssayData looks them up where they are needed
        drawn = self.controls.draw(rows, random)
        return torch.from_numpy(self.images.images(drawn.ravel())).unflatten(0, rows.shape)


class StepSampler(Sampler[int]):
    """Number the micro-steps from where training stands (`start()`) to `total`; its length is that of the whole run."""

    def __init__(self, start: Callable[[], int], total: int) -> None:
        self.start, self.total = start, total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start(), self.total))

    def __len__(self) -> int:
        return self.total


class AssayData(lightning.LightningDataModule):
    """Open a dataset folder, encode its conditions and serve minibatches of its training and validation images.

    minibatch_size: images in the global minibatch, whatever the number of devices. images_total: length of the run in
    images seen. validation_images: how many held-out images the validation loss is measured on. needs_control: serve a
    random control of the same batch with each image. control_set: serve so many more of them, for an encoder of control
    sets. per_group: how many images of one batch and treatment stand together in a minibatch, for a coupling to permute.
    standardise: scale each channel by the mean and spread of the training images (see Normalisation) instead of keeping
    [−1, 1].
    """

    def __init__(
        self,
        *,
        folder: str | Path,
        minibatch_size: int,
        images_total: int,
        molecules: Descriptor | None,
        dose_in_label: bool = False,
        standardise: bool = True,
        needs_control: bool = False,
        control_set: int = 0,
        per_group: int = 1,
        validation_images: int = 1024,
        workers: int = 0,
        seed: int = 0,
        verify: bool = True,
    ) -> None:
        super().__init__()
        self.dataset = open_dataset(folder, verify=verify)
        self.minibatch_size, self.seed, self.workers = minibatch_size, seed, workers
        self.steps = max(1, images_total // minibatch_size)
        self.needs_control, self.control_set, self.molecules = needs_control, control_set, molecules
        self.train = self.dataset.split("train")
        self.per_group = per_group
        require_groups(_groups(self.train), per_group, str(self.dataset.root / "index.parquet"))
        some = np.random.default_rng(seed).permutation(len(self.train))[:4096]
        self.vocabulary = Vocabulary.from_index(
            self.train.index,
            info=self.dataset.info,
            normalisation=Normalisation.of(self.train.images(np.sort(some)))
            if standardise
            else Normalisation.identity(len(self.dataset.info.channels)),
            dose_in_label=dose_in_label,
        )
        source = str(self.dataset.root / "index.parquet")
        self.train_conditions = self.vocabulary.encode(self.train.index, molecules, source)
        self.validation, self.validation_conditions = self._validation(molecules, validation_images, source)

    def _validation(self, molecules: Descriptor | None, n: int, source: str) -> tuple[ImageDataset, ConditionTable]:
        held_out = self.dataset.split("val")
        chosen = np.random.default_rng(self.seed).permutation(len(held_out))[:n]
        mask = np.zeros(len(held_out), bool)
        mask[chosen] = True
        part = held_out.where(pl.Series(mask))
        try:
            return part, self.vocabulary.encode(part.index, molecules, source)
        except UnknownToModel as error:
            raise InvalidIndex(f"the validation split needs what training lacks: {error}") from error

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError("AssayData serves minibatches to a Trainer: pass it as trainer.fit(datamodule=…).")
        accumulate = trainer.accumulate_grad_batches
        minibatches = self._minibatches(
            self.train,
            self.train_conditions,
            self.minibatch_size,
            parts=trainer.world_size * accumulate,
            accumulate=accumulate,
            rank=trainer.global_rank,
        )
        sampler = StepSampler(lambda: trainer.global_step * accumulate, self.steps * accumulate)
        return self._loader(minibatches, sampler)

    def val_dataloader(self) -> DataLoader:
        n = len(self.validation)
        size = min(self.minibatch_size, n)
        # whole minibatches only: a last, smaller one would weigh its images more
        minibatches = self._minibatches(self.validation, self.validation_conditions, size)
        return self._loader(minibatches, StepSampler(lambda: 0, n // size))

    def _minibatches(
        self,
        images: ImageDataset,
        conditions: ConditionTable,
        size: int,
        *,
        parts: int = 1,
        accumulate: int = 1,
        rank: int = 0,
    ) -> Minibatches:
        group = _groups(images)
        paired = self.needs_control or self.control_set > 0
        return Minibatches(
            images,
            conditions,
            MinibatchOrder(len(images), size, parts, self.seed, group, self.per_group),
            group,
            Controls.of(images.index, str(self.dataset.root)) if paired else None,
            needs_control=self.needs_control,
            control_set=self.control_set,
            accumulate=accumulate,
            rank=rank,
        )

    def _loader(self, minibatches: Minibatches, sampler: StepSampler) -> DataLoader:
        return DataLoader(
            minibatches,
            batch_size=None,
            sampler=sampler,
            num_workers=self.workers,
            persistent_workers=False,
            pin_memory=torch.cuda.is_available(),
        )

    def image_ids(self, rows: torch.Tensor) -> list[str]:
        """Return the image_id of rows of the training index, to name images in errors."""
        return self.train.index["image_id"].gather(rows.cpu().numpy()).to_list()


def _groups(images: ImageDataset) -> np.ndarray:
    """Number the groups (batch, treatment) of a data set, (n,)."""
    return images.index.select("batch", "treatment").to_struct().rank("dense").to_numpy().astype(np.int64)
