"""Random networks."""

import numpy as np
import pytest

from virtassay.evaluation.featurizers.untrained import UntrainedNetwork


def noise(n=5, channels=3, size=16, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (n, channels, size, size)).astype(dtype)


def test_seeds_stand_side_by_side_and_differ():
    both, first, second = (UntrainedNetwork(seeds=seeds)(noise()) for seeds in ((3, 7), (3,), (7,)))
    np.testing.assert_allclose(both, np.concatenate([first, second], 1), atol=1e-6)
    assert np.abs(first - second).max() > 0.01
    with pytest.raises(ValueError, match="each once"):
        UntrainedNetwork(seeds=(1, 1))
