"""Starting from a run: what is copied, frozen and refused; labels adapted to unseen molecules, with their null kept."""

import logging
import os
import subprocess
import sys
from dataclasses import replace
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
from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import open_dataset, write_dataset
from virtassay.data.loading.datamodule import AssayData
from virtassay.data.molecules.descriptors import Morgan
from virtassay.flow.guidance import Guidance
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import euler
from virtassay.run_folder import BrokenRun, build
from virtassay.schema import Condition
from virtassay.training.warm_start import ROWS, start_from, take_scales

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The toy screen with ethanol held out, taxol at two doses, and the control last, so that its number moves."""
    place = tmp_path_factory.mktemp("start")
    whole = open_dataset(write_screen(place / "whole"))
    control, well = pl.col("is_control"), pl.col("well").str.tail(1)
    held_out = pl.when(pl.col("treatment").str.starts_with("ethanol")).then(pl.lit("test"))
    index = whole.index.with_columns(
        split=held_out.when(well == "4").then(pl.lit("val")).otherwise(pl.lit("train")),
        perturbation=pl.when(control).then(pl.lit(["water"])).otherwise("perturbation"),
        dose_um=pl.when(control).then("dose_um").when(well.is_in(["1", "4"])).then([1.0]).otherwise([3.0]),
    ).drop("shard", "offset", "treatment")
    write_dataset(place / "screen", whole.info, whole.images(np.arange(len(whole))), index)
    return place


def overrides(folder: Path, *more: str) -> list[str]:
    common = [override for override in train_overrides(folder) if not override.startswith("molecules")]
    return [*common, "optimizer.lr=1e-2", *more]


def train(folder: Path, *more: str) -> Path:
    """Run train.py's task in this process; returns the run folder."""
    from train import main

    with initialize_config_dir(version_base="1.3", config_dir=str(REPO / "conf")):
        cfg = compose("train", overrides=overrides(folder, *more), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    main.__wrapped__.__wrapped__(own)  # inside hydra.main and user_errors
    return Path(cfg.run)


def adapting(folder: Path, *more: str) -> list[str]:
    run = f"start.run={folder / 'runs' / 'labels'}"
    return ["condition=adapted", "start=film", run, "molecules.size=64", "condition.perturbation.depth=1", *more]


@pytest.fixture(scope="module")
def labels(folder: Path) -> Path:
    """A run of labels compound × dose, on [−1, 1]."""
    return train(folder, "condition=onehot_dose", "name=labels", "loader.standardise=false")


@pytest.fixture(scope="module")
def adapted(folder: Path, labels: Path) -> Path:
    """That run, adapted to molecules; left alone, its images would be standardised."""
    return train(folder, *adapting(folder, "name=adapted"))


def data(folder: Path, screen: str = "screen", molecules: Morgan | None = None, **more) -> AssayData:
    return AssayData(folder=folder / screen, minibatch_size=8, images_total=80, molecules=molecules, **more)


def velocity(assay: VirtualAssay, condition: Condition) -> torch.Tensor:
    x = torch.randn(len(condition), *assay.vocabulary.image_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return assay.network(x, torch.full((len(condition),), 0.5), condition)


def held_out(folder: Path, assay: VirtualAssay) -> Condition:
    """Images of ethanol, as the model is told them."""
    rows = open_dataset(folder / "screen").split("test").rows.take(np.arange(8))
    return assay.vocabulary.encode(rows, assay.molecules).condition(slice(None))


def nothing(assay: VirtualAssay) -> Condition:
    """Four images of the first batch, and no perturbation."""
    none = torch.full((4, 1), -1)
    return Condition(none, torch.zeros(4, 1, 64), none * torch.nan, torch.zeros(4, dtype=torch.int64), none[:, 0])


def test_frozen_weights_stay_those_of_the_run_to_the_bit(adapted, labels):
    before, after = load_file(labels / "model.safetensors"), load_file(adapted / "model.safetensors")
    new = {name for name in after if name.startswith("condition.perturbation.")}
    film = {name for name in after if "film." in name and name not in new}
    assert film and set(before) - set(after) == set() and set(after) - set(before) == new - {ROWS}
    kept = set(after) - new - film
    assert {name for name in kept if not torch.equal(before[name], after[name])} == set()
    assert {"condition.null.perturbation", "condition.treatment.0.weight"} <= kept
    assert {name for name in film if torch.equal(before[name], after[name])} == set()
    stored = torch.load(adapted / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]
    assert sum(len(group["params"]) for group in stored["param_groups"]) == len(film | new)  # the optimizer's


def test_without_patterns_all_weights_go_on(folder, labels):
    still = ["condition=onehot_dose", "start=whole", f"start.run={labels}", "images_total=8"]
    before = load_file(labels / "model.safetensors")
    same = load_file(train(folder, *still, "name=rate_0", "optimizer.lr=0") / "model.safetensors")
    assert same.keys() == before.keys() and all(torch.equal(same[name], before[name]) for name in before)
    moved = load_file(train(folder, *still, "name=rate_1", "images_total=80") / "model.safetensors")
    idle = {name for name in before if torch.equal(before[name], moved[name])}
    assert idle <= {"condition.null.batch"}  # each weight is used, a null where it is drawn


def test_the_null_survives_adaptation(folder, labels, adapted):
    first = VirtualAssay.load(labels)
    frozen = VirtualAssay.load(train(folder, *adapting(folder, "name=frozen", "start.train=[]")))
    unconditional = velocity(first, nothing(first))
    assert torch.equal(velocity(frozen, nothing(frozen)), unconditional)  # the very same, though labels were learned
    lost = build(frozen.config["network"]).eval()
    assert not torch.equal(velocity(replace(frozen, network=lost), nothing(frozen)), unconditional)
    for assay in (frozen, VirtualAssay.load(adapted)):
        told = held_out(folder, assay)
        assert (velocity(assay, told) - velocity(assay, told.without("perturbation"))).abs().max() > 1e-3


def test_unseen_molecules_are_generated_with_guidance(folder, adapted):
    assay = VirtualAssay.load(adapted)
    requests = open_dataset(folder / "screen").split("test").index.head(4)
    assert "ethanol" not in assay.vocabulary.perturbations

    def made(scale: float) -> np.ndarray:
        guidance = Guidance(scale=scale, against="null")
        parts = assay.generate(requests, np.arange(4), Sampler(euler, 4, guidance=guidance))
        return np.concatenate([images for images, _ in parts]).astype(int)

    assert made(1.0).shape == (4, 2, 12, 12)
    assert np.abs(made(4.0) - made(1.0)).max() > 0


def test_rows_are_found_by_the_name_of_their_perturbation(folder, labels, adapted):
    first, then = VirtualAssay.load(labels), VirtualAssay.load(adapted)
    assert first.vocabulary.perturbations == ("taxol 1 µM", "taxol 3 µM", "water")
    assert then.vocabulary.perturbations == ("taxol", "water")
    network = build(then.config["network"])
    start_from(network, then.vocabulary, first, ["*film.*"])
    torch.testing.assert_close(network.state_dict()[ROWS][1], first.network.state_dict()[ROWS][2], rtol=0, atol=0)
    assert dict(network.named_parameters())[ROWS].requires_grad  # taxol has no row to take
    start_from(network, then.vocabulary, then, ["*film.*"])
    assert not dict(network.named_parameters())[ROWS].requires_grad


def test_a_null_that_was_never_dropped_in_is_learned(labels, adapted):
    first, then = VirtualAssay.load(labels), VirtualAssay.load(adapted)
    network = build(then.config["network"])
    null = dict(network.named_parameters())["condition.null.perturbation"]
    start_from(network, then.vocabulary, first, [])
    assert not null.requires_grad
    setattr(first.network.condition, "has_null", False)  # noqa: B010  # as one with condition.dropout=0
    start_from(network, then.vocabulary, first, [])
    assert null.requires_grad


def test_images_and_doses_are_scaled_as_the_weights_have_learned(folder, labels, adapted):
    first, then = VirtualAssay.load(labels).vocabulary, VirtualAssay.load(adapted).vocabulary
    assert then.normalisation == first.normalisation != data(folder).vocabulary.normalisation
    other = replace(first, dose_centre=first.dose_centre - 2.0)
    doses = data(folder)
    before = doses.train_conditions.log_dose.copy()
    take_scales(doses, replace(VirtualAssay.load(labels), vocabulary=other))
    np.testing.assert_allclose(doses.train_conditions.log_dose, before + 2.0 / first.dose_spread, rtol=1e-6)
    assert doses.vocabulary.encode(doses.train.rows, None).log_dose[-1] == doses.train_conditions.log_dose[-1]


def test_a_run_that_has_seen_what_is_held_out_is_pointed_out(folder, labels, caplog):
    with caplog.at_level(logging.WARNING, logger="virtassay"):
        take_scales(data(folder), VirtualAssay.load(labels))
        assert not caplog.records
        first = VirtualAssay.load(labels)
        leaky = replace(first.vocabulary, perturbations=("ethanol 3 µM", *first.vocabulary.perturbations))
        take_scales(data(folder), replace(first, vocabulary=leaky))
    assert "1 perturbation(s)" in caplog.text and "(ethanol)" in caplog.text


@pytest.mark.parametrize(("what", "other"), [("channels", ("DNA", "tubulin")), ("image_shape", (2, 24, 24))])
def test_other_images_are_refused(folder, labels, what, other):
    first = VirtualAssay.load(labels)
    with pytest.raises(ValueError, match=rf"{what} .*, and the run to start from \({str(other)[1:-1]}\)"):
        take_scales(data(folder), replace(first, vocabulary=replace(first.vocabulary, **{what: other})))


def test_another_descriptor_of_molecules_is_refused(folder, adapted):
    first = VirtualAssay.load(adapted)
    take_scales(data(folder, molecules=Morgan(size=64)), first)
    with pytest.raises(ValueError, match=r"by Morgan\(radius=2, size=64.*this one by Morgan\(radius=1"):
        take_scales(data(folder, molecules=Morgan(radius=1, size=64)), first)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("network.channels=16",), r"stem\.weight is \(16, .*\) in this network and \(8, .*Choose the network"),
        (("condition.width=32",), r"condition.treatment.0.weight is \(32, 32\) in this network and \(16, 16\)"),
        (("network.blocks=2",), r"in this network only"),
        (("start.train=[adaLN*]",), r"start.train=\['adaLN\*'\] matches no weight. There are condition\."),
    ],
)
def test_other_networks_and_patterns_are_refused(folder, labels, more, message):
    with pytest.raises(ValueError, match=message):
        train(folder, *adapting(folder, "name=refused", *more))
    assert not (folder / "runs" / "refused").exists()


def test_other_batches_and_runs_are_refused(folder, labels):
    first = VirtualAssay.load(labels)
    network = build(first.config["network"])
    other = replace(first.vocabulary, batches=("week1", "week3"))
    with pytest.raises(ValueError, match="of batches week1, week3, and the run to start from knows week1, week2"):
        start_from(network, other, first)
    with pytest.raises(ValueError, match=r"start.train=\[\] leaves nothing to train"):
        start_from(network, first.vocabulary, first, [])
    with pytest.raises(BrokenRun, match="it does not exist"):
        train(folder, *adapting(folder, "name=refused", "start.run=nowhere"))
    assert not (folder / "runs" / "refused").exists()


def test_a_resumed_adaptation_equals_one_that_was_not_stopped(folder, adapted):
    train(folder, *adapting(folder, "name=halves", "images_total=40"))
    again = load_file(train(folder, *adapting(folder, "name=halves", "resume=true")) / "model.safetensors")
    whole = load_file(adapted / "model.safetensors")
    assert all(torch.equal(again[name], whole[name]) for name in whole)


@pytest.mark.slow
def test_two_devices_adapt_with_frozen_weights(folder, labels, tmp_path):
    more = adapting(folder, "name=two", "fit.devices=2", "fit.strategy=ddp")
    command = [sys.executable, str(REPO / "train.py"), *overrides(folder, *more)]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPO)}, timeout=300)
    assert done.returncode == 0
    before, after = load_file(labels / "model.safetensors"), load_file(folder / "runs" / "two" / "model.safetensors")
    assert torch.equal(before["condition.treatment.0.weight"], after["condition.treatment.0.weight"])
