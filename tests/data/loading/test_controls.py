"""Controls come from the batch of their image."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.toy_screen import write_screen
from virtassay.data.dataset.rows import Rows
from virtassay.data.dataset.store import open_dataset
from virtassay.data.loading.controls import ControlPool, Controls
from virtassay.schema import InvalidIndex


def test_controls_are_of_the_same_batch_and_all_of_them_come_up():
    rng = np.random.default_rng(0)
    batch = rng.choice(["a", "b", "c"], 90)
    index = pl.DataFrame({"batch": batch, "is_control": rng.random(90) < 0.3})
    controls = Controls.of(Rows.of(index), "x")
    rows = np.arange(90)
    drawn = np.stack([controls.draw(rows, np.random.default_rng(i)) for i in range(200)])
    assert (batch[drawn] == batch[rows]).all()
    assert index["is_control"].to_numpy()[drawn].all()
    assert set(drawn.flat) == set(np.flatnonzero(index["is_control"].to_numpy()))


def test_a_control_is_not_told_itself():
    index = pl.DataFrame({"batch": ["a"] * 5 + ["b"] * 2, "is_control": [True, True, True, False, False, True, False]})
    controls = Controls.of(Rows.of(index), "x")
    rows = np.tile(np.arange(7)[:, None], (1, 300))
    drawn = controls.draw(rows, np.random.default_rng(0))
    for row, others in {0: {1, 2}, 1: {0, 2}, 2: {0, 1}, 3: {0, 1, 2}, 5: {5}, 6: {5}}.items():
        assert set(drawn[row]) == others, row  # the only control of a batch has none but itself


def test_a_pool_draws_controls_of_the_batch_by_the_images_own_seed(tmp_path: Path):
    pool = ControlPool.of(open_dataset(write_screen(tmp_path / "screen")), "train")
    batches, seeds = ["week1", "week2", "week1"], np.array([4, 5, 6])
    drawn = pool.draw(batches, seeds, 5)
    of = pool.controls.index["batch"].to_numpy()
    assert (of[drawn] == np.array(batches)[:, None]).all() and pool.controls.index["is_control"].all()
    assert all(len(set(row)) == 5 for row in drawn)
    assert np.array_equal(pool.draw(batches[2:], seeds[2:], 5), drawn[2:])
    assert np.array_equal(pool.draw(batches, seeds, 2), drawn[:, :2]), "more of them begin with the same"
    assert pool.draw(batches[:1], seeds[:1], 99).shape == (1, 99), "and are repeated where there are fewer"
    with pytest.raises(InvalidIndex, match=r"\(train split\): no control images of batch\(es\) \['week3'\]"):
        pool.draw(["week3"], np.array([1]), 1)


def test_a_batch_without_controls_is_named():
    index = pl.DataFrame({"batch": ["a", "a", "week7"], "is_control": [True, False, False]})
    with pytest.raises(InvalidIndex, match="week7"):
        Controls.of(Rows.of(index), "x")
