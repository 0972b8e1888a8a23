"""Measure one generator in one featurizer: every metric, pooled and for each stratum, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.evaluation import intervals
from virtassay.evaluation.baselines import Draw
from virtassay.evaluation.evaluation_set import World
from virtassay.evaluation.intervals import Score, Scores
from virtassay.evaluation.judgement import MODEL, POOLED
from virtassay.evaluation.measure.space import NAN, Space, measure_part
from virtassay.evaluation.measure.treatments import dense, effect_scores, finite_mean

Array = NDArray[np.float64]
WORST_EXPLAINED = -1.0  # of a stratum that cannot be measured: an effect of the right size the wrong way


class Metric(Protocol):
    """A measurement of one generator beside the effects: scores by (metric, stratum)."""

    def __call__(self, generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int) -> Scores: ...


@dataclass(frozen=True)
class Measured:
    """All scores of one generator in one featurizer by (metric, stratum), and the strata that could not be measured."""

    scores: Scores
    unmeasured: dict[str, str]  # stratum → why


def measure(
    generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int, metrics: Sequence[Metric]
) -> Measured:
    """Score one generator: effects, on which the verdict rests, and `metrics` beside them.

    Only the model gets the worst value where it cannot be measured: it would lower a floor.
    """
    each = max(1, resamples // len(draws))
    parts = [[measure_part(draw[s.name], space, each) for s in world.strata] for draw in draws]
    n = [(len(draws[0][s.name].reference), len(draws[0][s.name].generated)) for s in world.strata]
    left, size = (finite_mean([[getattr(p, key) for p in row] for row in parts]) for key in ("left", "size"))
    left_samples = np.concatenate([[p.left_samples for p in row] for row in parts], axis=1)  # (strata, resamples)
    size_samples = np.concatenate([[p.size_samples for p in row] for row in parts], axis=1)
    halved = [sorted({draw[s.name].halved for draw in draws}) for s in world.strata]
    unmeasured = {
        s.name: next(row[i].problem for row in parts if row[i].problem)
        for i, s in enumerate(world.strata)
        if not np.isfinite(left[i])
    }
    explained = np.array([1 - a / b if b > 0 else NAN for a, b in zip(left, size, strict=True)])
    if generator == MODEL and unmeasured:
        worst = min([WORST_EXPLAINED, *explained[np.isfinite(explained)].tolist()])
        for i in np.flatnonzero(~np.isfinite(left)):
            size[i] = max(size[i], 0.0) if np.isfinite(size[i]) else 0.0
            explained[i], left[i] = worst, (1 - worst) * size[i]
            left_samples[i], size_samples[i] = left[i], size[i]
    scores: Scores = {}
    for i, s in enumerate(world.strata):
        detail = {"repeats": len(draws), "replicate_by": halved[i], "interval": "bootstrap over images"}
        share = np.full(left_samples.shape[1], NAN)
        share = 1 - np.divide(left_samples[i], size_samples[i], out=share, where=size_samples[i] > 0)
        bounds = intervals.percentiles(share) if s.name not in unmeasured else (NAN, NAN)
        scores["effect_explained", s.name] = Score(float(explained[i]), *bounds, *n[i], detail)
        scores["energy", s.name] = Score(float(left[i]), *intervals.percentiles(left_samples[i]), *n[i], detail)

    kept = np.flatnonzero(np.isfinite(left)).tolist()
    names = sorted({s.perturbation for s in world.strata})
    of_strata = (sum(n[i][0] for i in kept), sum(n[i][1] for i in kept))
    for metric, above, below, above_samples, below_samples in (
        ("effect_explained", size - left, size, size_samples - left_samples, size_samples),
        ("energy", left, np.ones_like(left), left_samples, np.ones_like(left_samples)),
    ):
        if len(kept) == 0:
            scores[metric, POOLED] = Score(NAN, NAN, NAN, 0, 0, {})
            continue
        total = below[kept].sum()
        value = float(above[kept].sum() / total) if total > 0 else NAN
        if len(names) >= intervals.FEWEST_PERTURBATIONS:
            label = f"bootstrap over {len(names)} perturbations"
            cluster = dense([world.strata[i].perturbation for i in kept])
            samples = intervals.ratio_samples(above[kept], below[kept], cluster, resamples, world.seed)
        else:  # two perturbations resampled say nothing: their images do
            label = "bootstrap over images"
            bottom = below_samples[kept].sum(0)
            samples = np.full(len(bottom), NAN)
            np.divide(above_samples[kept].sum(0), bottom, out=samples, where=bottom > 0)
        detail = {
            "repeats": len(draws),
            "interval": label,
            "n_strata": len(kept),
            "pooled": "ratio of sums over strata",
        }
        scores[metric, POOLED] = Score(value, *intervals.percentiles(samples), *of_strata, detail, samples)
    scores |= effect_scores(generator, parts, world, space, resamples, of_strata)
    for metric in metrics:
        scores |= metric(generator, draws, world, space, resamples)
    return Measured(scores, unmeasured)


def effects_table(world: World, draw: Draw, space: Space, measured: Measured, featurizer: str) -> pl.DataFrame:
    """One row per stratum of the model: real and generated effect along the real direction, in s.d. of the controls."""
    rows: list[dict[str, Any]] = []
    for s in world.strata:
        sides = draw[s.name]
        part = measure_part(sides, space, 1)
        length = float(np.linalg.norm(part.real_move))
        true = generated = NAN
        if np.isfinite(length) and length > 0:
            direction = part.real_move / length
            unit = max(float((space.of(sides.control) @ direction).std(ddof=1)), 1e-12)
            true = (length - part.noise / length) / unit  # without the length that noise alone gives
            generated = float(part.move @ direction) / unit
        score = measured.scores["effect_explained", s.name]
        rows.append(
            {
                "featurizer": featurizer,
                "stratum": s.name,
                "batch": s.batch,
                "treatment": s.treatment,
                "perturbation": s.perturbation,
                "dose_um": s.dose_um,
                "moa": s.moa,
                "true_effect": true,
                "generated_effect": generated,
                "effect_explained": score.value,
                "lower": score.lower,
                "upper": score.upper,
                "n_real": score.n_real,
                "n_generated": score.n_generated,
            }
        )
    text = dict.fromkeys(("featurizer", "stratum", "batch", "treatment", "perturbation", "moa"), pl.String)
    return pl.DataFrame(rows, schema_overrides=text | {"dose_um": pl.Float64})
