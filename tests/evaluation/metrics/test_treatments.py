"""Means over draws, and what of the treatments' metrics the truth gets."""

import numpy as np

from virtassay.evaluation import baselines
from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.effect import stratum_effect
from virtassay.evaluation.metrics.treatments import effect_scores, finite_mean


def test_a_mean_leaves_out_what_is_no_number():
    assert np.array_equal(finite_mean([[1, np.nan, np.nan], [3, 4, np.nan]]), [2, 4, np.nan], equal_nan=True)


def test_the_truth_is_discriminated_and_has_the_right_slope(laid_out, pixels):
    candidate = Candidate(laid_out, [baselines.model(laid_out, 0)], 50, is_model=True)
    parts = [[stratum_effect(candidate.draws[0][s.name], pixels, 10) for s in laid_out.strata]]
    scores = effect_scores(candidate, parts, pixels, candidate.counts)
    assert scores["pds", POOLED].value > 0.8
    assert 0.7 < scores["effect_slope", POOLED].value < 1.3
    assert ("pds_unseen", POOLED) not in scores  # all were trained on
