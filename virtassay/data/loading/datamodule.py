"""The data of a run as a LightningDataModule: whole minibatches gathered from memory maps, one item a step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning
import numpy as np
import polars as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from virtassay.data.dataset.joined import JoinedDataset, open_images
from virtassay.data.dataset.store import Dataset as ImageDataset
from virtassay.data.loading.controls import Controls
from virtassay.data.loading.normalisation import Normalisation, measured
from virtassay.data.loading.order import JoinedOrder, MinibatchOrder, images_per_group
from virtassay.data.loading.streaming import Resident, ShardStream, fits, in_memory, remote_shards
from virtassay.data.loading.vocabulary import ConditionTable, UnknownToModel, Vocabulary
from virtassay.data.molecules.descriptors import Descriptor
from virtassay.flow.coupling import Coupling, independent
from virtassay.flow.source import Noise, Source
from virtassay.schema import InvalidIndex, Minibatch

NOISE = Noise()
CHANNELS = 1 << 32  # sets the random numbers that choose channels apart from those of any part of a step


@dataclass(eq=False)
class Minibatches(Dataset):
    """Item i is the whole minibatch of micro-step i, a function of (seed, i): workers and resuming change nothing."""

    images: ImageDataset | JoinedDataset | Resident
    conditions: ConditionTable
    order: MinibatchOrder | JoinedOrder
    group: np.ndarray
    controls: Controls | None
    needs_control: bool
    control_set: int
    channel_subsets: bool = False
    accumulate: int = 1
    rank: int = 0
    stream: ShardStream | None = None  # of images elsewhere, which it brings before a step reads them

    def __getitem__(self, micro_step: int) -> Minibatch:
        step, micro = divmod(micro_step, self.accumulate)
        part = micro * (self.order.parts // self.accumulate) + self.rank
        if self.stream is not None and isinstance(self.order, MinibatchOrder):
            self.stream.move(*self.order.shards(step))
        rows = self.order.rows(step, part)
        random = np.random.default_rng((self.order.seed, step, part))
        minibatch = Minibatch(
            target=self._read(rows),
            control=self._draw(rows, random) if self.needs_control else None,
            control_set=self._draw(np.tile(rows[:, None], self.control_set), random) if self.control_set else None,
            condition=self.conditions.condition(rows),
            group=torch.from_numpy(self.group[rows]),
            row=torch.from_numpy(rows),
        )
        if isinstance(self.images, JoinedDataset):
            minibatch = _showing(minibatch, self.images.channel_numbers(rows))
        if self.channel_subsets:
            minibatch = _some_channels(minibatch, self.order.seed, step)
        return minibatch

    def _draw(self, rows: np.ndarray, random: np.random.Generator) -> torch.Tensor:
        """Read a control of the same batch for each of `rows`, which may be (n,) or (n, m)."""
        assert self.controls is not None  # AssayData looks them up where they are needed
        drawn = self.controls.draw(rows, random)
        return self._read(drawn.ravel()).unflatten(0, rows.shape)

    def _read(self, rows: np.ndarray) -> torch.Tensor:
        """Gather images, (n, c, h, w): on the device where they are kept there."""
        return torch.as_tensor(self.images.images(rows))


def _showing(minibatch: Minibatch, stain: np.ndarray) -> Minibatch:
    """Say which of the vocabulary's channels, (c,), the images show."""
    shown = torch.from_numpy(stain).repeat(len(minibatch.row), 1)
    return replace(minibatch, condition=replace(minibatch.condition, stain=shown))


def _some_channels(minibatch: Minibatch, seed: int, step: int) -> Minibatch:
    """Keep m ~ U{1 … c} of the c channels, any m of them alike, the same ones in all parts of a step.

    Source: hierarchical channel sampling, Bao et al. 2023 (arXiv 2309.16108), section 3.3. The set of controls that
    tells the batch keeps all of its channels.
    """
    channels = minibatch.target.shape[1]
    random = np.random.default_rng((seed, step, CHANNELS))
    kept = np.sort(random.permutation(channels)[: random.integers(1, channels + 1)])
    stain = np.arange(channels) if minibatch.condition.stain is None else minibatch.condition.stain[0].numpy()
    control = None if minibatch.control is None else minibatch.control[:, kept]
    return _showing(replace(minibatch, target=minibatch.target[:, kept], control=control), stain[kept])


@dataclass(eq=False)
class StepSampler(Sampler[int]):
    """Number the micro-steps from where training stands (`start()`) to `total`; its length is that of the whole run."""

    start: Callable[[], int]
    total: int

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start(), self.total))

    def __len__(self) -> int:
        return self.total


class AssayData(lightning.LightningDataModule):
    """Open a dataset folder, encode its conditions and serve minibatches of its training and validation images.

    folder: several make one data set (see JoinedDataset), a minibatch being of one folder, and a step's folder drawn in
    proportion to its number of images. channel_subsets: each training minibatch shows a random subset of its channels.
    minibatch_size: images in the global minibatch, whatever the number of devices. images_total: length of the run in
    images seen. validation_images: how many held-out images the validation loss is measured on. source: a random
    control of the same batch comes with each image where it needs one. control_set: so many more of them, for an
    encoder of control sets. coupling, per_group: images of one batch and treatment that stand together in a minibatch,
    for the coupling to permute (see images_per_group).
    standardise: scale each channel by the mean and spread of the training images (see Normalisation) instead of keeping
    [−1, 1]. balance: from 0, every image alike, to 1, every treatment alike (see MinibatchOrder). resident_share: keep
    the training images on the GPU where they take at most this share of its free memory; not where several folders are
    read. buffer_shards: shuffle so many shards together, 0 for all of them. cache_gib: how much of the local disk the
    shards of a folder elsewhere (s3://…) may take.
    """

    def __init__(
        self,
        *,
        folder: str | Path | Sequence[str | Path],
        minibatch_size: int,
        images_total: int,
        molecules: Descriptor | None,
        dose_in_label: bool = False,
        standardise: bool = True,
        source: Source = NOISE,
        control_set: int = 0,
        coupling: Coupling = independent,
        per_group: int | None = None,
        channel_subsets: bool = False,
        balance: float = 0.0,
        resident_share: float = 0.0,
        buffer_shards: int = 0,
        cache_gib: float = 50.0,
        validation_images: int = 1024,
        workers: int = 0,
        seed: int = 0,
        verify: bool = True,
    ) -> None:
        super().__init__()
        self.dataset = open_images(folder, verify, int(cache_gib * 2**30))
        self.balance, self.resident_share, self.buffer_shards = balance, resident_share, buffer_shards
        self._require_one_folder()
        self.minibatch_size, self.seed, self.workers = minibatch_size, seed, workers
        self.steps = max(1, images_total // minibatch_size)
        self.needs_control, self.control_set, self.molecules = source.needs_control, control_set, molecules
        self.train, self.channel_subsets = self.dataset.split("train"), channel_subsets
        index = str(self.dataset.root / "index.parquet")
        self.per_group = images_per_group(coupling, per_group, _groups(self.train), index)
        channels = len(self.dataset.info.channels)
        self.vocabulary = Vocabulary.from_index(
            self.train.rows,
            info=self.dataset.info,
            normalisation=measured(self.train, seed) if standardise else Normalisation.identity(channels),
            dose_in_label=dose_in_label,
        )
        self.train_conditions = self.vocabulary.encode(self.train.rows, molecules, index)
        self.validation, self.validation_conditions = self._validation(molecules, validation_images, index)

    def _require_one_folder(self) -> None:
        """Raise ValueError where several folders are to be streamed."""
        if isinstance(self.dataset, JoinedDataset):
            elsewhere = [str(folder.root) for folder in self.dataset.folders if remote_shards(folder)]
            if elsewhere or self.buffer_shards:
                raise ValueError(
                    f"one folder is streamed at a time, and loader.folder names {len(self.dataset.folders)} "
                    f"(elsewhere: {elsewhere}, loader.buffer_shards={self.buffer_shards}): copy them to the local disk "
                    "and set loader.buffer_shards=0, or train on one of them."
                )

    @property
    def mixed_folders(self) -> bool:
        """Whether folders differ in the channels that they show, or in their order."""
        folders = self.dataset.folders if isinstance(self.dataset, JoinedDataset) else ()
        return any(folder.info.channels != self.vocabulary.channels for folder in folders)

    @property
    def mixed_channels(self) -> bool:
        """Whether minibatches differ in the channels that they show, or in their order."""
        return self.mixed_folders or self.channel_subsets

    @property
    def validation_parts(self) -> list[ImageDataset]:
        """The validation images of each folder."""
        return self.validation.by_folder() if isinstance(self.validation, JoinedDataset) else [self.validation]

    def _validation(
        self, molecules: Descriptor | None, n: int, source: str
    ) -> tuple[ImageDataset | JoinedDataset, ConditionTable]:
        held_out = self.dataset.split("val")
        chosen = np.random.default_rng(self.seed).permutation(len(held_out))[:n]
        mask = np.zeros(len(held_out), bool)
        mask[chosen] = True
        part = held_out.where(pl.Series(mask))
        if isinstance(part, ImageDataset) and remote_shards(part):
            part = in_memory(part)  # they lie in every shard, and are read again and again
        try:
            return part, self.vocabulary.encode(part.rows, molecules, source)
        except UnknownToModel as error:
            raise InvalidIndex(f"the validation split needs what training lacks: {error}") from error

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError("AssayData serves minibatches to a Trainer: pass it as trainer.fit(datamodule=…).")
        accumulate, images = trainer.accumulate_grad_batches, self.train
        order = MinibatchOrder(
            len(images),
            self.minibatch_size,
            trainer.world_size * accumulate,
            self.seed,
            _groups(images),
            self.per_group,
            treatment=_groups(images, ["treatment"]) if self.balance else None,
            balance=self.balance,
            shard=images.shard if isinstance(images, ImageDataset) and len(images.maps) > 1 else None,
            buffer=self.buffer_shards,
        )
        minibatches = self._minibatches(images, self.train_conditions, order)
        minibatches.channel_subsets = self.channel_subsets
        minibatches.accumulate, minibatches.rank = accumulate, trainer.global_rank
        sampler = StepSampler(lambda: trainer.global_step * accumulate, self.steps * accumulate)
        if isinstance(images, ImageDataset):
            if remote_shards(images):
                minibatches.stream = ShardStream.of(images, order, minibatches.controls is not None)
            elif self.resident_share and fits(images, trainer.strategy.root_device, self.resident_share):
                minibatches.images = Resident(images, trainer.strategy.root_device)
        return self._loader(minibatches, sampler)

    def transfer_batch_to_device(self, batch: Minibatch, device: torch.device, dataloader_idx: int) -> Minibatch:
        """Move a minibatch without waiting for it, which page-locked memory allows."""
        return batch.to(device, non_blocking=True)

    def val_dataloader(self) -> DataLoader:
        lengths = [len(part) for part in self.validation_parts]
        size = min(self.minibatch_size, *lengths)
        # whole minibatches only: a last, smaller one would weigh its images more
        order = MinibatchOrder(len(self.validation), size, 1, self.seed, _groups(self.validation), self.per_group)
        minibatches = self._minibatches(self.validation, self.validation_conditions, order)
        return self._loader(minibatches, StepSampler(lambda: 0, sum(n // size for n in lengths)))

    def _minibatches(
        self, images: ImageDataset | JoinedDataset, conditions: ConditionTable, order: MinibatchOrder
    ) -> Minibatches:
        paired = self.needs_control or self.control_set > 0
        return Minibatches(
            images,
            conditions,
            JoinedOrder.of(images.folder, order) if isinstance(images, JoinedDataset) else order,
            _groups(images),
            Controls.of(images.rows, str(self.dataset.root)) if paired else None,
            self.needs_control,
            self.control_set,
        )

    def _loader(self, minibatches: Minibatches, sampler: StepSampler) -> DataLoader:
        resident = isinstance(minibatches.images, Resident)  # other processes could not reach into the device
        return DataLoader(
            minibatches,
            batch_size=None,
            sampler=sampler,
            num_workers=0 if resident else self.workers,
            persistent_workers=False,
            pin_memory=torch.cuda.is_available() and not resident,
        )

    def image_ids(self, rows: torch.Tensor) -> list[str]:
        """Return the image_id of rows of the training index, to name images in errors."""
        return self.train.rows.own["image_id"].gather(rows.cpu().numpy()).to_list()


def _groups(images: ImageDataset | JoinedDataset, columns: Sequence[str] = ("batch", "treatment")) -> np.ndarray:
    """Number the different entries of some columns of the index from 0, in their order, (n,)."""
    entries = images.rows.shared.select(columns)
    numbered = entries.unique().sort(columns).with_row_index("_number")
    number = entries.join(numbered, on=columns, how="left", maintain_order="left")["_number"]
    return number.to_numpy().astype(np.int64)[images.rows.number]
