"""The classifier and its folds, against scikit-learn and the closed form for Gaussians."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from virtassay.evaluation.metrics.classifier import cross_validated_auc, fit, folds

rng = np.random.default_rng(0)


def test_fit_agrees_with_scikit_learn_on_features_standardised_by_hand():
    x, y = rng.normal(size=(60, 4)) * [1, 10, 0.1, 5] + 3, np.arange(60) % 3
    x[y == 1] += [1, 10, 0, 0]
    z = (x - x.mean(0)) / x.std(0)
    oracle = LogisticRegression(C=1 / 4, class_weight="balanced", max_iter=1000).fit(z, y)
    assert fit(x, y).decision_function(x) == pytest.approx(oracle.decision_function(z), abs=1e-6)


def test_a_constant_feature_has_no_say_and_a_doubled_one_counts_once():
    x, y = rng.normal(size=(40, 3)) + 1, np.arange(40) % 2
    x[y == 1, 0] += 1
    scores = fit(x, y).decision_function(x)
    assert fit(np.c_[x, x], y).decision_function(np.c_[x, x]) == pytest.approx(scores, abs=1e-3)
    constant = fit(np.c_[x, np.full(40, 0.1)], y)
    there, elsewhere = (constant.decision_function(np.c_[x, np.full(40, v)]) for v in (0.1, 7.0))
    assert elsewhere == pytest.approx(there, abs=1e-9)


def test_a_rare_label_is_answered_as_readily_as_a_common_one():
    local = np.random.default_rng(5)
    y = (np.arange(1050) < 50).astype(np.int64)
    x, again = (y[:, None] + local.normal(size=(1050, 1)) for _ in range(2))
    answers = fit(x, y).predict(again)  # 1 apart: Φ(1/2) of either; by number alone none of the rare
    assert [(answers[y == label] == label).mean() for label in (0, 1)] == pytest.approx([norm.cdf(0.5)] * 2, abs=0.12)


def test_taught_one_label_it_answers_that():
    assert (fit(np.ones((3, 2)), np.full(3, 4)).predict(rng.normal(size=(5, 2))) == 4).all()


@given(st.lists(st.integers(2, 9), min_size=2, max_size=6), st.integers(2, 5), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_folds_keep_wells_whole_and_part_every_label(wells_of, k, seed):
    local = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(wells_of)), wells_of)  # of each well
    well = np.repeat(local.permutation(len(label)), local.integers(1, 4, len(label)))
    of_image = label[well]
    fold = folds(of_image, well, k, seed)
    assert ((fold >= 0) & (fold < k)).all()
    for w in np.unique(well):
        assert len(set(fold[well == w])) == 1
    for a in np.unique(of_image):
        its = well[of_image == a]
        sizes = np.bincount([fold[well == w][0] for w in np.unique(its)], minlength=k)
        assert sizes.max() - sizes.min() <= 1
        assert (sizes > 0).sum() == min(len(np.unique(its)), k)
    whole = np.bincount([fold[well == w][0] for w in np.unique(well)], minlength=k)
    assert whole.max() - whole.min() <= 1
    assert (fold == folds(of_image, well, k, seed)).all()


def test_a_well_of_two_labels_is_named():
    with pytest.raises(ValueError, match="first: well 7"):
        folds(np.array([0, 1, 1]), np.array([7, 7, 8]), 2, 0)


@pytest.mark.parametrize("d", [0.5, 1.5])
def test_auc_of_two_gaussians_is_known(d):
    local = np.random.default_rng(1)
    n = 4000
    positive = np.arange(2 * n) < n
    x = local.normal(size=(2 * n, 1)) + d * positive[:, None]
    auc = cross_validated_auc(lambda _: x, positive, np.arange(2 * n) // 20, 0)
    assert auc.value == pytest.approx(norm.cdf(d / np.sqrt(2)), abs=4 * auc.null_sd)
    fold = n / 5  # images a side; by Mann & Whitney, and √2 for what the folds teach each other
    assert auc.null_sd == pytest.approx(np.sqrt(2 * (2 * fold + 1) / (12 * fold**2) / 5), rel=1e-9)


def test_auc_agrees_with_a_loop_over_folds():
    x, positive, group = rng.normal(size=(60, 3)), np.arange(60) < 24, np.arange(60) // 6
    x[positive] += 0.7
    fold = folds(positive.astype(np.int64), group, 4, 3)  # the positive side has four wells
    each = []
    for f in range(4):
        a, b = fold != f, fold == f
        mean, sd = x[a].mean(0), x[a].std(0)
        oracle = LogisticRegression(C=1 / 3, class_weight="balanced").fit((x[a] - mean) / sd, positive[a])
        each.append(roc_auc_score(positive[b], oracle.predict_proba((x[b] - mean) / sd)[:, 1]))
    assert cross_validated_auc(lambda _: x, positive, group, 3).value == pytest.approx(np.mean(each), abs=1e-9)


def test_auc_where_nothing_can_be_told_averages_to_a_half_with_the_stated_spread():
    local = np.random.default_rng(2)
    positive, group = np.arange(80) < 30, np.arange(80) // 5
    draws = local.normal(size=(100, 80, 6))
    found = [cross_validated_auc(lambda _, x=x: x, positive, group, 0) for x in draws]
    values = np.array([auc.value for auc in found])
    assert values.mean() == pytest.approx(0.5, abs=4 * found[0].null_sd / np.sqrt(100))
    assert values.std() == pytest.approx(found[0].null_sd, rel=0.22)  # its own standard error is 0.07; without √2: 0.4


def test_a_well_s_own_mark_is_not_mistaken_for_the_label():
    """Planted: each well has a mark of its own and the label none. Folds by image would find AUC ≈ 1."""
    local = np.random.default_rng(3)
    well = np.arange(240) // 10
    x = 3 * local.normal(size=(24, 20))[well] + local.normal(size=(240, 20))
    positive = well % 2 == 0
    by_image = cross_validated_auc(lambda _: x, positive, np.arange(240), 0).value
    by_well = np.mean([cross_validated_auc(lambda _: x, positive, well, seed).value for seed in range(10)])
    assert by_image > 0.9
    assert by_well < 0.65


def test_auc_that_cannot_be_asked_is_no_number():
    x, positive = rng.normal(size=(20, 2)), np.arange(20) < 10
    assert np.isnan(cross_validated_auc(lambda _: x, positive, np.arange(20) // 10, 0).value)  # a well a side
    assert np.isnan(cross_validated_auc(lambda _: x, np.ones(20, bool), np.arange(20), 0).value)  # one side
    x[3, 1] = np.nan
    assert np.isnan(cross_validated_auc(lambda _: x, positive, np.arange(20), 0).value)


def test_constant_features_tell_nothing():
    positive = np.arange(20) < 10
    assert cross_validated_auc(lambda _: np.ones((20, 3)), positive, np.arange(20), 0).value == 0.5
