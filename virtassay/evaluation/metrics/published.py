"""The two published protocols, under their own names: only distances in Inception's features are called FID and KID.

They are given beside the judgement and have no vote in it. Both are of one generated image for each real test image
(`sample like=test`), both sides in 8 bits; how the images were sampled is in the report's appendix, to compare.
"""

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier  # pyright: ignore[reportMissingTypeStubs]
from sklearn.pipeline import Pipeline  # pyright: ignore[reportMissingTypeStubs]
from sklearn.preprocessing import StandardScaler  # pyright: ignore[reportMissingTypeStubs]

from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.evaluation_set import NO_ROWS, Assignment, Rows
from virtassay.evaluation.glossary import HIGHER, LOWER, Description
from virtassay.evaluation.intervals import Score, Scores, plain
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics import distance
from virtassay.evaluation.space import NAN, FeatureSpace
from virtassay.flow.traits import having

INCEPTION = "inception"  # the featurizer; in any other one these protocols say nothing
SUBSETS = 100  # images of each of 100 subsets
CELLFLUX_IMAGES = 5120

FID = Description(
    "fid", "FID", LOWER,
    "The Fréchet distance in Inception's features, as published tables have it. Never the verdict.", pooled=True,
)  # fmt: skip
FID_C = Description(
    "fid_c", "FID of each perturbation", LOWER,
    "The mean over perturbations of their own FID. Biased upwards, as perturbations have few images.",
)  # fmt: skip
KID_X1000 = Description(
    "kid_x1000", "KID × 1,000", LOWER,
    "The kernel distance in Inception's features, quoted so.", pooled=True,
)  # fmt: skip
KID_X100 = Description(
    "kid_x100", "KID × 100", LOWER,
    "The kernel distance in Inception's features, quoted so.", pooled=True,
)  # fmt: skip
KID_C_X100 = Description(
    "kid_c_x100", "KID of each perturbation × 100", LOWER,
    "The mean over perturbations of their own KID.",
)  # fmt: skip
MOA_ACCURACY = Description(
    "moa_accuracy", "Mechanism recognised", HIGHER,
    "Share of generated images whose mechanism a classifier taught by real training images names.",
)  # fmt: skip


@having(describes=(FID, KID_X1000))
def jones2026(candidate: Candidate, space: FeatureSpace) -> Scores:
    """FID, and KID × 1,000 over 100 subsets of 100, of all images. Source: Jones et al. 2026 (arXiv 2603.26790)."""
    if space.featurizer != INCEPTION:
        return {}
    real, generated = _pools(candidate.draws[0])
    return {("fid", POOLED): _fid(space, real, generated), ("kid_x1000", POOLED): _kid(space, real, generated, 1000)}


@having(describes=(FID, FID_C, KID_X100, KID_C_X100, MOA_ACCURACY))
def cellflux2025(candidate: Candidate, space: FeatureSpace) -> Scores:
    """FID and KID × 100 of the first 5,120 images, their means over perturbations, and MoA accuracy.

    KID's sums begin anew for each perturbation, which the published code omits. MoA accuracy is that, on generated
    images, of one hidden layer of 512 units over the features, taught by real training images.
    Source: Zhang et al. 2025 (arXiv 2502.09775).
    """
    if space.featurizer != INCEPTION:
        return {}
    strata, draw = candidate.evaluation.strata, candidate.draws[0]
    real, generated = (side[:CELLFLUX_IMAGES] for side in _pools(draw))
    scores = {("fid", POOLED): _fid(space, real, generated), ("kid_x100", POOLED): _kid(space, real, generated, 100)}
    names = sorted({s.perturbation for s in strata})
    parts = [_pools({s.name: draw[s.name] for s in strata if s.perturbation == name}) for name in names]
    parts = [(np.intersect1d(r, real), np.intersect1d(g, generated)) for r, g in parts]
    n = len(real), len(generated)
    fids = np.array([_fid(space, r, g).value for r, g in parts])
    kids = np.array([_kid(space, r, g, 100).value for r, g in parts])
    scores["fid_c", POOLED] = candidate.pooled(fids, names, n=n)
    scores["kid_c_x100", POOLED] = candidate.pooled(kids, names, n=n)
    scores["moa_accuracy", POOLED] = plain(_moa_accuracy(candidate, space), n)
    return scores


def _pools(draw: Assignment) -> tuple[Rows, Rows]:
    """All real and all generated images, in the order of their tables; a repeated image stays so."""
    real = np.sort(np.concatenate([sides.reference for sides in draw.values()]))
    return real, np.sort(np.concatenate([sides.generated for sides in draw.values()]))


def _measurable(space: FeatureSpace, *pools: Rows) -> bool:
    return all(len(rows) > 1 and np.isfinite(space.raw_of(rows)).all() for rows in pools)


def _fid(space: FeatureSpace, real: Rows, generated: Rows) -> Score:
    measurable = _measurable(space, real, generated)
    value = distance.fd(space.raw_of(real), space.raw_of(generated)) if measurable else NAN
    return plain(value, (len(real), len(generated)))


def _kid(space: FeatureSpace, real: Rows, generated: Rows, times: float) -> Score:
    size = min(SUBSETS, len(real), len(generated))
    subsets = distance.Subsets(NAN, NAN)
    if _measurable(space, real, generated):
        subsets = distance.kd_subsets(space.raw_of(real), space.raw_of(generated), size=size)
    half = 1.96 * times * subsets.sd / 10
    detail = {"interval": f"± 1.96 standard errors over 100 subsets of {size}"}
    value = times * subsets.mean
    return Score(value, value - half, value + half, len(real), len(generated), detail)


def _moa_accuracy(candidate: Candidate, space: FeatureSpace) -> float:
    evaluation, draw = candidate.evaluation, candidate.draws[0]
    moa_of = {row: moa for row, moa in evaluation.training.select("row", "moa").iter_rows() if moa is not None}
    rows = [row for row in np.unique(np.concatenate([*evaluation.treated_training.values()])).tolist() if row in moa_of]
    labels = [moa_of[row] for row in rows]
    questions = [(draw[s.name].generated, s.moa) for s in evaluation.strata if s.moa in set(labels)]
    generated = np.concatenate([NO_ROWS, *(r for r, _ in questions)])
    taught = np.array(rows, np.int64)
    if len(set(labels)) < 2 or not _measurable(space, taught, generated):
        return NAN
    layer = MLPClassifier((512,), early_stopping=True, max_iter=500, random_state=evaluation.seed)
    head: Any = Pipeline([("scale", StandardScaler()), ("layer", layer)])
    head.fit(space.raw_of(taught), labels)
    answers: list[str] = head.predict(space.raw_of(generated)).tolist()
    right = [moa for rows, moa in questions for _ in rows.tolist()]
    return float(np.mean([a == b for a, b in zip(answers, right, strict=True)]))
