"""Whole runs through the real script and config, on a tiny screen: resuming, stopping, refusing, the run folder."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from safetensors.torch import load_file

from tests.toy_screen import train_overrides, write_screen
from virtassay.data.dataset.store import DatasetInfo, open_dataset, write_dataset
from virtassay.data.loading.datamodule import AssayData
from virtassay.flow.source import Control

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

EXPERIMENTS = sorted(path.stem for path in (REPO / "conf" / "experiment").glob("*.yaml"))
TINY = {  # of each kind of network that an experiment has
    "UNet": {"channels": 8, "multipliers": [1, 2], "heads": 2, "refine": 4},
    "DiT": {"depth": 4, "width": 16, "heads": 2},
    "ADM": {"channels": 32, "width": 128, "multipliers": [1, 1], "blocks": 1},
    "SetTransformer": {"depth": 1, "width": 16, "heads": 2},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    screen = open_dataset(write_screen(place / "screen"))
    features = screen.images(np.arange(len(screen))).mean(3, dtype=np.float32).reshape(len(screen), -1, 1, 1)
    shape = features.shape[1:]
    info = DatasetInfo("vectors", tuple(f"feature{i}" for i in range(shape[0])), shape, "float32")
    write_dataset(place / "vectors", info, features, screen.index.drop("shard", "offset", "treatment"))
    return place


def train(folder: Path, *overrides: str) -> Path:
    """Run train.py's task with overrides, in this process; returns the run folder."""
    from train import main

    with initialize_config_dir(version_base="1.3", config_dir=str(REPO / "conf")):
        cfg = compose("train", overrides=train_overrides(folder, *overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    main.__wrapped__.__wrapped__(own)  # inside hydra.main and user_errors
    return Path(cfg.run)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_its_folder_and_its_numbers(folder):
    run = train(folder, "name=whole")
    assert {p.name for p in run.iterdir()} >= {"config.yaml", "vocabulary.json", "model.safetensors", "metrics.csv"}
    assert sorted(p.name for p in (run / "samples").iterdir()) == ["0000000040.png", "0000000080.png"]
    metrics = pl.read_csv(run / "metrics.csv")
    assert metrics.columns == ["images", "step", "seconds", "name", "value"]
    assert set(metrics["name"]) >= {"train/loss", "val/loss", "val/swap_gain", "val/swap_z", "val/swap_cosine"}
    assert metrics["images"].max() == 80


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_resumed_run_equals_one_that_was_not_stopped_to_the_bit(folder, optimizer):
    choice = f"optimizer={optimizer}"
    whole = weights(train(folder, choice, f"name=whole_{optimizer}"))
    half = train(folder, choice, f"name=halves_{optimizer}", "images_total=40")
    assert not same(weights(half), whole)
    assert same(weights(train(folder, choice, f"name=halves_{optimizer}", "resume=true")), whole)
    other = weights(train(folder, choice, f"name=other_seed_{optimizer}", "seed=1"))
    assert not same(other, whole)  # the comparison can fail


def test_gradients_accumulated_over_micro_steps_see_the_same_images(folder):
    train(folder, "name=micro", "fit.device_minibatch_size=4")
    seen = pl.read_csv(folder / "runs" / "micro" / "metrics.csv")
    assert seen["images"].max() == 80 and seen["step"].max() == 10


def test_a_run_from_a_folder_elsewhere_equals_one_from_here(folder):
    local = weights(train(folder, "name=here", "source=noisy_control", "loader.balance=0.5"))
    address = f"data.folder=file://{folder / 'screen'}"
    assert same(weights(train(folder, "name=there", "source=noisy_control", "loader.balance=0.5", address)), local)
    assert not same(weights(train(folder, "name=unbalanced", "source=noisy_control")), local)


def test_a_run_is_not_written_over_by_accident(folder):
    train(folder, "name=precious")
    with pytest.raises(FileExistsError, match="resume=true"):
        train(folder, "name=precious")
    train(folder, "name=precious", "overwrite=true")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        train(folder, "name=never_begun", "resume=true")


@pytest.mark.parametrize("share", [0, 1, 8000])
def test_a_guide_must_come_within_the_run(folder, share):
    with pytest.raises(ValueError, match=f"fit.guide_at={share} is a share"):
        train(folder, f"name=guided_{share}", f"fit.guide_at={share}")
    assert not (folder / "runs" / f"guided_{share}").exists()


def test_the_global_minibatch_does_not_depend_on_workers(folder):
    def first_rows(workers: int) -> list[int]:
        data = AssayData(
            folder=folder / "screen",
            minibatch_size=8,
            images_total=80,
            molecules=None,
            workers=workers,
            source=Control(),
        )

        class Trainer:
            accumulate_grad_batches, world_size, global_rank, global_step = 1, 1, 0, 3

        data.trainer = Trainer()  # pyright: ignore[reportAttributeAccessIssue]
        batch = next(iter(data.train_dataloader()))
        assert batch.control.shape == batch.target.shape
        return batch.row.tolist()

    assert first_rows(0) == first_rows(1)


def test_wandb_offline_works_without_an_account(folder, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = train(folder, "name=logged", "logger=wandb", "images_total=16")
    assert list((run / "wandb").glob("offline-run-*"))


def fit_a_step(experiment: str, folder: Path, runs: Path) -> Path:
    """Fit the smallest network of an experiment's kind for one step, after the run that it starts from, if any."""
    from train import main

    with initialize_config_dir(version_base="1.3", config_dir=str(REPO / "conf")):
        cfg = compose("train", overrides=[f"experiment={experiment}"], return_hydra_config=True)
    kind = cfg.network._target_.rpartition(".")[2]
    screen = folder / ("vectors" if kind == "SetTransformer" else "screen")
    tiny = {
        "data.folder": str(screen), "paths.runs": str(runs), "minibatch_size": 8, "images_total": 8, "steps": 2,
        "loader.workers": 0, "fit.accelerator": "cpu", "fit.precision": "32-true",
        **({"molecules.size": 64} if cfg.molecules else {}),
        **({"condition.perturbation.depth": 1} if "depth" in cfg.condition.perturbation else {}),
        **{f"network.{key}": value for key, value in TINY[kind].items()},
        **({"condition.width": 16} if kind == "UNet" else {}),
    }  # fmt: skip
    for key, value in tiny.items():
        OmegaConf.update(cfg, key, value)
    if cfg.start.run is not None:
        assert fit_a_step(Path(cfg.start.run).name, folder, runs) == Path(cfg.start.run)
    HydraConfig.instance().set_config(cfg)
    main.__wrapped__.__wrapped__(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    return Path(cfg.run)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_fits_a_step_at_a_tiny_width(folder, tmp_path, experiment):
    assert (fit_a_step(experiment, folder, tmp_path) / "model.safetensors").exists()


@pytest.mark.slow
def test_two_devices_share_the_same_global_minibatch(folder, tmp_path):
    command = [sys.executable, str(REPO / "train.py"), *train_overrides(folder, "name=two", "fit.devices=2")]
    done = subprocess.run(
        [*command, "fit.strategy=ddp"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPO)}, timeout=300
    )
    assert done.returncode == 0
    metrics = pl.read_csv(folder / "runs" / "two" / "metrics.csv")
    assert metrics["images"].max() == 80 and metrics["step"].max() == 10  # as on one device


def test_training_leaves_the_precision_of_products_as_it_was(tmp_path):
    write_screen(tmp_path / "screen")
    torch.set_float32_matmul_precision("highest")
    train(tmp_path, "images_total=8", "fit.validate_every_images=8")
    assert torch.get_float32_matmul_precision() == "highest"
