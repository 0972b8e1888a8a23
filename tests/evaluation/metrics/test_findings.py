"""What is found of each treatment, and of its single cells, where the answer was planted."""

import numpy as np
import polars as pl
import pytest

from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset
from virtassay.evaluation import baselines
from virtassay.evaluation.evaluation_set import Limits
from virtassay.evaluation.metrics.findings import findings
from virtassay.evaluation.space import feature_space
from virtassay.evaluation.strata import build_evaluation_set

D = 8
LIMITS = Limits(repeats=1, max_images=100, max_controls=60, max_training=60)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    real = open_dataset(toy.write(root / "real", toy.real_plan(40)))
    generated = open_dataset(toy.write(root / "generated", toy.generated_plan(60), 1))
    return build_evaluation_set(real, generated, LIMITS)


def planted(evaluation, moved=lambda effect: effect, spread=1.0, strength=4.0):
    """Features that are normal noise; a treatment moves its own feature by `strength`, and images of it by `moved`."""
    rows = np.arange(evaluation.n_images)
    x = np.random.default_rng(0).normal(size=(len(rows), D))
    for s in evaluation.strata:
        effect = strength * np.eye(D)[toy.PERTURBATIONS.index(s.perturbation)]
        x[s.real] += effect
        x[s.generated] = spread * x[s.generated] + moved(effect)
    return feature_space("planted", evaluation, rows, x)


def found(evaluation, there):
    return findings(evaluation, baselines.model(evaluation, 0), there)


@pytest.mark.parametrize(
    ("moved", "spread", "slope", "direction", "ratio"),
    [
        (lambda e: e, 1.0, 1.0, 1.0, 1.0),
        (lambda e: 0.5 * e, 1.0, 0.5, 1.0, 1.0),
        (lambda e: 2 * e, 0.5, 2.0, 1.0, 0.25),
        (lambda e: -e, 1.0, -1.0, -1.0, 1.0),
        (lambda e: np.roll(e, 1), 1.0, 0.0, 0.0, 1.0),
    ],
)
def test_strength_direction_and_spread_are_what_was_planted(evaluation, moved, spread, slope, direction, ratio):
    table = found(evaluation, planted(evaluation, moved, spread))
    assert table["treatment"].to_list() == [f"{p} 1 µM" for p in toy.PERTURBATIONS] and table["clear"].all()
    for column, value, error in (
        ("slope", slope, 0.15),
        ("direction", direction, 0.1),
        ("variance_ratio", ratio, 0.25),
    ):
        np.testing.assert_allclose(table[column], value, atol=error)
    # another's effect: that one is nearest, and the own among the four others by chance, so 1 − (1 + 2)/5 ± 0.12
    expected, error = {1.0: (1.0, 0.0), -1.0: (0.0, 0.1)}.get(direction, (0.4, 0.3))
    assert table["pds"].mean() == pytest.approx(expected, abs=error)


def test_rare_cells_are_those_beyond_the_controls_tail(evaluation):
    table = found(evaluation, planted(evaluation, moved=lambda e: 0 * e, strength=8.0))
    assert min(table["real_rare"]) > 0.9 and max(table["generated_rare"]) < 0.15


def test_where_nothing_happens_there_is_nothing_to_be_right_about(evaluation):
    table = found(evaluation, planted(evaluation, strength=0.0))
    assert np.mean(table["clear"].to_numpy()) <= 0.5
    unclear = table.filter(~pl.col("clear"))
    assert np.isnan(unclear.select("slope", "direction", "pds").to_numpy()).all()


def test_no_generated_effect_has_no_direction_but_a_strength_of_none(evaluation):
    table = found(evaluation, planted(evaluation, moved=lambda e: 0 * e))
    np.testing.assert_allclose(table["slope"], 0, atol=0.15)
    assert np.isnan(table["direction"].to_numpy()).mean() >= 0.5


def test_features_that_are_no_numbers_and_missing_images_are_not_measured(evaluation):
    there = planted(evaluation)
    there.raw[evaluation.strata[0].generated] = np.nan  # in both batches of the treatment
    there.raw[next(s for s in evaluation.strata[1:] if s.treatment == evaluation.strata[0].treatment).generated] = (
        np.nan
    )
    table = found(evaluation, there)
    bad = pl.col("treatment") == evaluation.strata[0].treatment
    assert table.filter(bad)["clear"].item()
    assert np.isnan(table.filter(bad).select("slope", "direction").to_numpy()).all()
    assert np.isfinite(table.filter(~bad).select("slope", "direction", "pds").to_numpy()).all()
