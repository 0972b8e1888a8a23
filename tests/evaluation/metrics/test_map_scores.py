"""Compounds find the genes that they act on, in a screen where each compound does what the loss of one gene does."""

from functools import partial

import numpy as np
import polars as pl
import pytest

from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset
from virtassay.evaluation.criteria import Criteria
from virtassay.evaluation.featurizers.features import PixelStatistics
from virtassay.evaluation.judge import assess
from virtassay.evaluation.judgement import MODEL, POOLED
from virtassay.evaluation.metrics.map_scores import on_target, related

GENES, COMPOUNDS = ([f"{kind}{i}" for i in range(24)] for kind in ("GENE", "drug"))  # 20 others, and some more


def draw(perturbation, batch, well, n, rng, right=True):
    """As toy.draw: drug3 does what the loss of GENE3 does; where the compounds are not right, of GENE10."""
    number = None if perturbation == "DMSO" else int("".join(c for c in perturbation if c.isdigit()))
    if perturbation in COMPOUNDS and not right:
        number = (int(number or 0) + 7) % len(GENES)
    weight = np.ones(4) if number is None else np.exp(np.random.default_rng([number, 8]).normal(0, 0.5, 4))
    gain = np.random.default_rng([toy.BATCHES.index(batch), 1]).normal(1, 0.05, 2)
    grain = rng.normal(size=(n, 2, 16, 16))
    smooth = np.repeat(np.repeat(rng.normal(size=(n, 2, 4, 4)), 4, 2), 4, 3)
    level = 60 * weight[:2] * gain * np.exp(rng.normal(0, 0.05, (n, 2)))
    images = level[:, :, None, None] * (1 + 0.3 * smooth) + 10 * weight[2:, None, None] * grain
    return images.clip(0, 255).round().astype(np.uint8)


def screen(root, right=True, split=None):
    plan = []
    for batch in toy.BATCHES[:1]:
        for i, name in enumerate([*GENES, *COMPOUNDS]):
            plan += [(name, batch, 4 * i + j, split or ("train", "test", "test")[j], 6) for j in range(3)]
        if split is None:
            plan += [("DMSO", batch, 500 + j, ("train", "test")[j % 2], 10) for j in range(8)]
    return open_dataset(toy.write(root, plan, seed=int(right), image=partial(draw, right=right)))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("targets") / "targets.csv"
    pl.DataFrame({"compound": COMPOUNDS, "gene": GENES}).write_csv(path)
    return path


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return screen(tmp_path_factory.mktemp("real") / "real")


def scores(real, made, known):
    metrics = {"on": partial(on_target, known=known), "related": partial(related, pairs={"targets": known})}
    criteria = Criteria(
        featurizers={"pixels": PixelStatistics()}, baselines={}, metrics=metrics,
        resamples=100, repeats=1, max_images=40, max_controls=40, max_training=10,
    )  # fmt: skip
    found = assess(real, made, criteria).rows
    return {row["metric"]: row for row in found if row["generator"] == MODEL and row["stratum"] == POOLED}


@pytest.fixture(scope="module")
def right(real, table, tmp_path_factory):
    return scores(real, screen(tmp_path_factory.mktemp("right") / "right", split="generated"), table)


def test_compounds_that_act_on_their_genes_find_them_and_others_do_not(right, real, table, tmp_path):
    wrong = scores(real, screen(tmp_path / "wrong", right=False, split="generated"), table)
    assert right["compound_gene_auc"]["value"] > 0.95
    assert right["compound_gene_ap"]["value"] > 0.8
    assert abs(wrong["compound_gene_auc"]["value"] - 0.5) < 0.15
    assert right["compound_gene_auc"]["lower"] <= right["compound_gene_auc"]["value"]
    assert right["compound_gene_auc"]["lower"] > wrong["compound_gene_auc"]["upper"]
    assert right["compound_gene_ap"]["fingerprint"]["pairs"] == 24
    assert right["compound_gene_ap"]["fingerprint"]["chance"] == pytest.approx(1 / 21)
    assert right["relation_recall:targets"]["value"] > 0.8 > 0.3 > wrong["relation_recall:targets"]["value"]


def test_concordance_has_an_interval_that_holds_it(right):
    found = right["map_concordance"]
    assert 0.7 < found["lower"] < found["value"] < found["upper"] < 1.1


def test_a_table_of_strangers_is_refused(real, tmp_path):
    path = tmp_path / "targets.csv"
    pl.DataFrame({"compound": ["aspirin"], "gene": ["PTGS1"]}).write_csv(path)
    with pytest.raises(ValueError, match=r"none of 1 pairs are two perturbations of the map.*aspirin"):
        scores(real, screen(tmp_path / "made", split="generated"), path)
