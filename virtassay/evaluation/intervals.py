"""Intervals by the bootstrap: over perturbations for a pooled score, over images for one stratum."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from virtassay.evaluation.distance import pairwise

Array = NDArray[np.float64]
FEWEST_PERTURBATIONS = 5  # with fewer, resampling them says nothing: the images are resampled instead


@dataclass(frozen=True)
class Score:
    """One number with its 95 % interval; `detail` joins the fingerprint."""

    value: float
    lower: float
    upper: float
    n_real: int
    n_generated: int
    detail: dict[str, Any]


def percentiles(samples: Array) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile; NaN if over one sample in forty is no number (no effect to divide by)."""
    finite = samples[np.isfinite(samples)]
    if len(finite) < 0.975 * len(samples):
        return float("nan"), float("nan")
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def multinomial(n: int, resamples: int, seed: int) -> Array:
    """How often each of n things is drawn, in each of `resamples` draws with replacement: (resamples, n)."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def ratio_samples(above: Array, below: Array, cluster: NDArray[np.int64], resamples: int, seed: int) -> Array:
    """Σ above / Σ below with whole clusters (perturbations, all their doses together) drawn with replacement."""
    k = int(cluster.max()) + 1
    weight = multinomial(k, resamples, seed)
    top, bottom = np.bincount(cluster, above, k), np.bincount(cluster, below, k)
    total = weight @ bottom
    return np.divide(weight @ top, total, out=np.full(resamples, np.nan), where=total > 0)


@dataclass(frozen=True)
class Side:
    """One set of images ready for resampling: features, how often each image is drawn, and its mean inner distance.

    A resample never pairs an image with its own copy (their distance 0 would pull the mean down), so that resampled
    energies stay unbiased.
    """

    features: Array  # (n, d)
    weight: Array  # (resamples, n)
    within: float
    within_samples: Array  # (resamples,)


def side(features: Array, resamples: int, seed: int) -> Side:
    """Prepare one set of images, n ≥ 2."""
    n = len(features)
    weight = multinomial(n, resamples, seed)
    distance = pairwise(features, features)
    np.fill_diagonal(distance, 0.0)
    pairs = n**2 - np.square(weight).sum(1)  # of copies of different images
    total = ((weight @ distance) * weight).sum(1)
    samples = np.divide(total, pairs, out=np.full(resamples, np.nan), where=pairs > 0)
    return Side(features, weight, float(distance.sum() / (n * (n - 1))), samples)


def energy_samples(x: Side, y: Side) -> tuple[float, Array]:
    """The unbiased energy distance of two sides, and its resamples (images drawn with replacement on both)."""
    distance = pairwise(x.features, y.features)
    size = distance.size
    between = ((x.weight @ distance) * y.weight).sum(1) / size
    value = 2 * float(distance.mean()) - x.within - y.within
    return value, 2 * between - x.within_samples - y.within_samples
