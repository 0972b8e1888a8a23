"""What arrays are refused."""

import numpy as np
import pytest

from virtassay.evaluation.metrics.checks import check_same_width, image_features


def test_a_column_must_have_a_value_for_each_image():
    assert image_features("real images", [[1, 2]], ["a"]).dtype == np.float64
    with pytest.raises(ValueError, match="features of real images have shape"):
        image_features("real images", np.zeros((2, 3)), ["a"])
    with pytest.raises(ValueError, match="expected"):
        image_features("real images", np.zeros(3))


def test_sides_must_have_the_same_width():
    check_same_width(np.zeros((2, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="the same d"):
        check_same_width(np.zeros((2, 3)), np.zeros((2, 4)))
