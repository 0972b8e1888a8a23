"""What brightness and cell count explain, of planted effects."""

import numpy as np
import pytest

from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset
from virtassay.evaluation import baselines
from virtassay.evaluation.evaluation_set import Limits
from virtassay.evaluation.featurizers.cells import CellStatistics
from virtassay.evaluation.featurizers.features import PixelStatistics
from virtassay.evaluation.metrics import explained
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
