"""Maps of perturbations: do the pairs that biology knows lie together, and do generated and real maps agree?

A map is one vector for each perturbation, (n, d), compared by cosine. A vector that is zero or not finite points
nowhere: its pairs are never found. All pairs are visited block by block and counted on a grid of 2¹⁸ steps between the
smallest and the largest cosine (closer pairs are tied), so that memory does not grow with n².
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array  # pyright: ignore[reportMissingTypeStubs]

from virtassay.evaluation.intervals import Array, multinomial
from virtassay.evaluation.metrics.checks import image_features
from virtassay.evaluation.metrics.recall import TIE, average_precision, cosines
from virtassay.evaluation.metrics.relations import Pairs, check_pairs

Mask = NDArray[np.bool_]
BLOCK = 512  # perturbations whose cosines with all others are held at once
PAIRS = 1 << 12  # known pairs whose vectors are held at once
STEPS = 1 << 18
ONE_IN = 20  # pairs are in either tail
DRAWS = 100
FEWEST_NEGATIVES = 20


def perturbation_map(features: ArrayLike, perturbation: ArrayLike, batch: ArrayLike) -> tuple[list[str], Array]:
    """Names (n) and vectors (n, d) of the perturbations: the mean of their images in each batch, then over batches.

    features: (images, d), aligned (`metrics.alignment`), without controls. Every batch of a perturbation weighs the
    same, however many images it has; an image that is not finite makes its perturbation's vector so.
    Source: Celik et al. 2024, PLOS Comput. Biol. 20 (aggregation), with batches weighted equally.
    """
    label, where = np.asarray(perturbation), np.asarray(batch)
    x = image_features("the map", features, label, where)
    names, of = np.unique(label, return_inverse=True)
    batches, within = np.unique(where, return_inverse=True)
    strata, member = np.unique(of * len(batches) + within, return_inverse=True)
    in_batch = _means(x, member, len(strata))
    return names.tolist(), _means(in_batch, strata // len(batches), len(names))


def _means(x: Array, group: NDArray[np.int64], n: int) -> Array:
    weight = 1 / np.bincount(group, minlength=n)[group]
    total: Any = csr_array((weight, (group, np.arange(len(x)))), shape=(n, len(x)))
    return total @ x


def relation_recall(vectors: ArrayLike, pairs: Pairs) -> Array:
    """Whether each known pair is in the top or bottom 5 % of all pairwise cosines of the map, (k,): 1 or 0.

    N pairs in all, t = ⌊N/20⌋: found if its cosine is below the (t + 1)-th smallest or above the (t + 1)-th largest;
    ties with those are not found. The mean is the recall; chance is 2t/N, 10 % of a large map. A perturbation that
    points nowhere is in no tail, and its known pairs are not found. NaN for a map of fewer than 7 perturbations.
    Source: Celik et al. 2024, PLOS Comput. Biol. 20; EFAAR's compute_recall.
    vectors: (n, d); pairs: (k, 2), rows of the map. Raises ValueError for pairs that are not of this map.
    """
    units, pointing = _directions(vectors)
    check_pairs(pairs, len(units))
    if len(units) * (len(units) - 1) // 2 < ONE_IN:
        return np.full(len(pairs), np.nan)
    if pointing.sum() < 2:
        return np.zeros(len(pairs))
    grid, counts = _histogram(units[pointing])
    up_to = counts.cumsum()
    tail = up_to[-1] // ONE_IN
    low, high = np.searchsorted(up_to, [tail, up_to[-1] - tail - 1], side="right")
    blocks = (pairs[start : start + PAIRS] for start in range(0, len(pairs), PAIRS))
    step = np.concatenate([grid((units[block[:, 0]] * units[block[:, 1]]).sum(1)) for block in blocks])
    return (((step < low) | (step > high)) & pointing[pairs].all(1)).astype(np.float64)


def recall_samples(recalled: Array, pairs: Pairs, n: int, resamples: int, seed: int) -> Array:
    """Recall over maps whose n perturbations are drawn with replacement, (resamples,): its bootstrap distribution.

    Σ w_i w_j found_ij / Σ w_i w_j, w the number of times a perturbation is drawn; NaN where no known pair is drawn.
    """
    weight = multinomial(n, resamples, seed)
    top, bottom = np.zeros(resamples), np.zeros(resamples)
    for start in range(0, len(pairs), PAIRS):
        part = slice(start, start + PAIRS)
        both = weight[:, pairs[part, 0]] * weight[:, pairs[part, 1]]
        top += both @ recalled[part]
        bottom += both.sum(1)
    return np.divide(top, bottom, out=np.full(resamples, np.nan), where=bottom > 0)


def map_concordance(generated: ArrayLike, real: ArrayLike) -> float:
    """Spearman correlation of the generated with the real cosines of all pairs of perturbations.

    −1 to 1, chance 0. Generated pairs that are all tied say nothing: 0. The pairs of a generated vector that points
    nowhere have the mean rank, so that missing perturbations pull towards 0. NaN if all real pairs are tied.
    Source: the representational similarity of Kriegeskorte et al. 2008, Front. Syst. Neurosci. 2.
    generated (n, d), real (n, e), n ≥ 3, the same perturbations. Raises ValueError for other shapes, and for real
    vectors that point nowhere.
    """
    g, pointing = _directions(generated)
    r, known = _directions(real)
    if len(g) != len(r) or len(g) < 3 or not known.all():
        raise ValueError(
            f"maps of {len(g)} generated and {len(r)} real perturbations, {(~known).sum()} real vectors zero or not "
            f"finite (rows {np.flatnonzero(~known)[:5].tolist()}); expected the same 3 or more. Leave the others out."
        )
    of_r, counts_r = _histogram(r)
    rank_r = _centred_ranks(counts_r)
    if pointing.sum() < 2:
        return 0.0
    of_g, counts_g = _histogram(g[pointing])
    rank_g = _centred_ranks(counts_g)
    both = pointing[:, None].astype(np.float64)  # whose own "cosines" are 1 where both vectors point somewhere
    blocks = zip(_cosines_of_pairs(g), _cosines_of_pairs(r), _cosines_of_pairs(both), strict=True)
    together = sum(float((weight * rank_g[of_g(a)]) @ rank_r[of_r(b)]) for a, b, weight in blocks)
    size_g, size_r = float(counts_g @ np.square(rank_g)), float(counts_r @ np.square(rank_r))
    if size_r == 0:
        return float("nan")
    return together / float(np.sqrt(size_g * size_r)) if size_g > 0 else 0.0


@dataclass(frozen=True)
class TargetRecall:
    """How each compound ranks its known targets, (c,) each: average precision, AUC, and the chance of the first."""

    ap: Array
    auc: Array
    chance: Array


def compound_gene_ap(compounds: ArrayLike, genes: ArrayLike, known: Pairs, seed: int = 0) -> TargetRecall:
    """Average precision and AUC of |cosine(compound, gene)| for each compound's known targets, (c,).

    k targets against max(2k, 20) genes that are some other compound's target, drawn without replacement 100 times; the
    mean over the draws. 0 to 1; chance is 0.5 for AUC and k/(k + negatives) for AP. NaN for a compound without known
    target or without that many other genes; 0 for one that is not finite. A gene that is not finite ranks last as a
    target, first as one of the others.
    Source: Kraus et al. 2025 (arXiv 2503.20158), RxRx3-core's benchmark without training.
    compounds (c, d), genes (g, d); known (k, 2): a row of compounds, a row of genes. Other shapes raise ValueError.
    """
    a, b = image_features("compounds", compounds), image_features("genes", genes)
    if known.ndim != 2 or known.shape[1] != 2 or (known < 0).any() or (known >= [len(a), len(b)]).any():
        raise ValueError(f"known targets have shape {known.shape}; expected (k, 2), rows below {len(a)} and {len(b)}.")
    is_target = np.zeros((len(a), len(b)), bool)
    is_target[known[:, 0], known[:, 1]] = True
    score = np.abs(cosines(a, b))
    as_target, as_other = np.nan_to_num(score, nan=-1.0), np.nan_to_num(score, nan=2.0)  # the worst either way
    finite = np.all(np.isfinite(a), axis=1)
    ap, auc, chance = np.full((3, len(a)), np.nan)
    for i in np.unique(known[:, 0]).tolist():
        targets, others = np.flatnonzero(is_target[i]), np.flatnonzero(is_target.any(0) & ~is_target[i])
        n = max(2 * len(targets), FEWEST_NEGATIVES)
        if len(others) < n:
            continue
        drawn = others[np.random.default_rng((seed, i)).random((DRAWS, len(others))).argsort(1)[:, :n]]
        ap[i], auc[i] = _ap_and_auc(as_target[i, targets], as_other[i, drawn]) if finite[i] else (0, 0)
        chance[i] = len(targets) / (len(targets) + n)
    return TargetRecall(ap, auc, chance)


def _ap_and_auc(positive: Array, negative: Array) -> tuple[float, float]:
    """Mean over draws of both scores; positive (k,), negative (draws, n)."""
    scores = np.concatenate([np.tile(positive, (len(negative), 1)), negative], 1)
    right = np.zeros(scores.shape, bool)
    right[:, : len(positive)] = True
    ahead = positive[None, :, None] - negative[:, None, :]
    auc = ((ahead > TIE).mean() + (ahead >= -TIE).mean()) / 2  # a tie is half ahead
    return float(average_precision(scores, right, np.ones(scores.shape, bool)).mean()), float(auc)


@dataclass(frozen=True)
class _Grid:
    """The step 0…STEPS that a cosine falls on."""

    low: float
    step: float

    def __call__(self, cosine: Array) -> NDArray[np.int64]:
        return np.rint((cosine - self.low) / self.step).clip(0, STEPS).astype(np.int64)


def _histogram(units: Array) -> tuple[_Grid, NDArray[np.int64]]:
    """A grid over all pairs' cosines, and how many pairs fall on each step."""
    low, high = 1.0, -1.0
    for block in _cosines_of_pairs(units):
        low, high = min(low, float(block.min(initial=1.0))), max(high, float(block.max(initial=-1.0)))
    grid = _Grid(low, max((high - low) / STEPS, TIE))
    counts = np.zeros(STEPS + 1, np.int64)
    for block in _cosines_of_pairs(units):
        counts += np.bincount(grid(block), minlength=STEPS + 1)
    return grid, counts


def _centred_ranks(counts: NDArray[np.int64]) -> Array:
    """The mean rank of the pairs on each step, ties sharing, as a share of all pairs and less the mean of all."""
    total = counts.sum()
    return (counts.cumsum() - counts / 2) / total - 0.5


def _cosines_of_pairs(units: Array) -> Iterator[Array]:
    """Cosines of all pairs i < j, in blocks of rows i."""
    for start in range(0, len(units), BLOCK):
        block = units[start : start + BLOCK] @ units[start:].T
        yield block[np.arange(block.shape[1]) > np.arange(len(block))[:, None]]


def _directions(vectors: ArrayLike) -> tuple[Array, Mask]:
    """Unit vectors, 0 where a vector points nowhere, and which point somewhere."""
    x = image_features("the map", vectors)
    norm = np.linalg.norm(x, axis=1)
    pointing = np.isfinite(norm) & (norm > 0)
    return np.where(pointing[:, None], x, 0) / np.where(pointing, norm, 1)[:, None], pointing
