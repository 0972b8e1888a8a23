"""The published protocols are the distances that they name, and are given in Inception's features alone."""

import numpy as np
import pytest

from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset
from virtassay.evaluation import baselines, strata
from virtassay.evaluation.featurizers import features
from virtassay.evaluation.measure.published import cellflux2025, jones2026
from virtassay.evaluation.measure.space import space
from virtassay.evaluation.metrics import distance


@pytest.fixture(scope="module")
def world(real, tmp_path_factory):
    generated = open_dataset(toy.write(tmp_path_factory.mktemp("toy") / "oracle", toy.generated_plan(), 1))
    limits = {"max_images": 100, "max_controls": 60, "max_training": 200, "max_memory": 0}
    return strata.build(real, generated, split="test", seed=0, draws=1, **limits)


def there(world, name="inception"):
    rows = np.arange(world.n_images)
    return space(name, world, rows, features.PixelStatistics()(world.images(rows)))


def pools(world, draw, perturbation=None):
    kept = [s.name for s in world.strata if perturbation in (None, s.perturbation)]
    return (np.sort(np.concatenate([getattr(draw[n], side) for n in kept])) for side in ("reference", "generated"))


@pytest.mark.parametrize("protocol", [jones2026, cellflux2025])
def test_they_are_given_in_inceptions_features_alone(world, protocol):
    draws = [baselines.model(world, 0)]
    assert protocol("model", draws, world, there(world, "texture"), 100) == {}
    assert ("fid", "all") in protocol("model", draws, world, there(world), 100)


def test_they_are_the_distances_that_they_name(world):
    draw, of = baselines.model(world, 0), there(world)
    jones = jones2026("model", [draw], world, of, 100)
    cellflux = cellflux2025("model", [draw], world, of, 100)
    r, g = (of.raw[rows] for rows in pools(world, draw))
    assert jones["fid", "all"].value == cellflux["fid", "all"].value == pytest.approx(distance.fd(r, g))
    kid = distance.kd_subsets(r, g).mean
    assert jones["kid_x1000", "all"].value == pytest.approx(1000 * kid)
    assert cellflux["kid_x100", "all"].value == pytest.approx(100 * kid)
    names = sorted({s.perturbation for s in world.strata})
    each = [distance.fd(*(of.raw[rows] for rows in pools(world, draw, name))) for name in names]
    assert cellflux["fid_c", "all"].value == pytest.approx(np.mean(each))
    assert cellflux["fid_c", "all"].lower < np.mean(each) < cellflux["fid_c", "all"].upper


def test_mechanisms_are_recognised_in_the_oracle_and_not_in_copies_of_controls(world):
    of = there(world)

    def accuracy(baseline):
        return cellflux2025("model", [baseline(world, 0)], world, of, 100)["moa_accuracy", "all"].value

    assert accuracy(baselines.model) > 0.6 > 0.45 > accuracy(baselines.control_copy)  # chance is a third


def test_images_without_features_have_no_distance(world):
    of = there(world)
    draw = baselines.model(world, 0)
    of.raw[next(iter(draw.values())).generated[0]] = np.nan
    assert all(np.isnan(score.value) for score in jones2026("model", [draw], world, of, 100).values())
