"""Recall: does a generated effect find its own treatment, or its mechanism, among the real ones?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def cosines(queries: ArrayLike, gallery: ArrayLike) -> Array:
    """Cosine of every query with every gallery effect, (p, q); a zero effect has cosine 0 with all."""
    a, b = np.asarray(queries, np.float64), np.asarray(gallery, np.float64)
    a = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-300)
    b = b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-300)
    return a @ b.T


def pds(generated: ArrayLike, real: ArrayLike, shared: ArrayLike | None = None) -> Array:
    """Perturbation discrimination score of each treatment, (p,): 1 − k/(p − 1).

    k = the number of real effects closer (by cosine) to δ̂_p than its own δ_p is, plus half of those tied with it.
    `shared` (the mean training effect c) is subtracted from both. 1: its own comes first; chance is exactly 0.5, also
    when all are tied. Source: the Virtual Cell Challenge (Roohani et al. 2025), with cosine and ties counted.
    NaN for a single treatment (nothing to discriminate) and for an effect that is not finite.
    """
    g, r = np.asarray(generated, np.float64), np.asarray(real, np.float64)
    if g.ndim != 2 or g.shape != r.shape:
        raise ValueError(f"effects have shapes {g.shape} and {r.shape}; expected both (treatments, features).")
    c = 0.0 if shared is None else np.asarray(shared, np.float64)
    if len(g) < 2:
        return np.full(len(g), np.nan)
    similarity = cosines(g - c, r - c)
    own = np.diag(similarity)[:, None]
    tied = np.isclose(similarity, own, rtol=0, atol=1e-12)
    k = ((similarity > own) & ~tied).sum(1) + 0.5 * (tied.sum(1) - 1)
    return np.where(np.isfinite(similarity).all(1), 1 - k / (len(g) - 1), np.nan)


def nsc(
    generated: ArrayLike,
    real: ArrayLike,
    moa: Sequence[str | None],
    compound: Sequence[str],
    batch: Sequence[str] | None = None,
) -> Array:
    """Mechanism of the nearest real effect of another compound: 1 right, 0 wrong, NaN where it cannot be asked, (p,).

    Each generated effect is compared by cosine with the real effects of all treatments of a different compound (and of
    a different batch, if `batch` is given: then it is NSCB). Effects without a mechanism are neither query nor gallery;
    a query whose mechanism has no other entry in its gallery is not asked: the finite values are n. Ties share.
    Source: Ljosa et al. 2013, J. Biomol. Screen. 18 (NSC); Ando et al. 2017 (NSCB).
    """
    similarity = cosines(generated, real)
    answers = np.full(len(similarity), np.nan)
    for i, row in enumerate(similarity):
        gallery = np.array(
            [
                moa[j] is not None and compound[j] != compound[i] and (batch is None or batch[j] != batch[i])
                for j in range(len(row))
            ]
        )
        same = np.array([moa[j] == moa[i] for j in range(len(row))]) & gallery
        if moa[i] is None or not same.any():
            continue
        if not np.isfinite(row[gallery]).all():
            answers[i] = 0.0  # an effect that is no number finds nothing
            continue
        nearest = gallery & np.isclose(row, row[gallery].max(), rtol=0, atol=1e-12)
        answers[i] = (same & nearest).sum() / nearest.sum()
    return answers
