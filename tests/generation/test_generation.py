"""Generation from controls, with control sets, in few calls, and of given cells treated."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hydra.errors import InstantiationException

from tests.toy_screen import write_screen
from tests.training.test_runs import train
from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import open_dataset
from virtassay.data.loading.controls import ControlPool
from virtassay.flow.guidance import Guidance
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import ab2, dopri5, euler, jump, midpoint, stochastic
from virtassay.generation.requests import image_seeds, inline_requests

RUNS = {
    "noise": (),
    "control": ("source=control",),
    "noisy_control": ("source=noisy_control", "coupling=ot", "loader.per_group=4"),
    "control_set": ("condition=morgan_controls", "condition.width=16", "condition.control_set.images=3"),
    "bridge": ("path=brownian_bridge", "time_law=logit_normal", "weighting=cosmap", "coupling=entropic"),
    "across": ("coupling=c2ot", "path=trigonometric", "time_law=edm", "weighting=edm"),
    "jumps": ("objective=self_distilled",),
    "no_null": ("condition.dropout=0.0",),
}


@pytest.fixture(scope="module")
def assays(tmp_path_factory) -> dict[str, VirtualAssay]:
    folder = tmp_path_factory.mktemp("generation")
    write_screen(folder / "screen")
    longer = ("images_total=800", "minibatch_size=32", "fit.validate_every_images=800", "optimizer.lr=3e-3")
    return {name: VirtualAssay.load(train(folder, f"name={name}", *longer, *more)) for name, more in RUNS.items()}


@pytest.fixture(scope="module")
def pool(assays) -> ControlPool:
    return ControlPool.of(open_dataset(assays["noise"].config["data"]["folder"]), "train")


def requests(assay: VirtualAssay, n: int = 4, batch: str = "week1") -> pl.DataFrame:
    return inline_requests({"perturbation": "taxol", "dose_um": 3.0, "batch": batch, "n": n}, assay.vocabulary)


def made(
    assay: VirtualAssay, solver: Any = midpoint, steps: int = 2, seed: int = 0, n: int = 4, guidance=None, **options
) -> np.ndarray:
    table = requests(assay, n)
    parts = assay.generate(
        table, image_seeds(table["image_id"], seed), Sampler(solver, steps, guidance=guidance or Guidance()), **options
    )
    return np.concatenate([images for images, _ in parts])


@pytest.mark.parametrize("name", RUNS)
def test_every_way_of_training_ends_in_a_model_that_generates(assays, pool, name: str):
    images = made(assays[name], solver=jump if name == "jumps" else midpoint, controls=pool)
    assert images.shape == (4, 2, 12, 12) and images.std() > 1


@pytest.mark.parametrize("name", ["control", "noisy_control", "control_set"])
def test_an_image_depends_on_its_seed_whatever_it_is_generated_with(assays, pool, name: str):
    whole = made(assays[name], controls=pool, n=5)
    parts = made(assays[name], controls=pool, n=5, minibatch_size=2)
    assert abs(whole.astype(int) - parts).max() <= 1
    assert (made(assays[name], controls=pool, n=5, seed=1) != whole).mean() > 0.3


def test_a_model_of_controls_begins_at_them(assays, pool):
    assay = assays["control"]
    with torch.no_grad():  # the velocity is 0: what comes out is the control that went in
        for weight in assay.network.get_submodule("head").parameters():
            weight.zero_()
    table = requests(assay)
    seeds = image_seeds(table["image_id"], 0)
    rows = pool.draw(table["batch"].to_list(), seeds, 1)[:, 0]
    assert np.array_equal(made(assay, controls=pool), pool.controls.images(rows))


def test_control_images_tell_the_model_the_batch(assays, pool):
    assay = assays["control_set"]
    table = requests(assay)
    seeds = image_seeds(table["image_id"], 0)
    here, there = (
        next(iter(assay.generate(t, seeds, Sampler(euler, 1), controls=pool)))[0]
        for t in (table, requests(assay, batch="week2"))
    )
    assert (here != there).any(), "the same request and seed, told other controls"


def test_a_cell_carried_back_to_noise_and_forward_as_what_it_is_returns(assays, pool):
    assay = assays["noise"]
    table = inline_requests({"perturbation": "DMSO", "batch": "week1", "n": 4}, assay.vocabulary)
    seeds = image_seeds(table["image_id"], 0)
    options = {"sampler": Sampler(midpoint, 60), "controls": pool, "counterfactual": True}
    images, calls = next(iter(assay.generate(table, seeds, **options)))
    cells = pool.controls.images(pool.draw(["week1"] * 4, seeds, 1)[:, 0])
    assert calls == 240, "there and back"
    assert abs(images.astype(int) - cells).mean() < 2, "grey levels: the solver's error, and rounding"
    treated, _ = next(iter(assay.generate(requests(assay), seeds, **options)))
    assert abs(treated.astype(int) - cells).mean() > abs(images.astype(int) - cells).mean(), "and treated it changes"


def test_fresh_noise_is_of_the_images_own_seed(assays):
    churned = partial(stochastic, churn=0.5)
    whole = made(assays["noise"], solver=churned, steps=4)
    assert abs(whole.astype(int) - made(assays["noise"], solver=churned, steps=4, minibatch_size=1)).max() <= 1
    assert (whole != made(assays["noise"], solver=midpoint, steps=4)).mean() > 0.3


def test_cheap_solvers_come_near_the_reference(assays):
    reference = made(assays["noise"], solver=dopri5, steps=1).astype(int)
    for solver, steps in ((ab2, 60), (midpoint, 60)):
        assert abs(made(assays["noise"], solver=solver, steps=steps) - reference).mean() < 1.5, solver


def test_jumps_take_one_call_each(assays):
    table = requests(assays["jumps"])
    parts = assays["jumps"].generate(table, image_seeds(table["image_id"], 0), Sampler(jump, 2))
    assert next(iter(parts))[1] == 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("control", {}, "control images are needed"),
        ("control_set", {}, "control images are needed"),
        ("noise", {"counterfactual": True}, "control images are needed"),
        ("control", {"counterfactual": True, "controls": "pool"}, "goes back to noise"),
        ("no_null", {"guidance": Guidance(2.0)}, r"trained without a null \(condition.dropout=0\)"),
        ("control", {"solver": stochastic, "controls": "pool"}, "from noise along the linear path"),
        ("bridge", {"solver": stochastic}, "from noise along the linear path"),
        ("noise", {"solver": jump}, "needs a model of mean velocities"),
    ],
)
def test_what_a_model_cannot_do_is_said_before_it_begins(assays, pool, name, options, message):
    given = {key: pool if value == "pool" else value for key, value in options.items()}
    with pytest.raises(ValueError, match=message):
        made(assays[name], **given)


def test_a_coupling_needs_groups(assays, tmp_path: Path):
    write_screen(tmp_path / "screen")
    with pytest.raises(InstantiationException, match=r"loader\.per_group=1 .* groups of one"):
        train(tmp_path, "coupling=ot", "loader.per_group=1")
