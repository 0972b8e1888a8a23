"""What a run leaves behind and goes on from: its checkpoint and its weights, also where it is stopped by a signal."""

import logging
import os
import signal
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint
from safetensors.torch import save_file

from virtassay.files import whole
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
        self.signal: int | None = None
        self.saved_step = -1
        self.handlers: dict[int, Any] = {}

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # after Lightning has set its own handlers
        for number in (signal.SIGINT, signal.SIGTERM):
            self.handlers[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        if self.signal is not None:  # the second time: at once
            raise KeyboardInterrupt
        self.signal = number
        log.warning("%s: stopping after this step and writing a checkpoint …", signal.Signals(number).name)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        due = trainer.global_step % self.every_steps == 0 and trainer.global_step != self.saved_step
        stops = self.signal is not None
        if trainer.world_size > 1:  # a signal reaches processes at different steps; they must stop at the same one
            stops = trainer.strategy.reduce_boolean_decision(stops, all=False)
        if whole_step and trainer.global_step == self.guide_step and trainer.is_global_zero:
            self._write(self.guide)
        if whole_step and (due or stops):
            self.save(trainer)
        if whole_step and stops:
            raise Stopped(
                f"stopped by {signal.Signals(self.signal or signal.SIGTERM).name} after step {trainer.global_step}; "
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
