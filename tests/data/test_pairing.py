"""Minibatches are functions of (seed, step); controls come from the batch of their image."""

import numpy as np
import polars as pl
import pytest

from virtassay.data.pairing import Controls, MinibatchOrder
from virtassay.schema import InvalidIndex


def test_an_epoch_sees_each_image_once_whatever_the_number_of_parts():
    whole = MinibatchOrder(n=50, minibatch_size=8, parts=1, seed=3)
    parted = MinibatchOrder(n=50, minibatch_size=8, parts=4, seed=3)
    seen = np.concatenate([whole.rows(step, 0) for step in range(25)])  # 200 images: four epochs
    for epoch in range(4):
        assert sorted(seen[50 * epoch : 50 * (epoch + 1)]) == list(range(50))
    assert not np.array_equal(seen[:50], seen[50:100])
    for step in (0, 6, 24):  # step 6 ends one epoch and begins the next
        assert np.array_equal(np.concatenate([parted.rows(step, part) for part in range(4)]), whole.rows(step, 0))


def test_a_minibatch_that_cannot_be_shared_equally_is_refused():
    with pytest.raises(ValueError, match="cannot be shared equally by 3"):
        MinibatchOrder(n=50, minibatch_size=8, parts=3, seed=0)


def test_controls_are_of_the_same_batch_and_all_of_them_come_up():
    rng = np.random.default_rng(0)
    batch = rng.choice(["a", "b", "c"], 90)
    index = pl.DataFrame({"batch": batch, "is_control": rng.random(90) < 0.3})
    controls = Controls.of(index, "x")
    rows = np.arange(90)
    drawn = np.stack([controls.draw(rows, np.random.default_rng(i)) for i in range(200)])
    assert (batch[drawn] == batch[rows]).all()
    assert index["is_control"].to_numpy()[drawn].all()
    assert set(drawn.flat) == set(np.flatnonzero(index["is_control"].to_numpy()))


def test_a_batch_without_controls_is_named():
    index = pl.DataFrame({"batch": ["a", "a", "week7"], "is_control": [True, False, False]})
    with pytest.raises(InvalidIndex, match="week7"):
        Controls.of(index, "x")
