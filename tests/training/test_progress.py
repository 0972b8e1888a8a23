"""metrics.csv is appended to, one row a number, and the bar counts images."""

from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from virtassay.training.progress import ImagesBar, MetricsCSV


def test_a_resumed_run_appends_its_numbers(tmp_path):
    MetricsCSV(tmp_path, 8).log_metrics({"train/loss": 2.0, "epoch": 0}, step=0)
    MetricsCSV(tmp_path, 8).log_metrics({"train/loss": 1.0, "val/loss": 1.5}, step=9)
    table = pl.read_csv(tmp_path / "metrics.csv")
    assert table.columns == ["images", "step", "seconds", "name", "value"]
    rows = table.select("images", "step", "name", "value").rows()
    assert rows == [(8, 1, "train/loss", 2.0), (80, 10, "train/loss", 1.0), (80, 10, "val/loss", 1.5)]


@pytest.mark.parametrize("rank", [0, 1])
def test_the_bar_counts_images_on_one_device_only(rank: int):
    trainer: Any = SimpleNamespace(is_global_zero=rank == 0, max_steps=10, global_step=4, callback_metrics={})
    bar, module = ImagesBar(8), SimpleNamespace()
    bar.on_train_start(trainer, module)  # pyright: ignore[reportArgumentType]
    trainer.global_step = 6
    bar.on_train_batch_end(trainer, module, None, None, 0)
    assert (None if bar.bar is None else (bar.bar.n, bar.bar.total)) == ((48, 80) if rank == 0 else None)
    bar.teardown(trainer, module, "fit")  # pyright: ignore[reportArgumentType]
    assert bar.bar is None
