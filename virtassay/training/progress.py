"""What is seen of a run while it goes on: a progress bar in images, and metrics.csv."""

import csv
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from tqdm.auto import tqdm


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
            metrics = trainer.callback_metrics
            losses = {name: f"{float(metrics[name]):.4f}" for name in ("train/loss", "val/loss") if name in metrics}
            self.bar.set_postfix(losses, refresh=False)
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
