"""Units of the feature space, and sides that are prepared once."""

import numpy as np
import pytest

from virtassay.evaluation.space import feature_space


def test_features_are_in_units_of_the_controls_spread_within_a_batch(laid_out, pixels):
    parts = [pixels.of(parts.all) for parts in laid_out.controls[0].values()]
    squares = sum(np.square(x - x.mean(0)).sum(0) for x in parts)
    spread = np.sqrt(squares / sum(len(x) - 1 for x in parts))
    assert (spread <= 1 + 1e-9).all() and spread.max() == pytest.approx(1)
    rows = laid_out.strata[0].real
    assert pixels.of(rows) * pixels.scale == pytest.approx(pixels.raw_of(rows))


def test_a_constant_feature_is_counted_and_stays_as_it_is(laid_out):
    rows = np.arange(laid_out.n_images)
    features = np.random.default_rng(0).normal(size=(len(rows), 3))
    features[:, 1] = 5.0
    space = feature_space("mine", laid_out, rows, features)
    assert space.n_constant == 1 and (space.of(rows)[:, 1] == 5.0).all()


def test_a_side_that_recurs_is_prepared_once(laid_out, pixels):
    rows = laid_out.strata[0].real
    assert pixels.side(rows, 10, True) is pixels.side(rows, 10, True)
    assert pixels.side(rows, 11, False) is not pixels.side(rows, 11, False)
