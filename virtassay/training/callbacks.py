"""What happens around the steps of training: checkpoints, a clean stop, the progress bar, metrics.csv, sample grids."""

import csv
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import polars as pl
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from safetensors.torch import save_file
from tqdm.auto import tqdm

from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import Dataset
from virtassay.data.loading.controls import ControlPool
from virtassay.files import whole
from virtassay.flow.sampler import Sampler
from virtassay.report.pictures import contact_sheet, display_limits
from virtassay.run_folder import GUIDE
from virtassay.training.ema import EMA

log = logging.getLogger(__name__)


class Stopped(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM) and did so between two steps, with its checkpoint written."""


class RunCheckpoint(Checkpoint):
    """Write checkpoints/last.ckpt and model.safetensors (EMA) every so many images, at the end, and when asked to stop.

    Once, after `guide_step` steps, the EMA is also written to guide.safetensors: the weaker model of autoguidance.
    Ctrl-C and SIGTERM are taken at the end of the running step, so that what is written is a whole step and the run
    resumes as if it had never stopped. Both files are written to a temporary name and renamed.
    """

    def __init__(
        self, run: Path, ema: EMA, minibatch_size: int, every_images: int, guide_step: int | None = None
    ) -> None:
        self.path = run / "checkpoints" / "last.ckpt"
        self.weights, self.guide = run / "model.safetensors", run / GUIDE
        self.ema = ema
        self.every_steps = max(1, every_images // minibatch_size)
        self.guide_step = guide_step
        self.asked: int | None = None
        self.saved_step = -1
        self.handlers: dict[int, Any] = {}

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # after Lightning has set its own handlers
        for number in (signal.SIGINT, signal.SIGTERM):
            self.handlers[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked is not None:  # the second time: at once
            raise KeyboardInterrupt
        self.asked = number
        log.warning("%s: stopping after this step and writing a checkpoint …", signal.Signals(number).name)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        due = trainer.global_step % self.every_steps == 0 and trainer.global_step != self.saved_step
        asked = self.asked is not None
        if trainer.world_size > 1:  # a signal reaches processes at different steps; they must stop at the same one
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if whole_step and trainer.global_step == self.guide_step and trainer.is_global_zero:
            self._write(self.guide)
        if whole_step and (due or asked):
            self.save(trainer)
        if whole_step and asked:
            raise Stopped(
                f"stopped by {signal.Signals(self.asked or signal.SIGTERM).name} after step {trainer.global_step}; "
                "nothing is lost. The same command with resume=true goes on."
            )

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.global_step != self.saved_step:
            self.save(trainer)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}

    def save(self, trainer: lightning.Trainer) -> None:
        """Write both files now."""
        part = self.path.with_suffix(".partial")
        trainer.save_checkpoint(part)  # every rank takes part, rank 0 writes
        self.saved_step = trainer.global_step
        if trainer.is_global_zero:
            os.replace(part, self.path)
            self._write(self.weights)

    def _write(self, weights: Path) -> None:
        with whole(weights) as part:
            save_file(self.ema.network_state(), part)


class ImagesBar(Callback):
    """A progress bar in images: images/s, images seen of the total, time left, and the last loss."""

    def __init__(self, minibatch_size: int) -> None:
        self.minibatch_size = minibatch_size
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.is_global_zero:
            total, seen = trainer.max_steps * self.minibatch_size, trainer.global_step * self.minibatch_size
            self.bar = tqdm(total=total, initial=seen, unit="img", desc="train", smoothing=0.05, dynamic_ncols=True)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is None:
            return
        seen = trainer.global_step * self.minibatch_size
        if trainer.global_step % 10 == 0 or seen == self.bar.total:
            known = trainer.callback_metrics
            shown = {name: f"{float(known[name]):.4f}" for name in ("train/loss", "val/loss") if name in known}
            self.bar.set_postfix(shown, refresh=False)
        self.bar.update(seen - self.bar.n)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class MetricsCSV(Logger):
    """Append every logged number to metrics.csv, one row a number: images, step, seconds, name, value.

    Appending survives a kill and a resume, where Lightning's own CSV logger begins a new file.
    """

    def __init__(self, run: Path, minibatch_size: int) -> None:
        super().__init__()
        self.path, self.minibatch_size = run / "metrics.csv", minibatch_size
        self.began = time.monotonic()

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        fresh = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["images", "step", "seconds", "name", "value"])
            step = 0 if step is None else step + 1
            seconds = round(time.monotonic() - self.began, 1)
            for name, value in metrics.items():
                if name != "epoch":
                    writer.writerow([step * self.minibatch_size, step, seconds, name, value])

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Lightning asks for it; config.yaml holds them already."""


class SampleGrids(Callback):
    """Draw generated beside real images of a few treatments at each validation: folder/<images seen>.png.

    The treatments are the first control and the strata with most validation images; seeds are the same each time, so
    that pictures of different times compare. Must stand before the EMA in the list of callbacks, to draw with its
    weights.
    """

    def __init__(
        self,
        folder: Path,
        assay: VirtualAssay,
        images: Dataset,
        *,
        sampler: Sampler,
        minibatch_size: int,
        treatments: int = 5,
        columns: int = 8,
        bf16: bool = False,
    ) -> None:
        self.folder, self.assay, self.images = folder, assay, images
        self.sampler = sampler
        self.minibatch_size, self.bf16 = minibatch_size, bf16
        self.rows = _rows_to_draw(images.index, treatments, columns)
        self.controls = ControlPool.of(images)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        random_state = torch.get_rng_state()
        rows: list[tuple[str, np.ndarray]] = []
        for name, numbers in self.rows:
            index = self.images.index[numbers]
            real = self.images.images(numbers)
            seeds = np.arange(len(numbers))
            parts = self.assay.generate(
                index,
                seeds,
                self.sampler,
                channels=self.images.info.channels,
                controls=self.controls,
                bf16=self.bf16,
            )
            made = np.concatenate([part for part, _ in parts])
            rows += [(f"{name}\nreal", real), (f"{name}\ngenerated", made)]
        self.folder.mkdir(parents=True, exist_ok=True)
        seen = trainer.global_step * self.minibatch_size
        limits = display_limits(np.concatenate([images for name, images in rows if name.endswith("real")]))
        contact_sheet(
            self.folder / f"{seen:010d}.png",
            rows,
            self.images.info.channels,
            limits=limits,
            title=f"after {seen:,} images",
            per_channel=True,
        )
        torch.set_rng_state(random_state)


def _rows_to_draw(index: pl.DataFrame, treatments: int, columns: int) -> list[tuple[str, np.ndarray]]:
    """Choose the first control and the strata with most images, `columns` images of each."""
    numbered = index.with_row_index("_row")
    counts = numbered.group_by("is_control", "treatment").agg(pl.len(), pl.col("_row").head(columns))
    ranked = counts.sort(["is_control", "len", "treatment"], descending=[True, True, False])
    controls = ranked.filter(pl.col("is_control")).head(1)
    treated = ranked.filter(~pl.col("is_control")).head(treatments - 1)
    chosen = pl.concat([controls, treated]).select("treatment", "_row")
    return [(name, np.array(rows)) for name, rows in chosen.iter_rows()]
