"""Metrics of mean effects, for each treatment (its batches averaged) and pooled over treatments."""

from collections.abc import Sequence

import numpy as np

from virtassay.evaluation import intervals
from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.evaluation_set import Stratum
from virtassay.evaluation.glossary import HIGHER, Description, near
from virtassay.evaluation.intervals import Score, Scores
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics import effect, recall
from virtassay.evaluation.metrics.effect import StratumEffect
from virtassay.evaluation.space import NAN, Array, FeatureSpace

EFFECT_SLOPE = Description(
    "effect_slope", "Effect slope", near(1),
    "How strong the generated effect is along the real one. 1: right strength. 0: no effect. 2: twice exaggerated. It "
    "does not see effects in a wrong direction: read it together with the correlation.",
)  # fmt: skip
PEARSON_DELTA = Description(
    "pearson_delta", "Correlation of effects", HIGHER,
    "Correlation, over features, of the generated and the real mean shift from the controls. Flattering when all "
    "treatments share one shift (toxicity, for instance): a model that knows only that shift scores high.",
)  # fmt: skip
PEARSON_DELTA_CENTRED = Description(
    "pearson_delta_centred", "Correlation of effects, centred", HIGHER,
    "The same after the shift that all treatments share is taken away: only what is specific to a treatment counts.",
)  # fmt: skip
PDS = Description(
    "pds", "Treatment discrimination (PDS)", HIGHER,
    "Is the generated effect nearest to the real effect of its own treatment? 1: always. 0.5: chance.",
)  # fmt: skip
NSC = Description(
    "nsc", "Mechanism, not same compound (NSC)", HIGHER,
    "Share of generated treatments whose nearest real treatment of another compound has the same mechanism of action. "
    "Compare it with the real replicate, which does not reach 1 either; with few compounds it is coarse.",
)  # fmt: skip
NSCB = Description(
    "nscb", "Mechanism, not same compound or batch (NSCB)", HIGHER,
    "As NSC, with the nearest treatment taken from another batch as well: no help from batch effects.",
)  # fmt: skip
PDS_L2 = Description(
    "pds_l2", "Treatment discrimination by distance", HIGHER,
    "As treatment discrimination, by Euclidean distance after both sides are brought to equal size. 0.5: chance.",
)  # fmt: skip
PDS_WITHIN_MOA = Description(
    "pds_within_moa", "Treatment discrimination within a mechanism", HIGHER,
    "The same among treatments of one mechanism only: knowing the mechanism alone gives 0.5.",
)  # fmt: skip
PDS_UNSEEN = Description(
    "pds_unseen", "Treatment discrimination of unseen perturbations", HIGHER,
    "The same among perturbations that were never trained on. 0.5: chance.",
)  # fmt: skip
TREATMENT_METRICS = (
    EFFECT_SLOPE, PEARSON_DELTA, PEARSON_DELTA_CENTRED, PDS, NSC, NSCB, PDS_L2, PDS_WITHIN_MOA, PDS_UNSEEN,
)  # fmt: skip


def finite_mean(values: Sequence[Sequence[float]] | Array) -> Array:
    """Mean over draws (the first axis) of the finite values; NaN where there is none."""
    x = np.asarray(values, np.float64)
    finite = np.isfinite(x)
    total = np.where(finite, x, 0.0).sum(0)
    count = finite.sum(0)
    return np.divide(total, count, out=np.full(x.shape[1:], NAN), where=count > 0)


def effect_scores(
    candidate: Candidate, parts: list[list[StratumEffect]], space: FeatureSpace, n: tuple[int, int]
) -> Scores:
    """Score TREATMENT_METRICS of one candidate; parts[draw][stratum], n: images on either side."""
    strata, resamples, seed = candidate.evaluation.strata, candidate.resamples, candidate.evaluation.seed
    treatments = sorted({s.treatment for s in strata})
    members = [[i for i, s in enumerate(strata) if s.treatment == t] for t in treatments]
    owner = [strata[m[0]] for m in members]
    drawn: dict[str, list[tuple[Array, Array]]] = {}
    for row, shared in zip(parts, space.shared, strict=False):
        for metric, pair in _of_draw(row, members, owner, strata, shared, candidate.is_model).items():
            drawn.setdefault(metric, []).append(pair)

    by_perturbation = len({s.perturbation for s in strata}) >= intervals.FEWEST_PERTURBATIONS
    scores: Scores = {}
    for metric, pairs in drawn.items():
        top, bottom = (finite_mean(np.stack([pair[side] for pair in pairs])) for side in (0, 1))
        kept = np.flatnonzero(np.isfinite(top) & np.isfinite(bottom)).tolist()
        if len(kept) == 0:
            continue
        cluster = intervals.numbered([owner[i].perturbation if by_perturbation else owner[i].treatment for i in kept])
        total = bottom[kept].sum()
        value = float(top[kept].sum() / total) if total > 0 else NAN
        label = f"bootstrap over {cluster.max() + 1} {'perturbations' if by_perturbation else 'treatments'}"
        samples = intervals.NO_SAMPLES
        if cluster.max() > 0:  # one thing resampled is always itself
            samples = intervals.ratio_samples(top[kept], bottom[kept], cluster, resamples, seed)
        detail = {"repeats": len(parts), "interval": label, "n": len(kept)}
        scores[metric, POOLED] = Score(value, *intervals.percentiles(samples), *n, detail, samples)
    return scores


def _of_draw(
    row: list[StratumEffect],
    members: list[list[int]],
    owner: list[Stratum],
    strata: list[Stratum],
    shared: Array,
    strict: bool,
) -> dict[str, tuple[Array, Array]]:
    """Numerators and denominators of each metric in one draw, for each treatment.

    A generated effect that is missing or no number gets the worst value if `strict`, and is left out (NaN) otherwise;
    NaN also where the real effect could not be measured or there is nothing to compare with.
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
    ones = np.ones(len(at))
    missing = ~np.isfinite(move).all(1)

    def judged(value: Array, worst: float | Array) -> Array:
        return np.where(missing, worst if strict else NAN, value)

    straight, centred = effect.pearson_delta(move, real), effect.pearson_delta_centred(move, real, shared)
    mechanism = recall.nsc(move, real, moa, compound)
    pairs = {
        "pearson_delta": (judged(np.nan_to_num(straight, nan=-1.0), -1.0), ones),
        "pearson_delta_centred": (judged(np.nan_to_num(centred, nan=-1.0), -1.0), ones),
        "effect_slope": (judged(slope.along, -np.abs(slope.size)), slope.size),
        "pds": (judged(recall.pds(move, real, shared), 0.0), ones),
        "pds_l2": (judged(recall.pds(move, real, shared, closeness=recall.norm_matched_l2), 0.0), ones),
        "nsc": (judged(mechanism, mechanism), ones),  # an effect that is no number is answered wrong
    }
    mechanisms = np.array([m or "" for m in moa])
    unseen = np.array([not owner[t].seen for t in at])
    for metric, among in (
        ("pds_within_moa", (mechanisms[:, None] == mechanisms) & (mechanisms != "")),
        ("pds_unseen", unseen[:, None] & unseen),
    ):
        has_others = among.sum(1) > 1
        if has_others.any():
            place = recall.pds(move, real, shared, among)
            pairs[metric] = (np.where(has_others, judged(place, 0.0), NAN), ones)
    result = {metric: (_spread(a, at, len(members)), _spread(b, at, len(members))) for metric, (a, b) in pairs.items()}
    result["nscb"] = _nscb(row, members, strata, strict), np.ones(len(members))
    return result


def _nscb(row: list[StratumEffect], members: list[list[int]], strata: list[Stratum], strict: bool) -> Array:
    """Answers of each treatment: each of its batches asks the other batches, and their answers are averaged."""
    known = [i for i, part in enumerate(row) if np.isfinite(part.real_move).all()]
    known_strata = [strata[i] for i in known]
    move, real = np.stack([row[i].move for i in known]), np.stack([row[i].real_move for i in known])
    moa, compound, batch = ([getattr(s, name) for s in known_strata] for name in ("moa", "perturbation", "batch"))
    answers = recall.nsc(move, real, moa, compound, batch)
    if not strict:
        answers[~np.isfinite(move).all(1)] = NAN
    whole = _spread(answers, known, len(row))
    return np.array([finite_mean(whole[m])[()] for m in members])


def _spread(values: Array, where: list[int], length: int) -> Array:
    whole = np.full(length, NAN)
    whole[where] = values
    return whole
