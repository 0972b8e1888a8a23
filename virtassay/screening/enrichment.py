"""How well a ranking finds what is active, where that is known.

Truth is 1 (active) or 0 for each compound; scores are larger for the better; compounds of equal score stand in no order
among themselves, and each counts with its share. Sources: Truchon & Bayly 2007 (doi 10.1021/ci600426e) for enrichment
and its limits, Fawcett 2006 (doi 10.1016/j.patrec.2005.10.010) for ROC.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score

Array = NDArray[np.float64]
BEST = 0.1  # of the library counts as active where truth is no 0 or 1


class Curve(NamedTuple):
    """recovered (k,): the share of the actives among the best `screened` (k,) of the library; both from 0 to 1."""

    screened: Array
    recovered: Array


def actives(truth: ArrayLike) -> NDArray[np.bool_]:
    """Which compounds are active, (n,): those of 1 where truth is 0 or 1, else those with the highest tenth of values.

    Raises ValueError where none is, or all are.
    """
    values = np.asarray(truth, np.float64)
    zero_one = np.isin(values, (0, 1)).all()
    active = values == 1 if zero_one else values >= np.quantile(values, 1 - BEST, method="higher")
    if active.all() or not active.any():
        raise ValueError(f"{active.sum()} of {len(active)} compounds are active by their truth: there must be both.")
    return active


def roc_auc(active: ArrayLike, scores: ArrayLike) -> float:
    """P(an active compound scores higher than an inactive one), ties counting half: 1 perfect, 1/2 chance."""
    return float(roc_auc_score(np.asarray(active, bool), np.asarray(scores, np.float64)))


def enrichment_curve(active: ArrayLike, scores: ArrayLike) -> Curve:
    """Share of actives found by share of the library tested, best first; a straight line through ties."""
    truth, s = np.asarray(active, bool), np.asarray(scores, np.float64)
    order = np.argsort(-s, kind="stable")
    last = np.append(s[order][1:] != s[order][:-1], True)  # of each run of equal scores
    recovered = np.cumsum(truth[order])[last] / truth.sum()
    screened = (np.flatnonzero(last) + 1) / len(s)
    return Curve(np.concatenate([[0.0], screened]), np.concatenate([[0.0], recovered]))


def enrichment_factor(active: ArrayLike, scores: ArrayLike, fraction: float) -> float:
    """EF_f = (actives among the best f) / (actives that f of the library holds by chance); 1: chance, at most 1/f.

    The best ⌈f n⌉ compounds are tested. Raises ValueError for a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction}: a part of the library, above 0 and up to 1.")
    n = np.asarray(scores).size
    tested = np.ceil(round(fraction * n, 9)) / n
    curve = enrichment_curve(active, scores)
    return float(np.interp(tested, *curve) / tested)
