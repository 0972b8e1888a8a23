import numpy as np
import pytest

from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset
from virtassay.evaluation.evaluation_set import Limits
from virtassay.evaluation.featurizers.features import PixelStatistics
from virtassay.evaluation.space import feature_space
from virtassay.evaluation.strata import build_evaluation_set


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    return open_dataset(toy.write(tmp_path_factory.mktemp("toy") / "real", toy.real_plan()))


@pytest.fixture(scope="session")
def laid_out(real, tmp_path_factory):
    """The evaluation set of other images of the toy's own treatments."""
    generated = open_dataset(toy.write(tmp_path_factory.mktemp("laid_out") / "oracle", toy.generated_plan(), 1))
    return build_evaluation_set(real, generated, Limits(repeats=2, max_images=100, max_controls=60, max_training=60))


@pytest.fixture(scope="session")
def pixels(laid_out):
    """The brightness of all its images."""
    rows = np.arange(laid_out.n_images)
    return feature_space("pixel_statistics", laid_out, rows, PixelStatistics()(laid_out.images(rows)))
