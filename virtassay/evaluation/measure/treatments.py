"""Metrics of mean effects, for each treatment (its batches averaged) and pooled over treatments."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from virtassay.evaluation import intervals
from virtassay.evaluation.evaluation_set import Stratum, World
from virtassay.evaluation.intervals import Score
from virtassay.evaluation.judgement import MODEL, POOLED
from virtassay.evaluation.measure.space import NAN, Part, Space
from virtassay.evaluation.metrics import effect, recall

Array = NDArray[np.float64]


def finite_mean(values: Sequence[Sequence[float]] | Array) -> Array:
    """Mean over draws (the first axis) of the finite values; NaN where there is none."""
    x = np.asarray(values, np.float64)
    finite = np.isfinite(x)
    total = np.where(finite, x, 0.0).sum(0)
    count = finite.sum(0)
    return np.divide(total, count, out=np.full(x.shape[1:], NAN), where=count > 0)


def dense(labels: Sequence[str]) -> NDArray[np.int64]:
    """Number the labels 0…k−1."""
    return np.unique(np.array(labels), return_inverse=True)[1].astype(np.int64)


def effect_scores(
    generator: str, parts: list[list[Part]], world: World, space: Space, resamples: int, n: tuple[int, int]
) -> dict[tuple[str, str], Score]:
    """Score pds, nsc, nscb, effect_slope and both pearson_delta of one generator; parts[draw][stratum]."""
    strata = world.strata
    treatments = sorted({s.treatment for s in strata})
    members = [[i for i, s in enumerate(strata) if s.treatment == t] for t in treatments]
    owner = [strata[m[0]] for m in members]
    drawn: dict[str, list[tuple[Array, Array]]] = {}
    for row, shared in zip(parts, space.shared, strict=False):
        for metric, pair in _of_draw(row, members, owner, strata, shared, generator == MODEL).items():
            drawn.setdefault(metric, []).append(pair)

    by_perturbation = len({s.perturbation for s in strata}) >= intervals.FEWEST_PERTURBATIONS
    scores: dict[tuple[str, str], Score] = {}
    for metric, pairs in drawn.items():
        top, bottom = (finite_mean(np.stack([pair[side] for pair in pairs])) for side in (0, 1))
        kept = np.flatnonzero(np.isfinite(top) & np.isfinite(bottom)).tolist()
        if len(kept) == 0:
            continue
        cluster = dense([owner[i].perturbation if by_perturbation else owner[i].treatment for i in kept])
        total = bottom[kept].sum()
        value = float(top[kept].sum() / total) if total > 0 else NAN
        label = f"bootstrap over {cluster.max() + 1} {'perturbations' if by_perturbation else 'treatments'}"
        samples = intervals.NO_SAMPLES
        if cluster.max() > 0:  # one thing resampled is always itself
            samples = intervals.ratio_samples(top[kept], bottom[kept], cluster, resamples, world.seed)
        detail = {"repeats": len(parts), "interval": label, "n": len(kept)}
        scores[metric, POOLED] = Score(value, *intervals.percentiles(samples), *n, detail, samples)
    return scores


def _of_draw(
    row: list[Part], members: list[list[int]], owner: list[Stratum], strata: list[Stratum], shared: Array, strict: bool
) -> dict[str, tuple[Array, Array]]:
    """Numerators and denominators of each metric in one draw, for each treatment.

    A generated effect that is missing or no number gets the worst value if `strict`, and is left out (NaN) otherwise;
    NaN also where the real effect could not be measured or the question cannot be asked.
    """
    known = [[i for i in m if np.isfinite(row[i].real_move).all()] for m in members]
    used = [[i for i in k if not row[i].problem] or k for k in known]  # both sides from the same batches
    at = [t for t, u in enumerate(used) if u]
    if not at:
        return {}
    move = np.stack([np.mean([row[i].move for i in used[t]], 0) for t in at])
    real = np.stack([np.mean([row[i].real_move for i in used[t]], 0) for t in at])
    noise = [sum(row[i].noise for i in used[t]) / len(used[t]) ** 2 for t in at]
    moa, compound = [owner[t].moa for t in at], [owner[t].perturbation for t in at]
    slope = effect.effect_slope(move, real, noise)
    one = np.ones(len(at))
    missing = ~np.isfinite(move).all(1)

    def judged(value: Array, worst: float | Array) -> Array:
        return np.where(missing, worst if strict else NAN, value)

    straight, centred = effect.pearson_delta(move, real), effect.pearson_delta_centred(move, real, shared)
    mechanism = recall.nsc(move, real, moa, compound)
    found = {
        "pearson_delta": (judged(np.nan_to_num(straight, nan=-1.0), -1.0), one),
        "pearson_delta_centred": (judged(np.nan_to_num(centred, nan=-1.0), -1.0), one),
        "effect_slope": (judged(slope.along, -np.abs(slope.size)), slope.size),
        "pds": (judged(recall.pds(move, real, shared), 0.0), one),
        "pds_l2": (judged(recall.pds(move, real, shared, closeness=recall.norm_matched_l2), 0.0), one),
        "nsc": (judged(mechanism, mechanism), one),  # an effect that is no number is answered wrong
    }
    mechanisms = np.array([m or "" for m in moa])
    unseen = np.array([not owner[t].seen for t in at])
    for metric, beside in (
        ("pds_within_moa", (mechanisms[:, None] == mechanisms) & (mechanisms != "")),
        ("pds_unseen", unseen[:, None] & unseen),
    ):
        asked = beside.sum(1) > 1
        if asked.any():
            place = recall.pds(move, real, shared, beside)
            found[metric] = (np.where(asked, judged(place, 0.0), NAN), one)
    result = {metric: (_spread(a, at, len(members)), _spread(b, at, len(members))) for metric, (a, b) in found.items()}
    result["nscb"] = _nscb(row, members, strata, strict), np.ones(len(members))
    return result


def _nscb(row: list[Part], members: list[list[int]], strata: list[Stratum], strict: bool) -> Array:
    """Answers of each treatment: each of its batches asks the other batches, and their answers are averaged."""
    there = [i for i, part in enumerate(row) if np.isfinite(part.real_move).all()]
    mine = [strata[i] for i in there]
    move, real = np.stack([row[i].move for i in there]), np.stack([row[i].real_move for i in there])
    moa, compound, batch = ([getattr(s, name) for s in mine] for name in ("moa", "perturbation", "batch"))
    answers = recall.nsc(move, real, moa, compound, batch)
    if not strict:
        answers[~np.isfinite(move).all(1)] = NAN
    whole = _spread(answers, there, len(row))
    return np.array([finite_mean(whole[m])[()] for m in members])


def _spread(values: Array, where: list[int], length: int) -> Array:
    whole = np.full(length, NAN)
    whole[where] = values
    return whole
