"""The data of a run as a LightningDataModule: whole minibatches gathered from memory maps, one item a step."""

from collections.abc import Callable, Iterator
from pathlib import Path

import lightning
import numpy as np
import polars as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from virtassay.data.images import Normalisation
from virtassay.data.molecules import Morgan
from virtassay.data.pairing import Controls, MinibatchOrder
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
        controls: Controls | None,
        *,
        accumulate: int = 1,
        rank: int = 0,
    ) -> None:
        self.images, self.conditions, self.order, self.controls = images, conditions, order, controls
        self.accumulate, self.rank = accumulate, rank
        self.world = order.parts // accumulate
        self.group = images.index.select("batch", "treatment").to_struct().rank("dense").to_numpy().astype(np.int64)

    def __getitem__(self, micro_step: int) -> Minibatch:
        step, micro = divmod(micro_step, self.accumulate)
        part = micro * self.world + self.rank
        rows = self.order.rows(step, part)
        control = None
        if self.controls is not None:
            random = np.random.default_rng((self.order.seed, step, part))
            control = torch.from_numpy(self.images.images(self.controls.draw(rows, random)))
        return Minibatch(
            target=torch.from_numpy(self.images.images(rows)),
            control=control,
            condition=self.conditions.condition(rows),
            group=torch.from_numpy(self.group[rows]),
            row=torch.from_numpy(rows),
        )


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
    random control of the same batch with each image. standardise: scale each channel by the mean and spread of the
    training images (see Normalisation) instead of keeping [−1, 1].
    """

    def __init__(
        self,
        *,
        folder: str | Path,
        minibatch_size: int,
        images_total: int,
        molecules: Morgan | None,
        dose_in_label: bool = False,
        standardise: bool = True,
        needs_control: bool = False,
        validation_images: int = 1024,
        workers: int = 0,
        seed: int = 0,
        verify: bool = True,
    ) -> None:
        super().__init__()
        self.dataset = open_dataset(folder, verify=verify)
        self.minibatch_size, self.seed, self.workers = minibatch_size, seed, workers
        self.steps = max(1, images_total // minibatch_size)
        self.needs_control, self.molecules = needs_control, molecules
        self.train = self.dataset.split("train")
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

    def _validation(self, molecules: Morgan | None, n: int, source: str) -> tuple[ImageDataset, ConditionTable]:
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
        order = MinibatchOrder(len(self.train), self.minibatch_size, trainer.world_size * accumulate, self.seed)
        controls = Controls.of(self.train.index, str(self.dataset.root)) if self.needs_control else None
        minibatches = Minibatches(
            self.train, self.train_conditions, order, controls, accumulate=accumulate, rank=trainer.global_rank
        )
        sampler = StepSampler(lambda: trainer.global_step * accumulate, self.steps * accumulate)
        return self._loader(minibatches, sampler)

    def val_dataloader(self) -> DataLoader:
        n = len(self.validation)
        size = min(self.minibatch_size, n)
        # whole minibatches only: a last, smaller one would weigh its images more
        order = MinibatchOrder(n, size, 1, self.seed)
        controls = Controls.of(self.validation.index, str(self.dataset.root)) if self.needs_control else None
        minibatches = Minibatches(self.validation, self.validation_conditions, order, controls)
        return self._loader(minibatches, StepSampler(lambda: 0, n // size))

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
