"""The two published protocols, under their own names: only distances in Inception's features are called FID and KID.

They are given beside the judgement and have no vote in it. Both are of one generated image for each real test image
(`sample like=test`), both sides in 8 bits; how the images were sampled is in the report's appendix, to compare.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier  # pyright: ignore[reportMissingTypeStubs]
from sklearn.pipeline import Pipeline  # pyright: ignore[reportMissingTypeStubs]
from sklearn.preprocessing import StandardScaler  # pyright: ignore[reportMissingTypeStubs]

from virtassay.evaluation.baselines import Draw
from virtassay.evaluation.evaluation_set import NO_ROWS, Rows, World
from virtassay.evaluation.intervals import Score, Scores, over_perturbations
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.measure.space import NAN, Space
from virtassay.evaluation.metrics import distance

Array = NDArray[np.float64]
INCEPTION = "inception"  # the featurizer; in any other one these protocols say nothing
SUBSETS = 100  # images of each of 100 subsets
CELLFLUX_IMAGES = 5120


def jones2026(generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int) -> Scores:
    """FID, and KID × 1,000 over 100 subsets of 100, of all images. Source: Jones et al. 2026 (arXiv 2603.26790)."""
    if space.featurizer != INCEPTION:
        return {}
    real, generated = _pools(draws[0])
    return {("fid", POOLED): _fid(space, real, generated), ("kid_x1000", POOLED): _kid(space, real, generated, 1000)}


def cellflux2025(generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int) -> Scores:
    """FID and KID × 100 of the first 5,120 images, their means over perturbations, and MoA accuracy.

    KID's sums begin anew for each perturbation, which the published code omits. MoA accuracy is that, on generated
    images, of one hidden layer of 512 units over the features, taught by real training images.
    Source: Zhang et al. 2025 (arXiv 2502.09775).
    """
    if space.featurizer != INCEPTION:
        return {}
    draw = draws[0]
    real, generated = (side[:CELLFLUX_IMAGES] for side in _pools(draw))
    scores = {("fid", POOLED): _fid(space, real, generated), ("kid_x100", POOLED): _kid(space, real, generated, 100)}
    names = sorted({s.perturbation for s in world.strata})
    parts = [_pools({s.name: draw[s.name] for s in world.strata if s.perturbation == name}) for name in names]
    parts = [(np.intersect1d(r, real), np.intersect1d(g, generated)) for r, g in parts]
    n, one = (len(real), len(generated)), np.ones(len(names))
    for metric, each in (
        ("fid_c", [_fid(space, r, g).value for r, g in parts]),
        ("kid_c_x100", [_kid(space, r, g, 100).value for r, g in parts]),
    ):
        scores[metric, POOLED] = over_perturbations(np.array(each), one, names, n, resamples, world.seed)
    scores["moa_accuracy", POOLED] = Score(_moa_accuracy(draw, world, space), NAN, NAN, *n, {"interval": "none"})
    return scores


def _pools(draw: Draw) -> tuple[Rows, Rows]:
    """All real and all generated images, in the order of their tables; a repeated image stays so."""
    return (
        np.sort(np.concatenate([sides.reference for sides in draw.values()])),
        np.sort(np.concatenate([sides.generated for sides in draw.values()])),
    )


def _measurable(space: Space, *pools: Rows) -> bool:
    return all(len(rows) > 1 and np.isfinite(space.raw[space.position[rows]]).all() for rows in pools)


def _fid(space: Space, real: Rows, generated: Rows) -> Score:
    value = NAN
    if _measurable(space, real, generated):
        value = distance.fd(space.raw[space.position[real]], space.raw[space.position[generated]])
    return Score(value, NAN, NAN, len(real), len(generated), {"interval": "none"})


def _kid(space: Space, real: Rows, generated: Rows, times: float) -> Score:
    size = min(SUBSETS, len(real), len(generated))
    found = distance.Subsets(NAN, NAN)
    if _measurable(space, real, generated):
        x, y = space.raw[space.position[real]], space.raw[space.position[generated]]
        found = distance.kd_subsets(x, y, size=size)
    half = 1.96 * times * found.sd / 10
    detail = {"interval": f"± 1.96 standard errors over 100 subsets of {size}"}
    value = times * found.mean
    return Score(value, value - half, value + half, len(real), len(generated), detail)


def _moa_accuracy(draw: Draw, world: World, space: Space) -> float:
    moa_of = {row: moa for row, moa in world.training.select("row", "moa").iter_rows() if moa is not None}
    rows = [row for row in np.unique(np.concatenate([*world.treated_training.values()])).tolist() if row in moa_of]
    labels = [moa_of[row] for row in rows]
    asked = [(draw[s.name].generated, s.moa) for s in world.strata if s.moa in set(labels)]
    generated = np.concatenate([NO_ROWS, *(r for r, _ in asked)])
    taught = np.array(rows, np.int64)
    if len(set(labels)) < 2 or not _measurable(space, taught, generated):
        return NAN
    layer = MLPClassifier((512,), early_stopping=True, max_iter=500, random_state=world.seed)
    head: Any = Pipeline([("scale", StandardScaler()), ("layer", layer)])
    head.fit(space.raw[space.position[taught]], labels)
    answers: list[str] = head.predict(space.raw[space.position[generated]]).tolist()
    right = [moa for rows, moa in asked for _ in rows.tolist()]
    return float(np.mean([a == b for a, b in zip(answers, right, strict=True)]))
