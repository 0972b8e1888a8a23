"""The training step: a loss that is not finite stops the run, and a finite one teaches the treatment."""

from pathlib import Path

import polars as pl
import pytest
import torch

from tests.toy_screen import write_screen
from tests.training.test_runs import train, weights
from virtassay.training.module import FlowTraining, NonFiniteLoss


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("module")
    write_screen(place / "screen")
    return place


def test_a_loss_that_is_not_finite_stops_with_step_images_and_checkpoint(folder, monkeypatch):
    original = FlowTraining.training_step

    def poisoned(self, batch, batch_idx):
        if self.global_step == 6:
            with torch.no_grad():
                next(self.network.parameters()).fill_(float("nan"))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(FlowTraining, "training_step", poisoned)
    with pytest.raises(NonFiniteLoss, match=r"step 6.*week\d-.*last.ckpt with resume=true"):
        train(folder, "name=poisoned")
    assert all(value.isfinite().all() for value in weights(folder / "runs" / "poisoned").values())


def test_training_learns_and_uses_the_treatment(folder):
    length = ("images_total=4800", "minibatch_size=32", "fit.validate_every_images=4800")
    run = train(folder, "name=learns", "optimizer.lr=3e-3", *length)
    metrics = pl.read_csv(run / "metrics.csv")
    loss = metrics.filter(pl.col("name") == "val/loss")["value"]
    assert loss[-1] < 0.8 * 2.0  # an untrained network has loss 2: unit noise and standardised data
    assert metrics.filter(pl.col("name") == "val/swap_z")["value"][-1] > 3
