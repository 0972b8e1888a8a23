"""What is found of each treatment, and of its single cells, where the answer was planted."""

import numpy as np
import polars as pl
import pytest

from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset
from virtassay.evaluation import baselines
from virtassay.evaluation.evaluation_set import Limits
from virtassay.evaluation.featurizers.cells import CellStatistics
from virtassay.evaluation.featurizers.features import PixelStatistics
from virtassay.evaluation.metrics import explained, single_cells
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


def places(evaluation, there):
    """Place of every cell by treatment and side."""
    table = single_cells.single_cells(evaluation, baselines.model(evaluation, 0), there)
    parts = table.partition_by("treatment", "side", as_dict=True)
    return {key: part["place"].to_numpy() for key, part in parts.items()}


@pytest.mark.parametrize("strength", [0.0, 4.0])
def test_single_cells_lie_where_they_were_planted_and_real_ones_no_farther(evaluation, strength):
    """With every real image along a direction that it had a hand in, inactive treatments would lie at √(d/n), not 0."""
    cells = places(evaluation, planted(evaluation, strength=strength))
    assert len(cells) == 3 * len(toy.PERTURBATIONS)
    for side, expected in (("real", strength), ("generated", strength), ("control", 0.0)):
        each = [values.mean() for (_, of), values in cells.items() if of == side]
        assert np.mean(each) == pytest.approx(expected, abs=0.25 + 0.1 * expected)
    assert np.std(np.concatenate([v for (_, side), v in cells.items() if side == "control"])) == pytest.approx(
        1, abs=0.05
    )


def test_a_well_takes_no_part_in_the_direction_along_which_it_is_placed(evaluation):
    """Two wells that are shifted at random, each its own way, agree on no effect: they must not lie along one."""
    there = planted(evaluation, strength=0.0)
    rng = np.random.default_rng(1)
    for s in evaluation.strata:
        for well in np.unique(evaluation.well[s.real]):
            there.raw[s.real[evaluation.well[s.real] == well]] += rng.normal(size=D) * 2
    real = [values.mean() for (_, side), values in places(evaluation, there).items() if side == "real"]
    assert abs(np.mean(real)) < 1.5  # √8 · 2 / √2 = 4 if they took part


def test_cells_without_a_place_have_no_rows(evaluation):
    there = planted(evaluation)
    there.raw[evaluation.strata[0].generated[0]] = np.nan
    assert (evaluation.strata[0].treatment, "real") not in places(evaluation, there)
    there.raw[:] = 1.0
    assert places(evaluation, there) == {}


def asked(evaluation, featurizers=()):
    return explained.contrasts_of(evaluation, baselines.model(evaluation, 0), featurizers)


def test_contrasts_hold_both_sides_and_controls_of_their_batches(evaluation):
    contrasts = asked(evaluation)
    assert [c.side for c in contrasts] == ["real", "generated"] * len(toy.PERTURBATIONS)
    for c in contrasts:
        assert c.treated.sum() <= explained.IMAGES and (~c.treated).sum() <= explained.IMAGES
        assert set(c.batch[c.treated]) == set(c.batch[~c.treated]) == {0, 1}
        theirs = c.rows >= len(evaluation.real)
        assert (theirs == (c.treated & (c.side == "generated"))).all()
        assert len(np.unique(c.well[theirs])) == theirs.sum()
        images = evaluation.images(c.rows)
        np.testing.assert_allclose(c.confounders["brightness"], images.mean((2, 3)), rtol=1e-12)
        assert list(c.confounders) == ["brightness"]


def test_nuclei_are_counted_where_a_featurizer_counts_them(evaluation):
    counter = CellStatistics(diameter_px=4.0)
    for c in asked(evaluation, [PixelStatistics(), counter])[:2]:
        np.testing.assert_array_equal(c.confounders["cell count"][:, 0], counter(evaluation.images(c.rows))[:, 0])


def test_an_effect_that_is_brightness_is_explained_by_it_and_another_is_not(evaluation):
    contrasts = asked(evaluation)[:4]
    position = np.arange(evaluation.n_images)
    levels = evaluation.images(position).mean((2, 3))
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(len(position), D))
    bright = noise.copy()
    bright[:, :2] += levels / levels.std(0) * 5
    treated = np.isin(position, np.concatenate([np.concatenate([s.real, s.generated]) for s in evaluation.strata]))
    own = noise + 3 * treated[:, None] * np.eye(D)[0]
    for features in (bright, own):
        table = explained.explained(contrasts, feature_space("planted", evaluation, position, features))
        assert table.columns == list(explained.SCHEMA) and table.height == 4
        if features is bright:
            assert ((table["without"] - 0.5).abs() < 4 * table["null_sd"]).all()
            assert max(table["all"]) > 0.8 and (table["alone"] > table["all"] - 0.1).all()
        else:
            assert min(table["without"]) > 0.9 and min(table["all"]) > 0.9


def test_features_that_are_no_numbers_leave_the_question_open(evaluation):
    there = planted(evaluation)
    there.raw[:] = np.nan
    table = explained.explained(asked(evaluation)[:1], there)
    assert np.isnan(table["all"].item()) and np.isnan(table["without"].item())
