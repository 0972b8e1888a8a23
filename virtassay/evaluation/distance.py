"""Distances between two sets of features, and what they leave of an effect. Everything in float64.

fd(x, y) = ‖μx − μy‖² + tr Sx + tr Sy − 2 tr (Sx Sy)^½, kd = unbiased MMD² with k(x, y) = (x·y/d + 1)³, and
energy(x, y) = 2 E‖x − y‖ − E‖x − x′‖ − E‖y − y′‖. A distance says whether two sets differ; only the energy that is
left after the effect, beside the energy of the effect itself, says whether the effect was generated.
"""

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
BLOCK = 2048


def _pair(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features have shapes {a.shape} and {b.shape}; expected (n, d) and (m, d) with the same d.")
    if len(a) < 2 or len(b) < 2:
        raise ValueError(f"a distance needs two or more images on either side; there are {len(a)} and {len(b)}.")
    return a, b


def fd(x: ArrayLike, y: ArrayLike) -> float:
    """Fréchet distance between the Gaussians fitted to two feature sets.

    ‖μx − μy‖² + tr Sx + tr Sy − 2 tr (Sx Sy)^½, covariances over n − 1. With A, B the centred features over √(n − 1),
    tr (Sx Sy)^½ is the nuclear norm of A Bᵀ, which is used when the images are fewer than the features; otherwise
    Sx = L Lᵀ and it is the sum of the roots of the eigenvalues of Lᵀ Sy L.
    Source: Dowson & Landau 1982; Heusel et al. 2017 (arXiv 1706.08500), eq. 6.
    x: (n, d), y: (m, d), n, m ≥ 2. Features' units squared. Biased upwards by about 1/n: compare equal n only.
    """
    a, b = _pair(x, y)
    mean = np.square(a.mean(0) - b.mean(0)).sum()
    a, b = (a - a.mean(0)) / np.sqrt(len(a) - 1), (b - b.mean(0)) / np.sqrt(len(b) - 1)
    traces = np.square(a).sum() + np.square(b).sum()
    varies = a.any(0) & b.any(0)  # a feature that is constant on one side has no part in the root
    a, b = a[:, varies], b[:, varies]
    if max(len(a), len(b)) <= a.shape[1]:
        root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    else:
        first, second = a.T @ a, b.T @ b
        try:
            factor = np.asarray(np.linalg.cholesky(first), np.float64)
        except np.linalg.LinAlgError:  # a feature is the sum of others
            values, vectors = np.linalg.eigh(first)
            factor = np.asarray(vectors * np.sqrt(values.clip(min=0)), np.float64)
        eigenvalues = np.linalg.eigvalsh(factor.T @ second @ factor)
        root = np.sqrt(eigenvalues.clip(min=0)).sum()
    return float(mean + traces - 2 * root)


def kd(x: ArrayLike, y: ArrayLike) -> float:
    """Kernel distance: the unbiased squared maximum mean discrepancy with the cubic kernel, over all images.

    Σ_{i≠j} k(x_i, x_j)/(n(n−1)) + Σ_{i≠j} k(y_i, y_j)/(m(m−1)) − 2 Σ k(x_i, y_j)/(nm), k(x, y) = (x·y/d + 1)³.
    Source: Bińkowski et al. 2018 (arXiv 1801.01401), eq. 4. May be negative; its mean is 0 for equal distributions.
    """
    a, b = _pair(x, y)
    return kd_of_sums(*kernel_sums(a, b, np.zeros(len(a), np.int64), np.zeros(len(b), np.int64), 1))


def kernel_sums(x: Array, y: Array, of_x: NDArray[np.int64], of_y: NDArray[np.int64], k: int) -> tuple[Array, ...]:
    """Sums of the cubic kernel between clusters of images, from which a resampled kd follows without new products.

    of_x, of_y: cluster 0…k−1 of each image. Returns three (k, k) sums (xx and yy without i = j, and xy) and the three
    (k, k) numbers of pairs that they hold.
    """
    sums: list[Array] = []
    counts: list[Array] = []
    for a, b, of_a, of_b, same in ((x, x, of_x, of_x, True), (y, y, of_y, of_y, True), (x, y, of_x, of_y, False)):
        one_a, one_b = np.eye(k)[of_a], np.eye(k)[of_b]
        total = np.zeros((k, k))
        for start in range(0, len(a), BLOCK):
            base = a[start : start + BLOCK] @ b.T / a.shape[1] + 1
            total += one_a[start : start + BLOCK].T @ ((base * base * base) @ one_b)
        number = np.outer(one_a.sum(0), one_b.sum(0))
        if same:
            total -= np.diag(one_a.T @ (np.square(a).sum(1) / a.shape[1] + 1) ** 3)
            number -= np.diag(one_a.sum(0))
        sums.append(total)
        counts.append(number)
    return *sums, *counts


def kd_of_sums(xx: Array, yy: Array, xy: Array, n_xx: Array, n_yy: Array, n_xy: Array) -> float:
    """The unbiased kd from the sums of `kernel_sums`."""
    return float(xx.sum() / n_xx.sum() + yy.sum() / n_yy.sum() - 2 * xy.sum() / n_xy.sum())


def pairwise(x: Array, y: Array) -> Array:
    """Euclidean distances ‖x_i − y_j‖, (n, m); exactly 0 for equal rows."""
    centre = y.mean(0)  # products of small numbers lose fewer digits
    a, b = x - centre, y - centre
    scale = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None, :]
    square = scale - 2 * (a @ b.T)
    return np.sqrt(np.where(square > 1e-12 * scale, square, 0.0))  # below that it is rounding


def _blocks(x: Array) -> Iterator[Array]:
    for start in range(0, len(x), BLOCK):
        yield x[start : start + BLOCK]


def mean_within(x: Array) -> float:
    """E‖x − x′‖ over all pairs of different images (the unbiased estimate)."""
    total = sum(float(pairwise(block, x).sum()) for block in _blocks(x))
    return total / (len(x) * (len(x) - 1))


def mean_between(x: Array, y: Array) -> float:
    """E‖x − y‖ over all pairs."""
    return sum(float(pairwise(block, y).sum()) for block in _blocks(x)) / (len(x) * len(y))


def energy(x: ArrayLike, y: ArrayLike) -> float:
    """Energy distance of two sets, unbiased: 2 E‖x − y‖ − E‖x − x′‖ − E‖y − y′‖, pairs of different images.

    Source: Székely & Rizzo 2013, J. Stat. Plan. Inference 143, eq. 2.1. Zero only for equal distributions; the estimate
    may be negative, its mean is 0 for equal distributions. Unit: that of the features.
    """
    a, b = _pair(x, y)
    return 2 * mean_between(a, b) - mean_within(a) - mean_within(b)


def effect_explained(real: ArrayLike, generated: ArrayLike, control: ArrayLike) -> float:
    """Share of the treatment's effect that the generated images show: 1 − energy(R, G)/energy(R, C).

    1: generated images are distributed as the real ones. 0: as far from them as the controls are (a copied control).
    Below 0: further away than doing nothing. NaN, with a RuntimeWarning, when no effect can be measured
    (energy(R, C) ≤ 0).
    """
    effect = energy(real, control)
    if effect <= 0:
        warnings.warn(f"no effect can be measured: energy(R, C) = {effect:.3g}", RuntimeWarning, stacklevel=2)
        return float("nan")
    return 1 - energy(real, generated) / effect
