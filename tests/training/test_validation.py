"""Assessments during training: they see the validation split and the averaged weights, and change nothing."""

from typing import Any, cast

import numpy as np
import polars as pl
import pytest
import torch

from tests.toy_screen import write_screen
from tests.training.test_runs import same, train, weights
from virtassay.assay import VirtualAssay
from virtassay.data.dataset.rows import Rows
from virtassay.data.dataset.store import Dataset, open_dataset
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import midpoint
from virtassay.training.validation import Assess, ModelInTraining

NAMES = [f"val/{metric}_{f}" for f in ("pixel_statistics", "texture") for metric in ("effect_explained", "pds")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("assess")
    write_screen(place / "screen")
    return place


@pytest.fixture(scope="module")
def run(folder):
    return train(
        folder, "name=assessed", "fit.assess_every_images=80", "images_total=160", "solver=midpoint", "grid=uniform"
    )


def logged(run):
    rows = pl.read_csv(run / "metrics.csv").filter(pl.col("name").is_in(NAMES))
    return {(images, name): value for images, name, value in rows.select("images", "name", "value").iter_rows()}


def assessment(folder, run, dataset=None, **settings: Any):
    model = ModelInTraining(VirtualAssay.load(run), Sampler(midpoint, 2), minibatch_size=8)
    dataset = open_dataset(folder / "screen") if dataset is None else dataset
    return Assess(model, dataset, **{"every_images": 80, **settings})


def test_it_is_logged_as_often_as_asked(run):
    assert sorted(logged(run)) == sorted((images, name) for images in (80, 160) for name in NAMES)  # validated each 40
    assert all(np.isfinite(value) for value in logged(run).values())


def test_the_averaged_weights_are_judged(folder, run):
    again = assessment(folder, run).scores()
    for name, value in again.items():
        assert logged(run)[160, f"val/{name}"] == pytest.approx(value, rel=1e-5, abs=1e-6)
    assert assessment(folder, run).scores() == again


def test_it_changes_nothing(folder, run):
    other = train(folder, "name=plain", "images_total=160", "solver=midpoint", "grid=uniform")
    assert same(weights(other), weights(run))
    kept = [torch.load(r / "checkpoints" / "last.ckpt", weights_only=True) for r in (run, other)]
    assert kept[0]["callbacks"].keys() == kept[1]["callbacks"].keys()
    assert kept[0]["state_dict"].keys() == kept[1]["state_dict"].keys()
    lines = [pl.read_csv(r / "metrics.csv").drop("seconds").filter(~pl.col("name").is_in(NAMES)) for r in (run, other)]
    assert lines[0].equals(lines[1])


def test_a_resumed_run_is_assessed_when_the_whole_one_is(folder, run):
    half = ["name=halves", "fit.assess_every_images=80", "solver=midpoint", "grid=uniform"]
    train(folder, *half, "images_total=120")
    resumed = train(folder, *half, "images_total=160", "resume=true")
    assert logged(resumed) == logged(run)


def test_images_of_the_test_split_are_never_read(folder, run, monkeypatch):
    dataset = open_dataset(folder / "screen")
    seen = []
    original = Dataset.images

    def spied(self, rows=None):
        if "image_id" in self.index.columns and self.root == dataset.root:
            seen.extend(self.index["image_id"].to_list() if rows is None else self.index["image_id"].gather(rows))
        return original(self, rows)

    monkeypatch.setattr(Dataset, "images", spied)
    assessment(folder, run, dataset).scores()
    split = dict(dataset.index.select("image_id", "split").iter_rows())
    assert {split[name] for name in seen} == {"train", "val"}


class Perfect:
    """Stands in for a model: it paints the real images of another split, or controls."""

    needs_controls = False

    def __init__(self, images):
        self.images = images

    def generate(self, requests, seeds, sampler, **settings):
        torch.rand(7)  # a model that draws from the global generator
        table, count = self.images.index.with_row_index("_row"), {}
        for batch, names in requests.select("batch", "perturbation").iter_rows():
            own = table.filter((pl.col("batch") == batch) & (pl.col("perturbation") == names))["_row"]
            count[batch, *names] = count.get((batch, *names), -1) + 1
            yield self.images.images(np.array([own[count[batch, *names] % len(own)]])), 1


def test_a_model_that_paints_the_truth_is_told_from_one_that_paints_controls(tmp_path):
    dataset = open_dataset(write_screen(tmp_path / "screen", images_per_well=20))
    held = dataset.split("test")
    controls = held.where(pl.col("is_control"))
    named = [n for n in held.index["perturbation"].unique().to_list() if n != ["DMSO"]]
    pretending = [controls.index.with_columns(perturbation=pl.lit(name, pl.List(pl.String))) for name in named]
    blind = Dataset(held.root, held.info, Rows.of(pl.concat(pretending)), held.maps)
    models = [ModelInTraining(cast("VirtualAssay", Perfect(part)), Sampler(midpoint, 1), 8) for part in (held, blind)]
    state = torch.get_rng_state()
    true, false = (Assess(model, dataset, every_images=1).scores() for model in models)
    assert torch.equal(torch.get_rng_state(), state)
    for featurizer in ("pixel_statistics", "texture"):
        assert true[f"effect_explained_{featurizer}"] > 0.8 > 0.3 > false[f"effect_explained_{featurizer}"]
        assert true[f"pds_{featurizer}"] == 1


def test_few_validation_wells_give_a_number_or_nan_and_none_an_error(folder, run):
    dataset = open_dataset(folder / "screen")
    first = pl.int_range(pl.len()).over("batch", "treatment", "split") == 0
    lonely = dataset.where((pl.col("split") != "val") | pl.col("is_control") | first)
    scores = assessment(folder, run, lonely, per_stratum=1).scores()
    assert np.isnan(scores["effect_explained_texture"])
    one = assessment(folder, run, dataset, most_strata=1).scores()
    assert np.isfinite(one["effect_explained_texture"]) and np.isnan(one["pds_texture"])
    with pytest.raises(ValueError, match="controls only"):
        assessment(folder, run, dataset.where((pl.col("split") != "val") | pl.col("is_control")))
    with pytest.raises(ValueError, match="assess_every_images=-1"):
        assessment(folder, run, every_images=-1)
