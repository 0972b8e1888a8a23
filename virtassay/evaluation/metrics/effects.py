"""Effects, on which the verdict rests: how much of each is explained, and what is left, of one generator's images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from virtassay.evaluation import intervals
from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.evaluation_set import Assignment, EvaluationSet
from virtassay.evaluation.glossary import HIGHER, LOWER, Description
from virtassay.evaluation.intervals import Score, Scores
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.effect import stratum_effect
from virtassay.evaluation.metrics.treatments import TREATMENT_METRICS, effect_scores, finite_mean
from virtassay.evaluation.space import NAN, Array, FeatureSpace
from virtassay.flow.traits import having

WORST_EXPLAINED = -1.0  # of a stratum that cannot be measured: an effect of the right size the wrong way

EFFECT_EXPLAINED = Description(
    "effect_explained", "Effect explained", HIGHER,
    "The share of the treatment's effect that the generated images show: 1 − energy(real, generated) / energy(real, "
    "control), per treatment and batch. 1: distributed as the real images are. 0: as far from them as untreated "
    "controls. Negative: further away than doing nothing. The verdict rests on it. No unit.",
)  # fmt: skip
ENERGY = Description(
    "energy", "Energy distance", LOWER,
    "How different the real and the generated images of a treatment are, over the whole distribution and not the mean "
    "alone. 0 if they do not differ; small negative values are sampling noise. Unit: s.d. of the controls.",
)  # fmt: skip


@having(describes=(EFFECT_EXPLAINED, ENERGY, *TREATMENT_METRICS))
def effects(candidate: Candidate, space: FeatureSpace) -> tuple[Scores, dict[str, str]]:
    """Score the effects of a candidate, pooled and for each stratum: effect_explained, energy and TREATMENT_METRICS.

    Means over its draws. What the model lacks gets the worst value. Returns the scores, and why strata could not be
    measured, by their names.
    """
    strata, draws = candidate.evaluation.strata, candidate.draws
    each = max(1, candidate.resamples // len(draws))
    parts = [[stratum_effect(draw[s.name], space, each) for s in strata] for draw in draws]
    n = [(len(draws[0][s.name].reference), len(draws[0][s.name].generated)) for s in strata]
    left, size = (finite_mean([[getattr(p, key) for p in row] for row in parts]) for key in ("left", "size"))
    left_samples, size_samples = (  # (strata, resamples)
        np.concatenate([[getattr(p, key) for p in row] for row in parts], axis=1)
        for key in ("left_samples", "size_samples")
    )
    unmeasured = {
        s.name: next(row[i].problem for row in parts if row[i].problem)
        for i, s in enumerate(strata)
        if not np.isfinite(left[i])
    }
    explained = np.array([1 - a / b if b > 0 else NAN for a, b in zip(left, size, strict=True)])
    if candidate.is_model and unmeasured:
        worst = min([WORST_EXPLAINED, *explained[np.isfinite(explained)].tolist()])
        for i in np.flatnonzero(~np.isfinite(left)):
            size[i] = max(size[i], 0.0) if np.isfinite(size[i]) else 0.0
            explained[i], left[i] = worst, (1 - worst) * size[i]
            left_samples[i], size_samples[i] = left[i], size[i]
    scores: Scores = {}
    for i, s in enumerate(strata):
        halved = sorted({draw[s.name].halved for draw in draws})
        detail = {"repeats": len(draws), "replicate_by": halved, "interval": "bootstrap over images"}
        share = np.full(left_samples.shape[1], NAN)
        share = 1 - np.divide(left_samples[i], size_samples[i], out=share, where=size_samples[i] > 0)
        bounds = intervals.percentiles(share) if s.name not in unmeasured else (NAN, NAN)
        scores["effect_explained", s.name] = Score(float(explained[i]), *bounds, *n[i], detail)
        scores["energy", s.name] = Score(float(left[i]), *intervals.percentiles(left_samples[i]), *n[i], detail)
    kept = np.flatnonzero(np.isfinite(left)).tolist()
    counts = (sum(n[i][0] for i in kept), sum(n[i][1] for i in kept))
    for metric, above, below, above_samples, below_samples in (
        ("effect_explained", size - left, size, size_samples - left_samples, size_samples),
        ("energy", left, np.ones_like(left), left_samples, np.ones_like(left_samples)),
    ):
        scores[metric, POOLED] = _pooled(candidate, kept, (above, below), (above_samples, below_samples), counts)
    scores |= effect_scores(candidate, parts, space, counts)
    return scores, unmeasured


def _pooled(
    candidate: Candidate,
    kept: Sequence[int],
    sums: tuple[Array, Array],
    samples: tuple[Array, Array],
    n: tuple[int, int],
) -> Score:
    """Ratio of sums over the strata that could be measured; sums (strata,), samples (strata, resamples)."""
    if len(kept) == 0:
        return Score(NAN, NAN, NAN, 0, 0, {})
    strata = candidate.evaluation.strata
    (above, below), (above_samples, below_samples) = sums, samples
    total = below[kept].sum()
    value = float(above[kept].sum() / total) if total > 0 else NAN
    names = sorted({s.perturbation for s in strata})
    if len(names) >= intervals.FEWEST_PERTURBATIONS:
        label = f"bootstrap over {len(names)} perturbations"
        cluster = intervals.numbered([strata[i].perturbation for i in kept])
        again = candidate.resamples, candidate.evaluation.seed
        ratios = intervals.ratio_samples(above[kept], below[kept], cluster, *again)
    else:  # two perturbations resampled say nothing: their images do
        label = "bootstrap over images"
        bottom = below_samples[kept].sum(0)
        ratios = np.full(len(bottom), NAN)
        np.divide(above_samples[kept].sum(0), bottom, out=ratios, where=bottom > 0)
    detail = {"repeats": len(candidate.draws), "interval": label, "n_strata": len(kept)}
    detail |= {"pooled": "ratio of sums over strata"}
    return Score(value, *intervals.percentiles(ratios), *n, detail, ratios)


def effects_table(evaluation: EvaluationSet, draw: Assignment, space: FeatureSpace, scores: Scores) -> pl.DataFrame:
    """One row per stratum of the model: real and generated effect along the real direction, in s.d. of the controls."""
    rows: list[dict[str, Any]] = []
    for s in evaluation.strata:
        sides = draw[s.name]
        part = stratum_effect(sides, space, 1)
        length = float(np.linalg.norm(part.real_move))
        true = generated = NAN
        if np.isfinite(length) and length > 0:
            direction = part.real_move / length
            unit = max(float((space.of(sides.control) @ direction).std(ddof=1)), 1e-12)
            true = (length - part.noise / length) / unit  # without the length that noise alone gives
            generated = float(part.move @ direction) / unit
        score = scores["effect_explained", s.name]
        rows.append(
            {
                "featurizer": space.featurizer,
                "stratum": s.name,
                **{key: getattr(s, key) for key in ("batch", "treatment", "perturbation", "dose_um", "moa")},
                "true_effect": true,
                "generated_effect": generated,
                "effect_explained": score.value,
                **{key: getattr(score, key) for key in ("lower", "upper", "n_real", "n_generated")},
            }
        )
    text = dict.fromkeys(("featurizer", "stratum", "batch", "treatment", "perturbation", "moa"), pl.String)
    return pl.DataFrame(rows, schema_overrides=text | {"dose_um": pl.Float64})
