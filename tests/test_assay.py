"""VirtualAssay and sampling: seeds name images, requests are checked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.toy_screen import write_screen
from tests.training.test_runs import train
from virtassay.assay import VirtualAssay
from virtassay.flow.guidance import Guidance
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import heun, midpoint
from virtassay.generation.requests import image_seeds, inline_requests


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
