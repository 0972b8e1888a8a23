"""Distances between two sets of features, and what they leave of an effect. Everything in float64.

fd(x, y) = ‖μx − μy‖² + tr Sx + tr Sy − 2 tr (Sx Sy)^½, kd = unbiased MMD² with k(x, y) = (x·y/d + 1)³, and
energy(x, y) = 2 E‖x − y‖ − E‖x − x′‖ − E‖y − y′‖. A distance says whether two sets differ; only the energy that is
left after the effect, beside the energy of the effect itself, says whether the effect was generated.

A distance is NaN where a feature is no finite number, and raises ValueError unless both sides have two or more images
and equally many features. Beyond the features it needs a few blocks of 2,048 images and d × d matrices of memory.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from virtassay.evaluation.intervals import Array, pairwise

BLOCK = 2048
SIZES = 15  # of the subsets that fd_inf extrapolates from, evenly spaced from a tenth of the images to all


def pair(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Both sides as float64; ValueError unless they are (n, d) and (m, d) with n, m ≥ 2."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features have shapes {a.shape} and {b.shape}; expected (n, d) and (m, d) with the same d.")
    if len(a) < 2 or len(b) < 2:
        raise ValueError(f"a distance needs two or more images on either side; there are {len(a)} and {len(b)}.")
    return a, b


def finite(*sides: Array) -> bool:
    """Whether all features of all images are finite numbers."""
    return all(bool(np.isfinite(x[rows]).all()) for x in sides for rows in blocks(len(x)))


def blocks(n: int) -> Iterator[slice]:
    """n images in runs of at most BLOCK."""
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))


def fd(x: ArrayLike, y: ArrayLike) -> float:
    """Fréchet distance between the Gaussians fitted to two feature sets.

    ‖μx − μy‖² + tr Sx + tr Sy − 2 tr (Sx Sy)^½, covariances over n − 1. With A, B the centred features over √(n − 1),
    tr (Sx Sy)^½ is the nuclear norm of A Bᵀ, which is used when both sides have no more images than features; otherwise
    the sum of the roots of the eigenvalues of Fᵀ Sy F, where y is the larger side and F Fᵀ = Sx: F is Aᵀ where that is
    the smaller, else the Cholesky factor.
    Source: Dowson & Landau 1982; Heusel et al. 2017 (arXiv 1706.08500), eq. 6.
    x: (n, d), y: (m, d), n, m ≥ 2. Features' units squared, ≥ 0 but for rounding. Biased upwards by about 1/n: compare
    equal n only, or use `fd_inf`.
    """
    a, b = pair(x, y)
    if not finite(a, b):
        return float("nan")
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    mean = np.square(small.mean(0) - large.mean(0)).sum()
    if len(large) <= a.shape[1]:
        first, second = _factor(small), _factor(large)
        traces = np.square(first).sum() + np.square(second).sum()
        root = np.linalg.svd(first.T @ second, compute_uv=False).sum()
    else:
        first, covariance = _factor(small), _covariance(large)
        traces = np.square(first).sum() + np.trace(covariance)
        root = np.sqrt(np.linalg.eigvalsh(first.T @ covariance @ first).clip(min=0)).sum()
    return float(mean + traces - 2 * root)


def _covariance(x: Array) -> Array:
    mean = x.mean(0)
    total = np.zeros((x.shape[1], x.shape[1]))
    for rows in blocks(len(x)):
        centred = x[rows] - mean
        total += centred.T @ centred
    return total / (len(x) - 1)


def _factor(x: Array) -> Array:
    """F, (d, n) or (d, d) whichever is smaller, with F Fᵀ = the covariance."""
    if len(x) <= x.shape[1]:
        return (x - x.mean(0)).T / np.sqrt(len(x) - 1)
    covariance = _covariance(x)
    try:
        return np.asarray(np.linalg.cholesky(covariance), np.float64)
    except np.linalg.LinAlgError:  # a feature is constant, or the sum of others
        values, vectors = np.linalg.eigh(covariance)
        return np.asarray(vectors * np.sqrt(values.clip(min=0)), np.float64)


def fd_inf(x: ArrayLike, y: ArrayLike, seed: int = 0) -> float:
    """Fréchet distance extrapolated to infinitely many images, which removes its bias of about 1/n.

    The value at 1/n = 0 of the least-squares line through fd(xₙ, yₙ) against 1/n, at 15 sizes n evenly spaced from a
    tenth of the smaller side to all of it; xₙ, yₙ are random subsets without repetition.
    Source: Chong & Forsyth 2020 (arXiv 1911.07023), with both sides subsampled instead of one.
    x: (n, d), y: (m, d), n, m ≥ 20. Features' units squared; may be negative near 0, and varies about twice as much
    as fd. What is left of the bias falls as 1/n²; it is not small where a tenth of the images are fewer than features.
    """
    a, b = pair(x, y)
    most = min(len(a), len(b))
    if most < 20:
        raise ValueError(f"fd_inf needs 20 or more images on either side; there are {len(a)} and {len(b)}. Use fd.")
    generator = np.random.default_rng(seed)
    sizes = np.linspace(most / 10, most, SIZES).round().astype(int).tolist()
    values = np.array([fd(*(side[generator.permutation(len(side))[:n]] for side in (a, b))) for n in sizes])
    inverse = 1 / np.array(sizes)
    centred = inverse - inverse.mean()
    slope = (centred @ values) / (centred @ centred)
    return float(values.mean() - slope * inverse.mean())


def kd(x: ArrayLike, y: ArrayLike) -> float:
    """Kernel distance: the unbiased squared maximum mean discrepancy with the cubic kernel, over all images.

    Σ_{i≠j} k(x_i, x_j)/(n(n−1)) + Σ_{i≠j} k(y_i, y_j)/(m(m−1)) − 2 Σ k(x_i, y_j)/(nm), k(x, y) = (x·y/d + 1)³.
    Source: Bińkowski et al. 2018 (arXiv 1801.01401), eq. 4. May be negative; its mean is 0 for equal distributions.
    """
    a, b = pair(x, y)
    if not finite(a, b):
        return float("nan")
    return kd_of_sums(*kernel_sums(a, b, np.zeros(len(a), np.int64), np.zeros(len(b), np.int64), 1))


@dataclass(frozen=True)
class Subsets:
    """kd over random subsets: the mean, and the s.d. from one subset to another (not the error of the mean)."""

    mean: float
    sd: float


def kd_subsets(x: ArrayLike, y: ArrayLike, subsets: int = 100, size: int = 100, seed: int = 2020) -> Subsets:
    """Kernel distance as it is published: the mean of kd over subsets of either side, drawn as torch-fidelity does.

    mean and s.d. (over the number of subsets) of kd(xᵢ, yᵢ), i = 1…subsets, each `size` images without repetition;
    numpy's legacy generator with `seed` draws xᵢ, then yᵢ. The protocol of Jones et al. 2026 is the default.
    Source: Bińkowski et al. 2018 (arXiv 1801.01401), §4; torch-fidelity's `kid_features_to_metric`.
    x: (n, d), y: (m, d), n, m ≥ size ≥ 2. Its mean is 0 for equal distributions; published values are often × 1000.
    """
    a, b = pair(x, y)
    if subsets < 1 or not 2 <= size <= min(len(a), len(b)):
        raise ValueError(
            f"{subsets} subsets of {size} images of {len(a)} and {len(b)}: expected one subset or more, of at least 2 "
            "images and at most those of the smaller side."
        )
    generator = np.random.RandomState(seed)
    values = [kd(*(side[generator.choice(len(side), size, replace=False)] for side in (a, b))) for _ in range(subsets)]
    return Subsets(float(np.mean(values)), float(np.std(values)))


def kernel_sums(x: Array, y: Array, of_x: NDArray[np.int64], of_y: NDArray[np.int64], k: int) -> tuple[Array, ...]:
    """Sums of the cubic kernel between clusters of images, from which a resampled kd follows without new products.

    of_x, of_y: cluster 0…k−1 of each image. Returns three (k, k) sums (xx and yy without i = j, and xy) and the three
    (k, k) numbers of pairs that they hold.
    """
    sums: list[Array] = []
    counts: list[Array] = []
    for a, b, of_a, of_b, same in ((x, x, of_x, of_x, True), (y, y, of_y, of_y, True), (x, y, of_x, of_y, False)):
        total = np.zeros((k, k))
        number = np.outer(np.bincount(of_a, minlength=k), np.bincount(of_b, minlength=k)).astype(np.float64)
        for i in blocks(len(a)):
            for j in blocks(len(b)):
                if same and j.start < i.start:  # the other half of a symmetric matrix
                    continue
                base = a[i] @ b[j].T / a.shape[1] + 1
                part = np.eye(k)[of_a[i]].T @ (base * base * base @ np.eye(k)[of_b[j]])
                total += part + part.T if same and j.start > i.start else part
        if same:
            own = (np.einsum("nd,nd->n", a, a) / a.shape[1] + 1) ** 3
            total -= np.diag(np.bincount(of_a, own, k))
            number -= np.diag(np.bincount(of_a, minlength=k))
        sums.append(total)
        counts.append(number)
    return *sums, *counts


def kd_of_sums(xx: Array, yy: Array, xy: Array, n_xx: Array, n_yy: Array, n_xy: Array) -> float:
    """The unbiased kd from the sums of `kernel_sums`."""
    return float(xx.sum() / n_xx.sum() + yy.sum() / n_yy.sum() - 2 * xy.sum() / n_xy.sum())


def mean_within(x: Array) -> float:
    """E‖x − x′‖ over all pairs of different images (the unbiased estimate)."""
    return mean_between(x, x) * len(x) / (len(x) - 1)


def mean_between(x: Array, y: Array) -> float:
    """E‖x − y‖ over all pairs."""
    total = sum(float(pairwise(x[i], y[j]).sum()) for i in blocks(len(x)) for j in blocks(len(y)))
    return total / (len(x) * len(y))


def energy(x: ArrayLike, y: ArrayLike) -> float:
    """Energy distance of two sets, unbiased: 2 E‖x − y‖ − E‖x − x′‖ − E‖y − y′‖, pairs of different images.

    Source: Székely & Rizzo 2013, J. Stat. Plan. Inference 143, eq. 2.1. Zero only for equal distributions; the estimate
    may be negative, its mean is 0 for equal distributions. Unit: that of the features.
    """
    a, b = pair(x, y)
    if not finite(a, b):
        return float("nan")
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
