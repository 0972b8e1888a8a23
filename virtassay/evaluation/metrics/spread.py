"""Spread: do generated cells differ among themselves as real ones do, and are the rare ones there?

variance_ratio = tr cov φ(G) / tr cov φ(R), and rare_fraction_error = the share of cells beyond the controls' 1 % tail,
generated less real. Means can be right while every cell is the mean cell; these two see it.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn.covariance import (  # pyright: ignore[reportMissingTypeStubs]
    ledoit_wolf_shrinkage,  # pyright: ignore[reportUnknownVariableType]
)

from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.evaluation_set import EvaluationSet
from virtassay.evaluation.glossary import Description, near
from virtassay.evaluation.intervals import Scores
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.checks import check_same_width, image_features
from virtassay.evaluation.space import NAN, Array, FeatureSpace
from virtassay.flow.traits import having

TAIL = 0.01
FEWEST = 10  # images on either side: fewer say nothing about a spread


def variance_ratio(real: ArrayLike, generated: ArrayLike) -> float:
    """Total variance of one stratum's generated images over that of its real ones: tr cov(G) / tr cov(R).

    1 is right; 0: every image is the same; s² when all spread is multiplied by s. real (n, d), generated (m, d),
    covariances over n − 1. No unit, 0 to ∞. Real images of several wells differ by their wells too, so that repeating
    the experiment in one well gives less than 1. Give features in units of the controls' s.d.: otherwise the one of the
    largest unit speaks alone.
    NaN where fewer than two real images, or real images that do not vary or are no numbers, leave nothing to compare
    with; 0 (the worst: no spread) for fewer than two generated images, or generated ones that are no numbers.
    """
    r, g = image_features("real images", real), image_features("generated images", generated)
    check_same_width(r, g)
    if len(r) < 2 or not np.isfinite(r).all() or (r == r[0]).all():
        return NAN
    if len(g) < 2 or not np.isfinite(g).all():
        return 0.0
    return float((g - g[0]).var(0, ddof=1).sum() / r.var(0, ddof=1).sum())  # exactly 0 for equal images


@dataclass(frozen=True)
class ControlTail:
    """How far from a batch's controls an image lies, and from which distance on it is rarer than 1 in 100 of them."""

    mean: Array  # (d,)
    axes: Array  # (r, d) principal axes of the controls
    precision: Array  # (r,) inverse of the shrunken variance along each axis
    rest: float  # inverse of the shrunken variance in all other directions
    threshold: float  # NaN where the controls cannot say

    def distance(self, features: Array) -> Array:
        """Mahalanobis distance (n,) of features (n, d) to the controls, in their standard deviations."""
        centred = features - self.mean
        along = centred @ self.axes.T
        outside = (np.square(centred).sum(1) - np.square(along).sum(1)).clip(min=0)
        return np.sqrt(np.square(along) @ self.precision + outside * self.rest)

    def share_beyond(self, features: Array) -> float:
        """Share of images beyond the threshold; one whose features are no numbers is like no control."""
        return float((~(self.distance(features) <= self.threshold)).mean())


def control_tail(controls: ArrayLike, wells: ArrayLike, *, seed: int = 0) -> ControlTail:
    """Measure the tail of one batch's real controls: half of the wells give mean and covariance, half the threshold.

    distance² = (x − μ)ᵀ Σ⁻¹ (x − μ), Σ = (1 − α) S + α (tr S/d) I with the α of Ledoit & Wolf 2004 (J. Multivar. Anal.
    88), so that it is defined for fewer controls than features; the threshold is the 99th percentile of the distances
    of controls that were not fitted (fitted ones lie nearer than others do); of fewer than 99, the largest.
    controls (n, d), wells (n,). The threshold is NaN for fewer than two wells, a half with fewer than two images,
    controls that do not vary, or features that are no numbers. ValueError for shapes that do not fit.
    """
    x = image_features("controls", controls, wells)
    names, member = np.unique(np.asarray(wells), return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(names))[: len(names) // 2]
    fitted = np.asarray(np.isin(member, drawn), np.bool_)
    base, held_out = x[fitted], x[~fitted]
    d = int(x.shape[1])
    if min(len(base), len(held_out)) < 2 or not np.isfinite(x).all() or (base == base[0]).all():
        return ControlTail(np.zeros(d), np.zeros((0, d)), np.zeros(0), 0.0, NAN)
    mean = base.mean(0)
    axes = cast(Array, np.linalg.svd(base - mean, full_matrices=False)[2])
    variance = np.square((base - mean) @ axes.T).mean(0)  # over n, as in Ledoit & Wolf
    alpha = cast(float, ledoit_wolf_shrinkage(base - mean, assume_centered=True))
    floor = max(alpha, 1e-6) * float(variance.sum()) / d  # α is 0 for a single feature
    tail = ControlTail(mean, axes, 1 / ((1 - alpha) * variance + floor), 1 / floor, NAN)
    threshold = float(np.quantile(tail.distance(held_out), 1 - TAIL, method="weibull"))  # 1 % of new ones on average
    return ControlTail(mean, axes, tail.precision, tail.rest, threshold)


def control_tails(evaluation: EvaluationSet, space: FeatureSpace) -> dict[str, ControlTail]:
    """The tail of each batch that has controls."""
    rows = {batch: parts.all for batch, parts in evaluation.controls[0].items() if len(parts.all)}
    return {b: control_tail(space.of(r), evaluation.well[r], seed=evaluation.seed) for b, r in rows.items()}


def rare_fraction_error(tail: ControlTail, real: ArrayLike, generated: ArrayLike) -> float:
    """Share of one stratum's cells beyond the controls' 1 % tail, generated less real.

    0 is right; −(real share) when the rare cells are missing; positive when there are more of them; −1 to 1. For an
    inactive treatment the real share is about 0.01. real (n, d), generated (m, d), tail: of the same batch's controls.
    A generated image whose features are no numbers lies beyond; without generated images the error is 1, the worst. NaN
    where the tail could not be measured, or real images are missing or no numbers. ValueError for another d.
    """
    r, g = image_features("real images", real), image_features("generated images", generated)
    check_same_width(tail.mean[None], r, g)
    if np.isnan(tail.threshold) or len(r) == 0 or not np.isfinite(r).all():
        return NAN
    if len(g) == 0:
        return 1.0
    return tail.share_beyond(g) - tail.share_beyond(r)


VARIANCE_RATIO = Description(
    "variance_ratio", "Spread", near(1),
    "Variance among the generated cells of a treatment over that among the real ones. Below 1: too uniform.",
)  # fmt: skip
RARE_FRACTION_ERROR = Description(
    "rare_fraction_error", "Rare cells", near(0),
    "Share of cells that are rarer than 1 in 100 controls, generated less real. Below 0: rare cells are missing.",
)  # fmt: skip


@having(describes=(VARIANCE_RATIO, RARE_FRACTION_ERROR))
def spread(candidate: Candidate, space: FeatureSpace) -> Scores:
    """variance_ratio and rare_fraction_error of one generator's first draw, the mean over strata.

    Spread is measured about the means of wells' batches, so on what a stratum holds. A batch's tail is that of its
    controls, of which the generated side has none. Strata of fewer than ten real images are left out.
    """
    evaluation, draw = candidate.evaluation, candidate.draws[0]
    names = [s.perturbation for s in evaluation.strata]
    tails = control_tails(evaluation, space)
    ratio, error, share = (np.full(len(names), NAN) for _ in range(3))
    for i, s in enumerate(evaluation.strata):
        real, generated = space.of(draw[s.name].reference), space.of(draw[s.name].generated)
        if len(real) < FEWEST or (not candidate.is_model and len(generated) < FEWEST):
            continue
        ratio[i] = variance_ratio(real, generated)
        error[i] = rare_fraction_error(tails[s.batch], real, generated)
        share[i] = tails[s.batch].share_beyond(real)
    known = np.isfinite(error)
    detail = {"real_share": float(share[known].mean()) if known.any() else None}
    return {
        ("variance_ratio", POOLED): candidate.pooled(ratio, names),
        ("rare_fraction_error", POOLED): candidate.pooled(error, names, detail=detail),
    }
