"""Requests: read, expanded, made like a dataset, and refused by name."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.toy_screen import write_screen
from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import open_dataset
from virtassay.data.loading.vocabulary import UnknownToModel
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import heun
from virtassay.generation.requests import expand, inline_requests, like_dataset, read_requests
from virtassay.schema import InvalidIndex

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_format_1"  # of the screen of write_screen


@pytest.fixture(scope="module")
def assay() -> VirtualAssay:
    return VirtualAssay.load(FIXTURE)


def painted(assay: VirtualAssay, requests: pl.DataFrame) -> np.ndarray:
    parts = assay.generate(requests, np.arange(requests.height), Sampler(heun, 3))
    return np.concatenate([images for images, _ in parts])


def test_requests_are_read_expanded_and_refused_by_name(assay, tmp_path):
    table = pl.DataFrame(
        {"perturbation": ["taxol", "DMSO"], "dose_um": [3.0, None], "batch": ["week1", "week2"], "n": [2, 3]}
    )
    table.write_csv(tmp_path / "r.csv")
    index = read_requests(tmp_path / "r.csv", assay.vocabulary)
    assert index.height == 5 and index["is_control"].to_list() == [False] * 2 + [True] * 3
    unseen = inline_requests({"smiles": "c1ccccc1O", "dose_um": [1.0, 3.0], "n": 1}, assay.vocabulary)
    assert painted(assay, unseen).shape[0] == 2  # fingerprints: an unseen compound can be generated
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
        painted(assay, strange)


def test_a_split_is_asked_for_image_by_image_or_at_most_so_many_of_each_stratum(tmp_path):
    dataset = open_dataset(write_screen(tmp_path / "screen"))
    assert like_dataset(dataset, "test").height == len(dataset.split("test"))
    few = like_dataset(dataset, "test", most=3)
    assert few.height == 6 * 3
