"""VirtualAssay and sampling: seeds name images, requests are checked."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.toy_screen import write_screen
from tests.training.test_runs import train
from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import open_dataset
from virtassay.data.loading.vocabulary import UnknownToModel
from virtassay.flow.guidance import Guidance
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import heun, midpoint
from virtassay.flow.time import cosine_grid
from virtassay.generation.requests import expand, image_seeds, inline_requests, like_dataset, read_requests
from virtassay.generation.write import write_samples
from virtassay.schema import InvalidIndex


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("assay")
    write_screen(folder / "screen")
    length = ("images_total=800", "fit.validate_every_images=800", "fit.guide_at=0.25")
    return train(folder, "optimizer.lr=3e-3", *length)


@pytest.fixture(scope="module")
def assay(run) -> VirtualAssay:
    return VirtualAssay.load(run)


def made(assay: VirtualAssay, table: pl.DataFrame, seeds: np.ndarray, **options) -> np.ndarray:
    parts = assay.generate(table, seeds, **{"sampler": Sampler(heun, 3), **options})
    return np.concatenate([images for images, _ in parts])


def test_an_image_depends_on_its_seed_and_request_alone(assay):
    table = inline_requests(
        {"perturbation": ["DMSO", "taxol"], "dose_um": 3.0, "batch": "week1", "n": 5}, assay.vocabulary
    )
    seeds = image_seeds(table["image_id"], 0)
    whole = made(assay, table, seeds)
    assert whole.shape == (10, 2, 12, 12) and whole.dtype == np.uint8
    parts = made(assay, table, seeds, minibatch_size=3).astype(int)
    assert abs(parts - whole).max() <= 1  # other minibatches: rounding at most
    backwards = made(assay, table.reverse(), seeds[::-1].copy()).astype(int)
    assert abs(backwards[::-1] - whole).max() <= 1
    assert (made(assay, table, seeds + 1) != whole).mean() > 0.5


def test_guidance_counts_and_changes_treated_images(assay):
    table = inline_requests({"perturbation": "ethanol", "dose_um": 3.0, "n": 4}, assay.vocabulary)
    seeds = image_seeds(table["image_id"], 0)
    ((plain, calls),) = assay.generate(table, seeds, Sampler(midpoint, 4))
    ((guided, twice),) = assay.generate(table, seeds, Sampler(midpoint, 4, guidance=Guidance(3.0)))
    assert (calls, twice) == (8, 16)
    assert (plain != guided).any()


def test_a_guide_is_the_average_of_its_moment_and_guides_away_from_it(assay, run, tmp_path):
    write_screen(tmp_path / "screen")
    short = VirtualAssay.load(train(tmp_path, "images_total=200", "optimizer.lr=3e-3"))
    guided = VirtualAssay.load(run, guide=True)
    assert assay.guide is None and guided.guide is not None  # a second network is loaded only for those who ask
    for early, kept in zip(short.network.parameters(), guided.guide.parameters(), strict=True):
        assert torch.equal(early, kept)
    table = inline_requests({"perturbation": "ethanol", "dose_um": 3.0, "n": 4}, assay.vocabulary)
    seeds = image_seeds(table["image_id"], 0)
    auto = Guidance(2.0, against="guide")
    ((plain, calls),) = guided.generate(table, seeds, Sampler(midpoint, 4))
    ((sharper, twice),) = guided.generate(table, seeds, Sampler(midpoint, 4, guidance=auto))
    assert (calls, twice) == (8, 16)
    assert (plain != sharper).any()
    itself = replace(guided, guide=guided.network)
    assert (made(itself, table, seeds, sampler=Sampler(heun, 3, guidance=auto)) == made(assay, table, seeds)).all()
    with pytest.raises(ValueError, match="guide_at"):
        list(assay.generate(table, seeds, Sampler(midpoint, 4, guidance=auto)))


def test_samples_are_a_dataset_folder_with_seeds_and_provenance(assay, run, tmp_path):
    dataset = open_dataset(run.parents[1] / "screen")
    requests = like_dataset(dataset, "test")
    root = write_samples(
        assay,
        requests,
        root=tmp_path / "made",
        sampler=Sampler(partial(heun), 2, cosine_grid),
        minibatch_size=32,
        seed=0,
    )
    again = open_dataset(root)
    assert len(again) == len(dataset.split("test"))
    assert again.info.provenance is not None and again.info.provenance["nfe"] == 4
    assert again.index["seed"].is_unique().all()
    wanted = dataset.split("test").index["treatment"].value_counts().sort("treatment")
    assert again.index["treatment"].value_counts().sort("treatment").equals(wanted)
    assert (root / "contact_sheet.png").exists()
    few = like_dataset(dataset, "test", most=3)
    assert few.height == 6 * 3


def test_requests_are_read_expanded_and_refused_by_name(assay, tmp_path):
    table = pl.DataFrame(
        {"perturbation": ["taxol", "DMSO"], "dose_um": [3.0, None], "batch": ["week1", "week2"], "n": [2, 3]}
    )
    table.write_csv(tmp_path / "r.csv")
    index = read_requests(tmp_path / "r.csv", assay.vocabulary)
    assert index.height == 5 and index["is_control"].to_list() == [False] * 2 + [True] * 3
    unseen = inline_requests({"smiles": "c1ccccc1O", "dose_um": [1.0, 3.0], "n": 1}, assay.vocabulary)
    assert made(assay, unseen, np.arange(2)).shape[0] == 2  # fingerprints: an unseen compound can be generated
    genes = inline_requests({"gene": ["TP53", "KRAS"], "batch": ["week1", "week2"], "n": 2}, assay.vocabulary)
    assert genes["perturbation"].to_list() == [[g] for g in ("TP53", "KRAS") for _ in range(4)]
    assert genes["gene"].to_list() == genes["perturbation"].to_list() and genes["batch"].n_unique() == 2
    with pytest.raises(InvalidIndex, match="gene has 1 entries and perturbation 2"):
        inline_requests({"perturbation": ["a", "b"], "gene": "TP53"}, assay.vocabulary)
    for bad, message in (
        (table.head(0), "empty"),
        (table.with_columns(colour=pl.lit(1)), "colour"),
        (table.drop("perturbation"), "perturbation"),
        (table.with_columns(n=pl.lit(0)), "'n'"),
        (table.with_columns(n=pl.lit("many")), "'n'"),
        (table.with_columns(dose_um=pl.lit("3 uM")), "dose_um"),
    ):
        with pytest.raises(InvalidIndex, match=message):
            expand(bad, assay.vocabulary, "r.csv")
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_requests(tmp_path / "none.csv", assay.vocabulary)
    strange = inline_requests({"perturbation": "unheard-of"}, assay.vocabulary)
    with pytest.raises(UnknownToModel, match="unheard-of"):
        made(assay, strange, np.arange(1))
