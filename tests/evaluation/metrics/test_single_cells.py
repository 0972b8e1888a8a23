"""Single cells along planted effects."""

import numpy as np
import pytest

from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset
from virtassay.evaluation import baselines
from virtassay.evaluation.evaluation_set import Limits
from virtassay.evaluation.metrics import single_cells
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
