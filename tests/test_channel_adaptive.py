"""One model for screens with different channels: train on both, resume, and generate any channels in any order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from tests.test_profiles import run
from tests.toy_screen import train_overrides, write_screen
from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import open_dataset
from virtassay.data.loading.controls import ControlPool
from virtassay.data.loading.vocabulary import UnknownToModel
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import midpoint
from virtassay.generation.requests import inline_requests
from virtassay.run_folder import build

TINY = ("network.depth=2", "network.width=16", "network.heads=2", "network.patch=4", "optimizer.lr=3e-3")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with screens a (DNA, actin, tubulin) and b (ER, DNA)."""
    folder = tmp_path_factory.mktemp("adaptive")
    write_screen(folder / "a", channels=("DNA", "actin", "tubulin"))
    write_screen(folder / "b", 4, channels=("ER", "DNA"), batches=("week3", "week4"))
    return folder


def train(place: Path, *overrides: str, name: str, on: str = "ab", network: str = "channel_dit_ti") -> Path:
    """Train a tiny network on some of the screens."""
    plain = [key for key in train_overrides(place) if not key.startswith(("network", "data.folder", "name="))]
    folders = ",".join(str(place / one) for one in on)
    run("train", *plain, f"network={network}", *TINY, f"loader.folder=[{folders}]", f"name={name}", *overrides)
    return place / "runs" / name


@pytest.fixture(scope="module")
def trained(place) -> Path:
    length = ("images_total=400", "fit.validate_every_images=200")
    return train(place, *length, "loader.channel_subsets=true", name="both")


@pytest.fixture(scope="module")
def assay(trained) -> VirtualAssay:
    return VirtualAssay.load(trained)


def painted(assay: VirtualAssay, channels: list[str] | None, **options) -> np.ndarray:
    table = inline_requests({"perturbation": "taxol", "dose_um": 3.0, "batch": "week1", "n": 3}, assay.vocabulary)
    parts = assay.generate(table, np.arange(3), Sampler(midpoint, 2), channels=channels, **options)
    return np.concatenate([images for images, _ in parts])


def test_a_run_on_two_screens_knows_all_channels_and_draws_both(trained, assay):
    assert assay.vocabulary.channels == ("DNA", "actin", "tubulin", "ER")
    assert assay.vocabulary.batches == ("week1", "week2", "week3", "week4")
    pictures = sorted(path.relative_to(trained / "samples").as_posix() for path in trained.glob("samples/*/*.png"))
    assert pictures == [f"{name}/0000000{images}.png" for name in ("1_a", "2_b") for images in (200, 400)]
    metrics = pl.read_csv(trained / "metrics.csv")
    assert set(metrics["name"]) >= {"train/loss", "val/loss", "val/swap_gain", "val/swap_z", "val/swap_cosine"}


def test_a_resumed_run_equals_one_that_was_not_stopped_to_the_bit(place):
    whole = train(place, name="whole")
    train(place, "images_total=40", name="halves")
    halves = train(place, "resume=true", name="halves")
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, halves))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_channel_is_painted_the_same_wherever_it_stands(assay):
    images = painted(assay, ["DNA", "actin", "tubulin", "ER"])
    assert images.shape == (3, 4, 12, 12) and np.array_equal(images, painted(assay, None))
    backwards = painted(assay, ["ER", "tubulin", "actin", "DNA"])[:, ::-1].astype(int)
    assert abs(backwards - images).max() <= 1  # rounding at most
    some = painted(assay, ["ER", "actin"])  # which no screen showed together
    assert some.shape == (3, 2, 12, 12) and some.std() > 1


@pytest.mark.parametrize(
    ("channels", "said"), [(["DNA", "lysosome"], r"not \['lysosome'\]"), (["DNA", "DNA"], "each once"), ([], "some of")]
)
def test_channels_that_the_model_does_not_know_are_named(assay, channels, said):
    with pytest.raises(UnknownToModel, match=said):
        painted(assay, channels)


def test_samples_of_a_subset_are_a_dataset_with_those_channels(trained, place):
    request = ("perturbation=taxol", "dose_um=3.0", "batch=week1", "n=4", "steps=2", "device=cpu")
    run("sample", f"run={trained}", f"out={place / 'subset'}", "channels=[ER,DNA]", *request)
    made = open_dataset(place / "subset")
    assert made.info.channels == ("ER", "DNA") and made.images().shape == (4, 2, 12, 12)
    run("sample", f"run={trained}", f"out={place / 'one'}", "channels=actin", *request)
    assert open_dataset(place / "one").info.channels == ("actin",)
    run("sample", f"run={trained}", f"out={place / 'all'}", *request)
    assert open_dataset(place / "all").info.channels == ("DNA", "actin", "tubulin", "ER")


def test_images_like_those_of_a_dataset_show_its_channels(trained, place):
    options = (f"run={trained}", f"out={place / 'like'}", "like=test", "most=2", "steps=2", "device=cpu")
    with pytest.raises(ValueError, match=r"trained on several folders, .*say by dataset="):
        run("sample", *options)
    run("sample", *options, f"dataset={place / 'b'}")
    made = open_dataset(place / "like")
    assert made.info.channels == ("ER", "DNA") and set(made.index["batch"]) == {"week3", "week4"}


def test_flows_from_controls_begin_at_the_channels_asked_for(place):
    of_controls = VirtualAssay.load(train(place, "source=control", name="controls"))
    pool = ControlPool.of(open_dataset(place / "a"), "train")
    still = replace(of_controls, network=build(of_controls.config["network"]))  # untrained: a velocity of zero
    begun = painted(still, ["tubulin", "DNA"], controls=pool)
    drawn = pool.draw(["week1"] * 3, np.arange(3), 1)[:, 0]
    assert np.array_equal(begun, pool.controls.images(drawn)[:, [2, 0]])
    assert (painted(of_controls, ["tubulin", "DNA"], controls=pool) != begun).any()
    with pytest.raises(ValueError, match=r"show \['DNA', 'actin', 'tubulin'\], and \['ER'\] too are needed"):
        painted(of_controls, ["ER"], controls=pool)


def test_given_cells_are_shown_treated_in_the_channels_asked_for(assay, place):
    pool = ControlPool.of(open_dataset(place / "b"), "train")
    table = inline_requests({"perturbation": "taxol", "dose_um": 3.0, "batch": "week3", "n": 2}, assay.vocabulary)
    options = {"sampler": Sampler(midpoint, 2), "channels": ["ER"], "controls": pool, "counterfactual": True}
    ((images, _),) = assay.generate(table, np.arange(2), **options)
    assert images.shape == (2, 1, 12, 12)


def test_a_set_of_controls_is_read_in_all_channels_whatever_is_painted(place):
    sets = ("condition=morgan_controls", "condition.width=16", "condition.control_set.images=2")
    told = VirtualAssay.load(train(place, *sets, "loader.channel_subsets=true", name="told", on="a"))
    pool = ControlPool.of(open_dataset(place / "a"), "train")
    assert painted(told, ["tubulin"], controls=pool).shape == (3, 1, 12, 12)
    with pytest.raises(ValueError, match="choose condition=morgan or onehot"):
        train(place, *sets, name="refused")


def test_networks_of_fixed_channels_are_refused_at_the_start(place):
    with pytest.raises(ValueError, match=r"choose network=channel_dit_s"):
        train(place, name="fixed", network="dit_ti")
    with pytest.raises(ValueError, match=r"loader\.channel_subsets=false"):
        train(place, "loader.channel_subsets=true", name="fixed", network="dit_ti", on="a")
    assert not (place / "runs" / "fixed").exists()
    write_screen(place / "c", channels=("DNA", "actin", "tubulin"), batches=("week8", "week9"))
    same = VirtualAssay.load(train(place, name="same", network="dit_ti", on="ac"))
    assert same.vocabulary.channels == ("DNA", "actin", "tubulin") and len(same.vocabulary.batches) == 4
    with pytest.raises(ValueError, match="this model paints the channels"):
        painted(same, ["DNA"])


def test_a_run_on_one_folder_is_the_same_in_a_list(place):
    listed = train(place, name="listed", on="a")
    alone = train(place, f"data.folder={place / 'a'}", "loader.folder=${data.folder}", name="alone", on="")
    assert VirtualAssay.load(alone).folder == VirtualAssay.load(listed).folder == str(place / "a")
    one, other = (load_file(folder / "model.safetensors") for folder in (alone, listed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not list((alone / "samples").glob("*/*.png")), "pictures of one folder need none of their own"
