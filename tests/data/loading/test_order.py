"""Minibatches are functions of (seed, step): each image once an epoch, or balanced, or shuffled within few shards."""

from functools import partial

import numpy as np
import pytest

from virtassay.data.loading.order import JoinedOrder, MinibatchOrder, images_per_group
from virtassay.flow.coupling import exact, independent
from virtassay.schema import InvalidIndex

SHARD = np.random.default_rng(5).permutation(np.repeat([0, 1, 2, 3, 4, 6], [10, 7, 13, 1, 9, 10]))  # 5 is of others


def epochs(order: MinibatchOrder, n: int) -> np.ndarray:
    """The first n epochs, (n, order.n): of an order whose minibatch divides them."""
    steps = n * order.n // order.minibatch_size
    return np.concatenate([order.rows(step, 0) for step in range(steps)]).reshape(n, order.n)


def test_an_epoch_sees_each_image_once_whatever_the_number_of_parts():
    whole = MinibatchOrder(n=50, minibatch_size=8, parts=1, seed=3)
    parted = MinibatchOrder(n=50, minibatch_size=8, parts=4, seed=3)
    seen = np.concatenate([whole.rows(step, 0) for step in range(25)])  # 200 images: four epochs
    for epoch in range(4):
        assert sorted(seen[50 * epoch : 50 * (epoch + 1)]) == list(range(50))
    assert not np.array_equal(seen[:50], seen[50:100])
    for step in (0, 6, 24):  # step 6 ends one epoch and begins the next
        assert np.array_equal(np.concatenate([parted.rows(step, part) for part in range(4)]), whole.rows(step, 0))


@pytest.mark.parametrize("per_group", [2, 4])
def test_images_of_a_group_stand_together_and_an_epoch_still_sees_each_once(per_group: int):
    group = np.repeat(np.arange(6), [16, 9, 4, 3, 1, 31])
    order = MinibatchOrder(n=64, minibatch_size=8, parts=1, seed=1, group=group, per_group=per_group)
    epochs = np.stack([np.concatenate([order.rows(8 * e + step, 0) for step in range(8)]) for e in range(2)])
    assert all(sorted(rows) == list(range(64)) for rows in epochs)
    assert not np.array_equal(*epochs)
    neighbours = (group[epochs[0][:-1]] == group[epochs[0][1:]]).mean()
    assert neighbours > 0.9 * (1 - 1 / per_group), "at random it would be a third"
    assert len(np.unique(group[epochs[0][:16]])) > 1, "but groups are mixed"
    parted = MinibatchOrder(n=64, minibatch_size=8, parts=2, seed=1, group=group, per_group=per_group)
    assert np.array_equal(np.concatenate([parted.rows(3, part) for part in range(2)]), order.rows(3, 0))


def test_a_coupling_needs_a_group_with_two_images():
    pairs, alone = np.array([0, 1, 1]), np.arange(5)
    assert images_per_group(exact, 4, pairs, "x") == 4 and images_per_group(exact, None, pairs, "x") == 8
    assert images_per_group(independent, None, alone, "x") == 1 and images_per_group(independent, 2, pairs, "x") == 2
    with pytest.raises(InvalidIndex, match=r"x: every group .* has one image only"):
        images_per_group(exact, None, alone, "x")
    with pytest.raises(ValueError, match=r"loader\.per_group=1 .* groups of one"):
        images_per_group(partial(exact), 1, pairs, "x")


def test_a_minibatch_that_cannot_be_shared_equally_is_refused():
    with pytest.raises(ValueError, match="cannot be shared equally by 3"):
        MinibatchOrder(n=50, minibatch_size=8, parts=3, seed=0)


def test_balance_gives_treatments_their_share_and_no_balance_changes_nothing():
    treatment = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [60, 25, 10, 5]))
    plain = MinibatchOrder(100, 10, 1, 3)
    assert np.array_equal(epochs(plain, 2), epochs(MinibatchOrder(100, 10, 1, 3, treatment=treatment), 2))
    for balance, expected in (
        (1.0, np.full(4, 25.0)),
        (0.5, 100 * np.sqrt([60, 25, 10, 5]) / np.sqrt([60, 25, 10, 5]).sum()),
    ):
        order = MinibatchOrder(100, 10, 1, 3, treatment=treatment, balance=balance)
        drawn = epochs(order, 200)
        treatments = np.stack([np.bincount(treatment[rows], minlength=4) for rows in drawn])
        assert (np.abs(treatments - expected) < 1 + 1e-9).all(), "in every epoch"
        assert treatments.mean(0) == pytest.approx(expected, abs=0.15)
        times = np.stack([np.bincount(rows, minlength=100) for rows in drawn])
        share = expected[treatment] / np.bincount(treatment)[treatment]
        assert (np.abs(times - share) < 1 + 1e-9).all() and times.mean(0) == pytest.approx(share, abs=0.2)
        parted = MinibatchOrder(100, 10, 5, 3, treatment=treatment, balance=balance)
        assert np.array_equal(np.concatenate([parted.rows(7, part) for part in range(5)]), order.rows(7, 0))
        assert len(np.unique(treatment[order.rows(0, 0)])) > 2, "and they are mixed"


@pytest.mark.parametrize("balance", [-0.1, 1.5])
def test_a_balance_is_between_none_and_full(balance: float):
    with pytest.raises(ValueError, match=f"balance={balance} lies between 0"):
        MinibatchOrder(100, 10, 1, 3, balance=balance)


@pytest.mark.parametrize("buffer", [1, 2, 4, 6, 9])
def test_an_epoch_takes_a_few_shards_at_a_time_and_sees_each_image_once(buffer: int):
    order = MinibatchOrder(50, 1, 1, 8, shard=SHARD, buffer=buffer)
    drawn = epochs(order, 3)
    for rows in drawn:
        assert sorted(rows) == list(range(50))
        runs = SHARD[rows]
        begun, first = np.unique(runs, return_index=True)
        turn = begun[np.argsort(first)]
        for start in range(0, len(turn), buffer):  # shards that are mixed stand together
            window = np.isin(runs, turn[start : start + buffer])
            assert np.ptp(np.flatnonzero(window)) == window.sum() - 1
    assert len({tuple(dict.fromkeys(SHARD[rows])) for rows in drawn}) > 1, "another order of shards in each epoch"
    if buffer >= 2:
        assert (np.diff(SHARD[drawn[0]]) != 0).sum() > 8, "one shard after another would be 5 changes"


@pytest.mark.parametrize("buffer", [0, 1, 2, 4])
def test_a_step_names_the_shards_it_reads_and_those_that_come_next(buffer: int):
    order, one_by_one = (MinibatchOrder(50, size, 1, 8, shard=SHARD, buffer=buffer) for size in (8, 1))
    for step in range(20):
        now, after = order.shards(step)
        assert set(SHARD[order.rows(step, 0)]) <= set(now)
        coming = SHARD[np.concatenate([one_by_one.rows(8 * (step + 1) + i, 0) for i in range(100)])]
        new = coming[~np.isin(coming, now)]
        assert not len(new) or new[0] in after or set(after) <= set(now)
        assert 5 not in now and 5 not in after and len(after) <= (buffer or 6)


def test_groups_stand_together_within_the_shards_that_are_mixed():
    group, shard = np.tile(np.arange(4), 32), np.repeat(np.arange(8), 16)
    order = MinibatchOrder(128, 1, 1, 0, group, 4, shard=shard, buffer=2)
    for rows in epochs(order, 2):
        assert sorted(rows) == list(range(128))
        assert all(len(np.unique(shard[rows[start : start + 32]])) == 2 for start in range(0, 128, 32))
        assert (group[rows].reshape(-1, 4) == group[rows][::4, None]).all()


def test_balance_and_shards_go_together():
    treatment = np.where(np.arange(50) % 10 == 0, 1, 0)
    drawn = epochs(MinibatchOrder(50, 5, 1, 1, treatment=treatment, balance=1.0, shard=SHARD, buffer=2), 20)
    assert np.bincount(treatment[drawn].ravel()) / 20 == pytest.approx([25, 25], abs=1)


def test_a_part_has_the_images_of_a_shard_side_by_side():
    plain, sorted_by_shard = (MinibatchOrder(50, 10, 2, 8, shard=shard) for shard in (None, SHARD))
    for step, part in ((0, 0), (3, 1)):
        rows = sorted_by_shard.rows(step, part)
        assert (np.diff(SHARD[rows]) >= 0).all() and set(rows) == set(plain.rows(step, part))


def test_minibatches_are_of_one_folder_in_proportion_and_an_epoch_sees_each_image_at_most_once():
    random = np.random.default_rng(0)
    folder = random.permutation(np.repeat([0, 1, 2], [83, 40, 21]))
    group = random.integers(0, 5, len(folder))
    order = JoinedOrder.of(folder, MinibatchOrder(144, 8, 1, 7, group))
    assert order.turns == [10, 5, 2]
    epochs = [[order.rows(17 * epoch + step, 0) for step in range(17)] for epoch in range(3)]
    for epoch in epochs:
        numbers = [set(folder[rows]) for rows in epoch]
        assert all(len(one) == 1 for one in numbers)
        assert np.bincount([one.pop() for one in numbers]).tolist() == [10, 5, 2]
    assert len(np.unique(np.concatenate(epochs[0]))) == 17 * 8
    of_a = np.concatenate([rows for epoch in epochs for rows in epoch if folder[rows[0]] == 0])
    assert np.array_equal(np.sort(of_a[:83]), np.flatnonzero(folder == 0)), "each once, before any of them again"
    assert np.array_equal(np.sort(of_a[83:166]), np.flatnonzero(folder == 0))
    turns = [[folder[rows[0]] for rows in epoch] for epoch in epochs]
    assert turns[0] != turns[1] and turns[0] != sorted(turns[0]), "shuffled, and differently in each epoch"
    other = JoinedOrder.of(folder, MinibatchOrder(144, 8, 1, 8, group))
    assert not np.array_equal(other.rows(0, 0), order.rows(0, 0))


def test_a_step_does_not_depend_on_the_parts_it_is_shared_by():
    folder = np.repeat([0, 1], [50, 30])
    whole, parted = (JoinedOrder.of(folder, MinibatchOrder(80, 8, parts, 1)) for parts in (1, 4))
    for step in (0, 7, 23):
        assert np.array_equal(np.concatenate([parted.rows(step, part) for part in range(4)]), whole.rows(step, 0))


def test_a_folder_with_fewer_images_than_a_minibatch_has_its_turn():
    order = JoinedOrder.of(np.repeat([0, 1], [64, 5]), MinibatchOrder(69, 8, 1, 0))
    seen = np.concatenate([order.rows(step, 0) for step in range(9)])
    assert np.bincount((seen >= 64).astype(int)).tolist() == [64, 8]


def test_groups_stand_together_within_a_folder():
    group = np.tile(np.arange(4), 32)
    order = JoinedOrder.of(np.repeat([0, 1], 64), MinibatchOrder(128, 16, 1, 0, group, 4))
    for step in range(8):
        counts = np.unique(group[order.rows(step, 0)], return_counts=True)[1]
        assert counts.max() >= 4 and (counts % 4 == 0).all()
