"""Real cells of one plate in the place of generated ones for another: what a perfect model and the trivial ones score.

BBBC021, week 4: cyclohexamide at three doses and taxol (few crops), each about one well a plate. The test split is one
plate of each set of replicates.
"""

from dataclasses import replace

import hydra
import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir

from virtassay.data.dataset.store import Dataset, open_dataset, write_dataset
from virtassay.evaluation.criteria import Criteria
from virtassay.evaluation.featurizers.features import PixelStatistics, Texture
from virtassay.evaluation.judge import assess
from virtassay.evaluation.judgement import CEILING, MODEL, POOLED
from virtassay.evaluation.metrics.pools import distances

FEATURIZERS = ("pixel_statistics", "texture")
CRITERIA = Criteria(
    featurizers={"pixels": PixelStatistics(), "texture": Texture()}, baselines={}, metrics={"distances": distances},
    resamples=100, repeats=2, max_images=150, max_controls=100, max_training=100,
)  # fmt: skip


@pytest.fixture(scope="module")
def crops(shared_data, repo, tmp_path_factory) -> Dataset:
    place = tmp_path_factory.mktemp("crops")
    with initialize_config_dir(version_base="1.3", config_dir=str(repo / "conf")):
        paths = [f"paths.data={shared_data / 'bbbc021'}", f"paths.datasets={place}"]
        hydra.utils.instantiate(compose("prepare", ["data=bbbc021_crops", *paths]).data.prepare)
    return open_dataset(place / "bbbc021_crops", verify=False)


def scores(crops, folder, images):
    """Judge `images` as what was generated for the treatments of the other plates' cells, in order."""
    treated = crops.where((pl.col("split") != "test") & ~pl.col("is_control"))
    rows = treated.index.drop("shard", "offset", "treatment").with_columns(split=pl.lit("generated"))
    info = replace(crops.info, name="generated", provenance=None)
    made = open_dataset(write_dataset(folder, info, images(treated), rows), verify=False)
    found = assess(crops, made, CRITERIA).rows
    return {(r["generator"], r["metric"], r["featurizer"]): r["value"] for r in found if r["stratum"] == POOLED}


def test_cells_of_another_plate_explain_the_effect_as_replicates_do(crops, tmp_path):
    found = scores(crops, tmp_path / "g", lambda treated: treated.images())
    for name in FEATURIZERS:
        ceiling = found[CEILING, "effect_explained", name]
        assert found[MODEL, "effect_explained", name] > 0.85 < ceiling
        assert abs(found[MODEL, "effect_explained", name] - ceiling) < 0.15


def test_copies_of_controls_explain_nothing(crops, tmp_path):
    controls = crops.where((pl.col("split") != "test") & pl.col("is_control"))
    drawn = np.random.default_rng(0).integers(0, len(controls), 10_000)
    found = scores(crops, tmp_path / "g", lambda treated: controls.images(drawn[: len(treated)]))
    for name in FEATURIZERS:
        assert found[MODEL, "effect_explained", name] < 0.1
        assert found[MODEL, "fd", name] > 10 * found[CEILING, "fd", name]


def test_shuffled_labels_are_seen_in_the_effects_and_not_in_fd(crops, tmp_path):
    """Cyclohexamide's doses resemble each other, so that labels matter less here than the drug does."""
    right = scores(crops, tmp_path / "right", lambda treated: treated.images())
    order = np.random.default_rng(0)
    wrong = scores(crops, tmp_path / "wrong", lambda treated: treated.images(order.permutation(len(treated))))
    assert (
        wrong[MODEL, "effect_explained", "pixel_statistics"]
        < right[MODEL, "effect_explained", "pixel_statistics"] - 0.1
    )
    assert wrong[MODEL, "pds", "texture"] < right[MODEL, "pds", "texture"] - 0.2
    assert wrong[MODEL, "fd", "texture"] < 2 * right[MODEL, "fd", "texture"]
