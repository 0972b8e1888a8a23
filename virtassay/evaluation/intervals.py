"""Intervals by the bootstrap: over perturbations for a pooled score, over images for one stratum."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
FEWEST_PERTURBATIONS = 5  # with fewer, resampling them says nothing: the images are resampled instead
NO_SAMPLES: Array = np.zeros(0)


@dataclass(frozen=True)
class Score:
    """One number with its 95 % interval; `detail` joins the fingerprint.

    samples: the number in each resample, (resamples,) or none. With one seed and the same strata, resample i draws the
    same perturbations for every generator, so that two generators' samples can be subtracted.
    """

    value: float
    lower: float
    upper: float
    n_real: int
    n_generated: int
    detail: dict[str, Any]
    samples: Array = field(default_factory=lambda: NO_SAMPLES, repr=False, compare=False)


def plain(value: float, counts: tuple[int, int], **detail: Any) -> Score:
    """A score without an interval; counts: images on either side."""
    return Score(value, float("nan"), float("nan"), *counts, {"interval": "none", **detail})


def with_error(
    value: float, error: float, n: tuple[int, int], detail: dict[str, Any], samples: Array = NO_SAMPLES
) -> Score:
    """A score ± 1.96 standard errors; n: images on either side."""
    return Score(value, value - 1.96 * error, value + 1.96 * error, *n, detail, samples)


Scores = dict[tuple[str, str], Score]  # by metric and stratum


def percentiles(samples: Array) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile; NaN without samples, or if over one in forty is no number (no effect)."""
    finite = samples[np.isfinite(samples)]
    if len(finite) < 0.975 * len(samples) or not len(samples):
        return float("nan"), float("nan")
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def numbered(labels: ArrayLike) -> NDArray[np.int64]:
    """Number the labels 0…k−1, in their order, (n,)."""
    return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64)


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


def jackknife_samples(value: float, left_out: Array, resamples: int, seed: int) -> Array:
    """Resample a number that drawing with replacement would bias, from its values with one part left out, (g,).

    θ*_i = θ + √((g − 1)/g) Σ_k m_ik (θ̄ − θ_(k)), m_i how often each part is drawn: the bootstrap to first order, whose
    variance is the jackknife's, (g − 1)/g Σ_k (θ_(k) − θ̄)². Source: Efron and Tibshirani 1993, An Introduction to the
    Bootstrap, ch. 20. Fewer than two values give no samples.
    """
    g = len(left_out)
    if g < 2:
        return NO_SAMPLES
    return value + np.sqrt((g - 1) / g) * (multinomial(g, resamples, seed) @ (left_out.mean() - left_out))


def jackknifed(value: float, left_out: Array, n: tuple[int, int], resamples: int, seed: int) -> Score:
    """A score, ± 1.96 standard errors, from estimates that each leave out some perturbations; fewer than two: none."""
    g = len(left_out)
    error = float(np.sqrt((g - 1) * np.var(left_out))) if g > 1 else float("nan")
    detail = {"repeats": 1, "interval": "± 1.96 jackknife standard errors over perturbations"}
    return with_error(value, error, n, detail, jackknife_samples(value, left_out, resamples, seed))


def over_perturbations(
    above: Array, below: Array, names: Sequence[str], n: tuple[int, int], resamples: int, seed: int, **detail: Any
) -> Score:
    """Σ above / Σ below with a bootstrap over the things called by `names`; what is NaN is left out and not counted."""
    kept = np.flatnonzero(np.isfinite(above) & np.isfinite(below))
    total = below[kept].sum()
    if not total > 0:
        return plain(float("nan"), n, **{"n": len(kept), **detail})
    cluster = numbered(np.array(names)[kept])
    samples = NO_SAMPLES  # one thing resampled is always itself
    if cluster.max() > 0:
        samples = ratio_samples(above[kept], below[kept], cluster, resamples, seed)
    known = {"interval": f"bootstrap over {cluster.max() + 1} perturbations", "n": len(kept), **detail}
    return Score(float(above[kept].sum() / total), *percentiles(samples), *n, known, samples)


def pairwise(x: Array, y: Array) -> Array:
    """Euclidean distances ‖x_i − y_j‖, (n, m); exactly 0 for equal rows."""
    centre = y.mean(0)  # products of small numbers lose fewer digits
    a, b = x - centre, y - centre
    scale = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None, :]
    square = scale - 2 * (a @ b.T)
    square[square <= 1e-12 * scale] = 0.0  # below that it is rounding; NaN stays NaN
    return np.sqrt(square)


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
