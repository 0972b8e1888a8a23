"""The aligning steps against EFAAR's own, and what they must undo on plates with a known batch effect."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.oracles import efaar
from virtassay.evaluation.metrics import alignment
from virtassay.evaluation.metrics.maps import perturbation_map, relation_recall
from virtassay.evaluation.metrics.relations import pairs_of_label

rng = np.random.default_rng(0)


def plates(n=60, d=6, batches=3, seed=0):
    """Features, which are controls, and batches: each batch shifts, stretches and mixes features in its own way."""
    local = np.random.default_rng(seed)
    batch = np.arange(n) % batches
    x = local.normal(size=(n, d))
    x = np.stack([x[i] @ mix for i, mix in enumerate(local.normal(size=(batches, d, d))[batch])])
    return x + 5 * local.normal(size=(batches, d))[batch], np.arange(n) < n // 2, batch.astype(str)


def gram(x):
    """What is left of features when the signs of the axes are free."""
    return x @ x.T


@pytest.fixture
def oracle(monkeypatch):
    import pandas as pd

    steps = efaar(monkeypatch, "efaar")

    def table(control, batch):
        return pd.DataFrame({"gene": np.where(control, "control", "x"), "batch": batch})

    return steps, table


def test_centre_scale_agrees_with_efaar(oracle):
    steps, table = oracle
    x, control, batch = plates()
    expected = steps.centerscale_on_controls(x, table(control, batch), "gene", "control", "batch")
    np.testing.assert_allclose(alignment.centre_scale(x, control, batch), expected)


@pytest.mark.parametrize("by_batch", [False, True])
def test_tvn_and_coral_agree_with_efaar(oracle, by_batch):
    steps, table = oracle
    x, control, batch = plates()
    expected = steps.tvn_on_controls(x, table(control, batch), "gene", "control", "batch" if by_batch else None)
    found = alignment.tvn(x, control)
    if by_batch:
        found = alignment.coral(found, control, batch)
    np.testing.assert_allclose(gram(found), gram(expected), rtol=1e-8, atol=1e-8)


def test_principal_components_agree_with_efaar(oracle):
    steps, _ = oracle
    x = plates()[0]
    everything = np.ones(len(x), bool)
    scaled = alignment.centre_scale(x, everything, ["1"] * len(x))
    expected = steps.embed_by_pca(x, variance_or_ncomp=4)
    np.testing.assert_allclose(gram(alignment.principal_components(scaled, everything, 4)), gram(expected))


def test_centre_scale_undoes_any_shift_and_stretch_of_a_batch():
    x = rng.normal(size=(20, 4))
    control = np.arange(20) < 8
    twice = np.concatenate([x, 3 + x * [0.1, 1, 10, 100]])
    aligned = alignment.centre_scale(twice, np.tile(control, 2), ["1"] * 20 + ["2"] * 20)
    np.testing.assert_allclose(aligned[:20], aligned[20:])
    np.testing.assert_allclose(aligned[:8].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(aligned[:8].std(0), 1)


def test_tvn_makes_controls_white_and_keeps_the_distances_that_whitening_defines():
    x, control, _ = plates()
    aligned = alignment.tvn(x, control)
    np.testing.assert_allclose(np.cov(aligned[control].T, ddof=0), np.eye(6), atol=1e-9)
    np.testing.assert_allclose(aligned[control].mean(0), 0, atol=1e-9)
    step = x[-1] - x[-2]
    mahalanobis = step @ np.linalg.solve(np.cov(x[control].T, ddof=0), step)
    assert np.square(aligned[-1] - aligned[-2]).sum() == pytest.approx(mahalanobis)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_tvn_does_not_depend_on_the_coordinates_of_the_features(seed):
    x, control, _ = plates(seed=seed)
    mix = np.random.default_rng(seed).normal(size=(6, 6)) + 3 * np.eye(6)
    np.testing.assert_allclose(gram(alignment.tvn(x @ mix + 7, control)), gram(alignment.tvn(x, control)), rtol=1e-4)


def test_coral_by_its_closed_form():
    # a batch whose controls have variances v becomes one of v / (v + 1/2)
    x = rng.normal(size=(400, 3))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T)).T) * np.sqrt([0.5, 1, 4])
    aligned = alignment.coral(x, np.ones(400, bool), ["1"] * 400)
    np.testing.assert_allclose(np.cov(aligned.T), np.diag([1 / 2, 2 / 3, 8 / 9]), atol=1e-12)


def test_fewer_controls_than_features_leave_out_what_no_control_shows():
    x = rng.normal(size=(30, 50))
    aligned = alignment.tvn(x, np.arange(30) < 10)
    assert aligned.shape == (30, 9)  # ten points span nine directions
    np.testing.assert_allclose(aligned[:10].std(0), 1)
    assert np.abs(aligned).max() < 1e3  # rounding was not blown up to a variance of 1


def test_a_constant_feature_is_centred_and_has_no_component():
    x, control, batch = plates()
    x = np.c_[x, np.full(len(x), 0.1)]
    np.testing.assert_allclose(alignment.centre_scale(x, control, batch)[:, -1], 0, atol=1e-12)
    np.testing.assert_allclose(gram(alignment.tvn(x, control)), gram(alignment.tvn(x[:, :-1], control)), atol=1e-8)


STEPS = {
    "centre_scale": lambda x, control, batch: alignment.centre_scale(x, control, batch),
    "components": lambda x, control, batch: alignment.principal_components(x, control, 4),
    "tvn": lambda x, control, batch: alignment.tvn(x, control),
    "coral": lambda x, control, batch: alignment.coral(x, control, batch),
    "align": lambda x, control, batch: alignment.align(x, control, control, batch),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_rows_that_are_not_marked_are_mapped_and_change_nothing(step):
    x, control, batch = plates()
    alone = step(x, control, batch)
    more = step(np.r_[x, 100 * x[-3:]], np.r_[control, [False] * 3], np.r_[batch, batch[-3:]])
    np.testing.assert_allclose(more[:-3], alone)
    shuffled = rng.permutation(len(x))
    np.testing.assert_allclose(gram(step(x[shuffled], control[shuffled], batch[shuffled])), gram(alone[shuffled]))


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_is_not_finite_is_lost_alone_and_refused_as_a_control(step, value):
    x, control, batch = plates()
    expected = step(x, control, batch)
    x[-1, 2] = value
    found = step(x, control, batch)
    assert np.isnan(found[-1]).all()
    np.testing.assert_array_equal(found[:-1], expected[:-1])
    x[3, 1] = value
    with pytest.raises(ValueError, match=r"1 of them not finite \(the first rows: \[3\]\)"):
        step(x, control, batch)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_alignment_needs_controls(step):
    x, control, batch = plates()
    with pytest.raises(ValueError, match="needs two or more"):
        step(x, np.arange(len(x)) < 1, batch)
    with pytest.raises(ValueError, match=r"expected \(n, d\)"):
        step(x, control[:-1], batch)


@pytest.mark.parametrize("step", [STEPS["centre_scale"], STEPS["coral"]])
def test_every_batch_needs_two_controls(step):
    x, control, batch = plates()
    with pytest.raises(ValueError, match=r"1 batches have fewer than two controls to align on: \['2'\]"):
        step(x, control & (batch != "2"), batch)
    with pytest.raises(ValueError, match="expected a batch for each"):
        step(x, control, batch[:-1])


def test_controls_that_are_all_the_same_have_no_components():
    with pytest.raises(ValueError, match="all the same"):
        alignment.tvn(np.ones((5, 3)), np.ones(5, bool))


def test_aligned_maps_show_mechanisms_where_raw_ones_show_batches():
    # 24 perturbations of 8 mechanisms, each in one of three batches that shift the features by five times as much
    batch, moa = np.repeat(np.arange(24) % 3, 10), np.repeat(np.arange(24) // 3, 10)
    where = np.concatenate([batch, np.repeat(np.arange(3), 60)])
    x = rng.normal(size=(len(where), 12)) + 20 * rng.normal(size=(3, 12))[where]
    x[:240] += 4 * rng.normal(size=(8, 12))[moa]
    control = np.arange(len(where)) >= 240
    aligned = alignment.align(x, control, np.ones(len(x), bool), where.astype(str))
    for of_batch in range(3):
        np.testing.assert_allclose(aligned[control & (where == of_batch)].mean(0), 0, atol=1e-9)
    pairs = pairs_of_label([str(i // 3) for i in range(24)])
    recalled = []
    for features in (x, aligned):
        perturbation = [f"{i:02}" for i in np.repeat(np.arange(24), 10)]
        vectors = perturbation_map(features[:240], perturbation, where[:240].astype(str).tolist())[1]
        recalled.append(relation_recall(vectors, pairs).mean())
    assert recalled[0] < 0.2
    assert recalled[1] > 0.5  # 13 of the 24 pairs fit into a tail of 5 % of all 276
