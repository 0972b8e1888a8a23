"""Recall: does a generated effect find its own treatment, or its mechanism, among the real ones?

Closeness that differs by rounding only is a tie everywhere (TIE), and ties are shared, never broken by order.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.evaluation_set import Stratum
from virtassay.evaluation.glossary import HIGHER, Description
from virtassay.evaluation.intervals import Scores, numbered
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.effect import both_sides
from virtassay.evaluation.space import NAN, Array, FeatureSpace
from virtassay.flow.traits import having

Mask = NDArray[np.bool_]
TIE = 1e-12
BLOCK = 1 << 22  # closenesses held at once
LOWEST = -1e300  # below every score


def cosines(queries: ArrayLike, gallery: ArrayLike) -> Array:
    """Cosine of every query with every gallery effect, (p, q); a zero effect has cosine 0 with all."""
    a, b = np.asarray(queries, np.float64), np.asarray(gallery, np.float64)
    a = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-300)
    b = b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-300)
    return a @ b.T


def norm_matched_l2(queries: ArrayLike, gallery: ArrayLike) -> Array:
    """Euclidean closeness of every query with every gallery effect once both sides are equally large, (p, q).

    ‖a‖² − ‖a − b‖² = 2⟨a, b⟩ − ‖b‖², all queries divided by their root mean square norm and the gallery by its own: it
    orders the gallery of each query as ‖a − b‖ does. One number a side: exaggerating every effect changes nothing, and
    no query learns the norm of its own real effect.
    """
    a, b = _of_unit_size(np.asarray(queries, np.float64)), _of_unit_size(np.asarray(gallery, np.float64))
    return 2 * (a @ b.T) - np.square(b).sum(1)


def _of_unit_size(effects: Array) -> Array:
    square = np.square(effects).sum(1)
    known = square[np.isfinite(square)]
    return effects / max(float(np.sqrt(known.sum() / max(len(known), 1))), 1e-300)


def pds(
    generated: ArrayLike,
    real: ArrayLike,
    shared: ArrayLike | None = None,
    candidates: ArrayLike | None = None,
    closeness: Callable[[Array, Array], Array] = cosines,
) -> Array:
    """Perturbation discrimination score of each treatment, (p,): 1 − k/(n − 1), n candidates.

    k = the number of real effects closer (by cosine) to δ̂_p than its own δ_p is, plus half of those tied with it.
    `shared` (the mean training effect c) is subtracted from both. `candidates` (p, p) says which real effects stand
    beside each treatment's own (None: all): those of its mechanism, or those never trained on. `closeness` gives the
    (p, p) matrix that is ranked: cosines, or norm_matched_l2. 1: its own comes first; chance is exactly 0.5, also when
    all are tied. Source: the Virtual Cell Challenge (Roohani et al. 2025), with cosine and ties counted.
    NaN for a treatment without another candidate (nothing to discriminate), and where its own effect or a candidate's
    is not finite. Raises ValueError for effects or candidates of other shapes.
    """
    g, r = both_sides(generated, real)
    among = np.ones((len(g), len(g)), bool) if candidates is None else np.array(candidates, bool)
    if among.shape != (len(g), len(g)):
        raise ValueError(f"candidates have shape {among.shape}; expected (treatments, treatments) = {(len(g),) * 2}.")
    np.fill_diagonal(among, True)
    c = 0.0 if shared is None else np.asarray(shared, np.float64)
    close = closeness(g - c, r - c)
    own = np.diag(close)[:, None]
    k = ((close > own + TIE) & among).sum(1) / 2 + (((close >= own - TIE) & among).sum(1) - 1) / 2
    n = among.sum(1)
    known = (np.isfinite(close) | ~among).all(1) & (n > 1)
    return np.where(known, 1 - k / np.maximum(n - 1, 1), np.nan)


def nsc(
    generated: ArrayLike,
    real: ArrayLike,
    moa: Sequence[str | None],
    compound: Sequence[str],
    batch: Sequence[str] | None = None,
) -> Array:
    """Mechanism of the nearest real effect of another compound: 1 right, 0 wrong, NaN where there is none, (p,).

    Each generated effect is compared by cosine with the real effects of all treatments of a different compound (and of
    a different batch, if `batch` is given: then it is NSCB). Effects without a mechanism are neither query nor gallery;
    a query whose mechanism has no other entry in its gallery is left out: the finite values are n. Ties share.
    Source: Ljosa et al. 2013, J. Biomol. Screen. 18 (NSC); Ando et al. 2017 (NSCB). As published, a treatment of
    several batches is one row whose batch is all their names: it differs from each of them.
    """
    g, r = np.asarray(generated, np.float64), np.asarray(real, np.float64)
    known = np.array([m is not None for m in moa], bool)
    mechanism, of_compound = numbered([m or "" for m in moa]), numbered(compound)
    of_batch = None if batch is None else numbered(batch)
    answers = np.full(len(g), np.nan)
    for rows in _runs(len(g), len(r)):
        close = cosines(g[rows], r)
        gallery = known & (of_compound[rows, None] != of_compound)
        if of_batch is not None:
            gallery &= of_batch[rows, None] != of_batch
        same = gallery & (mechanism[rows, None] == mechanism)
        best = np.where(gallery, close, LOWEST).max(1, keepdims=True)
        nearest = gallery & (close >= best - TIE)
        answer = (same & nearest).sum(1) / np.maximum(nearest.sum(1), 1)  # an effect that is no number finds nothing
        answers[rows] = np.where(known[rows] & same.any(1), answer, np.nan)
    return answers


def retrieval_map(
    generated: ArrayLike,
    real: ArrayLike,
    treatment: tuple[Sequence[str], Sequence[str]],
    batch: tuple[Sequence[str], Sequence[str]],
) -> Array:
    """Average precision with which each generated profile finds the real replicates of its treatment, (n,).

    By cosine; right are the real profiles of the query's treatment in any batch, wrong those of other treatments in the
    query's batch, and no others are ranked. The mean over queries is the mAP.
    Source: Kalinin et al. 2025, Nat. Commun. 16 (copairs); tied profiles are taken all together, as by scikit-learn.
    generated (n, d), real (m, d); treatment, batch: labels of (generated, real). 0 to 1; chance is about the share of
    right ones among the ranked, and exactly that where all are tied. NaN where nothing is right or nothing is wrong; 0
    for a query that is not finite. Raises ValueError for real profiles that are not finite, and for other shapes.
    """
    g, r = np.asarray(generated, np.float64), np.asarray(real, np.float64)
    for labels in (treatment, batch):
        sizes = list(map(len, labels))
        if g.ndim != 2 or r.ndim != 2 or g.shape[1] != r.shape[1] or sizes != [len(g), len(r)]:
            raise ValueError(
                f"profiles have shapes {g.shape} and {r.shape}, labels {sizes}; expected (n, d) "
                "and (m, d) with the same d, and labels (n,) and (m,)."
            )
    lost = np.flatnonzero(~np.isfinite(r).all(1))
    if len(lost):
        raise ValueError(f"{len(lost)} real profiles are not finite (rows {lost[:5].tolist()}); leave them out.")
    of_treatment, of_batch = (
        np.split(numbered([*queries, *gallery]), [len(g)]) for queries, gallery in (treatment, batch)
    )
    precisions = np.full(len(g), np.nan)
    for rows in _runs(len(g), len(r)):
        right = of_treatment[0][rows, None] == of_treatment[1]
        wrong = ~right & (of_batch[0][rows, None] == of_batch[1])
        precision = average_precision(cosines(g[rows], r), right, right | wrong)
        precision[~np.isfinite(g[rows]).all(1)] = 0
        precisions[rows] = np.where(right.any(1) & wrong.any(1), precision, np.nan)
    return precisions


def average_precision(scores: Array, right: Mask, ranked: Mask) -> Array:
    """Average precision of each row, (n,): the mean over right entries of the precision at their score.

    scores, right, ranked: (n, m), highest score first; only ranked entries count, and tied ones come all together:
    as scikit-learn's average_precision_score. 0 to 1; NaN where nothing is right.
    """
    order = np.argsort(np.where(ranked, -scores, -LOWEST), axis=1, kind="stable")
    score: Array = np.take_along_axis(np.where(ranked, scores, LOWEST), order, 1)
    hit: Mask = np.take_along_axis(right & ranked, order, 1)
    last = np.ones(hit.shape, np.bool_)  # the last of the entries that are tied with it
    last[:, :-1] = score[:, :-1] - score[:, 1:] > TIE
    ends = np.full(hit.shape, hit.shape[1], np.int64)
    ends[last] = np.nonzero(last)[1]
    end: NDArray[np.int64] = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    precision = np.take_along_axis(hit.cumsum(1), end, 1) / (end + 1)  # those that are not ranked come last
    n = hit.sum(1)
    return np.divide((hit * precision).sum(1), n, out=np.full(len(n), np.nan), where=n > 0)


def _runs(n: int, width: int) -> list[slice]:
    """Rows 0…n−1 in runs whose closenesses with `width` others fit a block."""
    step = max(BLOCK // max(width, 1), 1)
    return [slice(start, start + step) for start in range(0, n, step)]


RETRIEVAL_MAP = Description(
    "retrieval_map", "Retrieval of replicates (mAP)", HIGHER,
    "How high the real wells of a treatment rank when its generated effect searches the wells of the batch.",
)  # fmt: skip


@having(describes=(RETRIEVAL_MAP,))
def retrieved(candidate: Candidate, space: FeatureSpace) -> Scores:
    """retrieval_map: does the generated effect of a stratum find the real wells of its treatment in the batch?"""
    evaluation, draw = candidate.evaluation, candidate.draws[0]
    strata, well = evaluation.strata, evaluation.well
    wells: list[Array] = []
    of_wells: list[Stratum] = []
    queries: list[Array] = []
    for s in strata:
        sides = draw[s.name]
        zero, other = space.of(sides.control).mean(0), space.of(sides.generated_control).mean(0)
        for number in np.unique(well[sides.reference]):
            wells.append(space.of(sides.reference[well[sides.reference] == number]).mean(0) - zero)
            of_wells.append(s)
        empty = np.full_like(zero, NAN)
        queries.append(space.of(sides.generated).mean(0) - other if len(sides.generated) else empty)
    precision = retrieval_map(
        np.stack(queries),
        np.stack(wells),
        ([s.treatment for s in strata], [s.treatment for s in of_wells]),
        ([s.batch for s in strata], [s.batch for s in of_wells]),
    )
    if not candidate.is_model:
        precision[[len(draw[s.name].generated) == 0 for s in strata]] = NAN
    return {("retrieval_map", POOLED): candidate.pooled(precision, [s.perturbation for s in strata])}
