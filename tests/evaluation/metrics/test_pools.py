"""Pools: each image once, and distances that see no treatment."""

import numpy as np

from virtassay.evaluation import baselines
from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics import distance
from virtassay.evaluation.metrics.pools import distances, extrapolated, pools, published_kernel


def test_pools_hold_each_image_once_and_shuffled_labels_leave_them(laid_out, pixels):
    model, shuffled = (Candidate(laid_out, [f(laid_out, 0)], 20) for f in (baselines.model, baselines.label_shuffled))
    (real, of_real), (generated, _) = pools(model)
    assert len(np.unique(real)) == len(real) == 240 and len(np.unique(of_real)) == 6
    scores = distances(model, pixels)
    assert scores["fd", POOLED].value == distance.fd(pixels.raw_of(real), pixels.raw_of(generated))
    assert distances(shuffled, pixels) == scores


def test_other_distances_are_those_that_they_name(laid_out, pixels):
    model = Candidate(laid_out, [baselines.model(laid_out, 0)], 20)
    x, y = (pixels.raw_of(rows) for rows, _ in pools(model))
    assert extrapolated(model, pixels)["fd_inf", POOLED].value == distance.fd_inf(x, y, laid_out.seed)
    assert published_kernel(model, pixels)["kd_subsets", POOLED].value == distance.kd_subsets(x, y).mean
    assert np.isnan(published_kernel(model, pixels, subset=1000)["kd_subsets", POOLED].value)
