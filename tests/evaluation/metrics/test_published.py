"""The published protocols are the distances that they name, and are given in Inception's features alone."""

import numpy as np
import pytest

from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset
from virtassay.evaluation import baselines
from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.evaluation_set import Limits
from virtassay.evaluation.featurizers import features
from virtassay.evaluation.metrics import distance
from virtassay.evaluation.metrics.published import cellflux2025, jones2026
from virtassay.evaluation.space import feature_space
from virtassay.evaluation.strata import build_evaluation_set


@pytest.fixture(scope="module")
def evaluation(real, tmp_path_factory):
    generated = open_dataset(toy.write(tmp_path_factory.mktemp("toy") / "oracle", toy.generated_plan(), 1))
    limits = Limits(repeats=1, max_images=100, max_controls=60, max_training=200)
    return build_evaluation_set(real, generated, limits)


def candidate(evaluation, generator=baselines.model):
    return Candidate(evaluation, [generator(evaluation, 0)], 100, is_model=True)


def there(evaluation, name="inception"):
    rows = np.arange(evaluation.n_images)
    return feature_space(name, evaluation, rows, features.PixelStatistics()(evaluation.images(rows)))


def pools(evaluation, draw, perturbation=None):
    kept = [s.name for s in evaluation.strata if perturbation in (None, s.perturbation)]
    return (np.sort(np.concatenate([getattr(draw[n], side) for n in kept])) for side in ("reference", "generated"))


@pytest.mark.parametrize("protocol", [jones2026, cellflux2025])
def test_they_are_given_in_inceptions_features_alone(evaluation, protocol):
    model = candidate(evaluation)
    assert protocol(model, there(evaluation, "texture")) == {}
    assert ("fid", "all") in protocol(model, there(evaluation))


def test_they_are_the_distances_that_they_name(evaluation):
    draw, of = baselines.model(evaluation, 0), there(evaluation)
    jones = jones2026(candidate(evaluation), of)
    cellflux = cellflux2025(candidate(evaluation), of)
    r, g = (of.raw[rows] for rows in pools(evaluation, draw))
    assert jones["fid", "all"].value == cellflux["fid", "all"].value == pytest.approx(distance.fd(r, g))
    kid = distance.kd_subsets(r, g).mean
    assert jones["kid_x1000", "all"].value == pytest.approx(1000 * kid)
    assert cellflux["kid_x100", "all"].value == pytest.approx(100 * kid)
    names = sorted({s.perturbation for s in evaluation.strata})
    each = [distance.fd(*(of.raw[rows] for rows in pools(evaluation, draw, name))) for name in names]
    assert cellflux["fid_c", "all"].value == pytest.approx(np.mean(each))
    assert cellflux["fid_c", "all"].lower < np.mean(each) < cellflux["fid_c", "all"].upper


def test_mechanisms_are_recognised_in_the_oracle_and_not_in_copies_of_controls(evaluation):
    of = there(evaluation)

    def accuracy(baseline):
        return cellflux2025(candidate(evaluation, baseline), of)["moa_accuracy", "all"].value

    assert accuracy(baselines.model) > 0.6 > 0.45 > accuracy(baselines.control_copy)  # chance is a third


def test_images_without_features_have_no_distance(evaluation):
    of = there(evaluation)
    draw = baselines.model(evaluation, 0)
    of.raw[next(iter(draw.values())).generated[0]] = np.nan
    assert all(np.isnan(score.value) for score in jones2026(candidate(evaluation), of).values())
