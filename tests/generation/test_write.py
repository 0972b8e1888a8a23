"""Generated folders: datasets with the seed and the control of each image, and where they come from."""

from functools import partial
from pathlib import Path

import pytest

from tests.toy_screen import write_screen
from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import open_dataset
from virtassay.data.loading.controls import ControlPool
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import heun
from virtassay.flow.time import cosine_grid
from virtassay.generation.requests import inline_requests, like_dataset
from virtassay.generation.write import write_samples

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_format_1"  # of the screen of write_screen


@pytest.fixture(scope="module")
def assay() -> VirtualAssay:
    return VirtualAssay.load(FIXTURE)


def test_samples_are_a_dataset_folder_with_seeds_and_provenance(assay, tmp_path):
    dataset = open_dataset(write_screen(tmp_path / "screen"))
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


def test_a_counterfactual_folder_names_its_cells(assay, tmp_path):
    pool = ControlPool.of(open_dataset(write_screen(tmp_path / "screen")), "train")
    treated = inline_requests({"perturbation": "taxol", "dose_um": 3.0, "batch": "week1", "n": 4}, assay.vocabulary)
    root = write_samples(
        assay, treated, root=tmp_path / "made", sampler=Sampler(heun, 3),
        controls=pool, counterfactual=True, minibatch_size=2, seed=0,
    )  # fmt: skip
    folder = open_dataset(root)
    assert folder.index["control_id"].is_in(pool.controls.index["image_id"].implode()).all()
    provenance = folder.info.provenance or {}
    assert provenance["counterfactual"] and provenance["nfe"] == 12 and "train split" in provenance["controls"]
