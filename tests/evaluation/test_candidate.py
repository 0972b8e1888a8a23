"""A candidate's images and labels, stratum by stratum."""

import numpy as np

from virtassay.evaluation import baselines
from virtassay.evaluation.candidate import Candidate


def test_rows_and_labels_stand_in_the_order_of_the_strata(laid_out):
    candidate = Candidate(laid_out, [baselines.model(laid_out, 0)], 50, is_model=True)
    assert candidate.counts == (240, 240)
    assert candidate.rows("generated").tolist() == [row for s in laid_out.strata for row in s.generated.tolist()]
    assert candidate.labels("reference", "treatment") == [s.treatment for s in laid_out.strata for _ in s.real]


def test_a_pooled_score_is_a_mean_or_a_ratio_of_sums(laid_out):
    candidate = Candidate(laid_out, [baselines.model(laid_out, 0)], 50)
    values, names = np.array([1.0, 2.0, np.nan, 6.0]), ["a", "a", "b", "c"]
    score = candidate.pooled(values, names, detail={"why": "by hand"})
    assert (score.value, score.n_real, score.detail["n"], score.detail["why"]) == (3, 240, 3, "by hand")
    assert candidate.pooled(values, names, np.array([1.0, 1, 1, 4]), (1, 2)).value == 9 / 6
