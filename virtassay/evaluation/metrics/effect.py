"""Effects: how a treatment moves the mean features away from the controls, and whether the generated move agrees.

δ = mean φ(R) − mean φ(C) is the real effect of a treatment, δ̂ = mean φ(G) − mean φ(C′) the generated one, each
averaged over batches. C and C′ are different wells: a control shared by both sides manufactures agreement.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from virtassay.evaluation.evaluation_set import StratumImages
from virtassay.evaluation.intervals import energy_samples
from virtassay.evaluation.space import NAN, Array, FeatureSpace


def both_sides(generated: ArrayLike, real: ArrayLike) -> tuple[Array, Array]:
    """Both effects (treatments, features) as float64; ValueError for other shapes."""
    g, r = np.asarray(generated, np.float64), np.asarray(real, np.float64)
    if g.ndim != 2 or g.shape != r.shape:
        raise ValueError(f"effects have shapes {g.shape} and {r.shape}; expected both (treatments, features).")
    return g, r


def pearson_delta(generated: ArrayLike, real: ArrayLike) -> Array:
    """Correlation over features of each treatment's generated and real effect, (p,); NaN where an effect is constant.

    corr(δ̂_p, δ_p). Source: Roohani et al. 2023, Nat. Biotechnol. (GEARS). −1 to 1. It is fooled by an effect that
    all treatments share; `pearson_delta_centred` is not.
    """
    g, r = both_sides(generated, real)
    g, r = g - g.mean(1, keepdims=True), r - r.mean(1, keepdims=True)
    norm = np.linalg.norm(g, axis=1) * np.linalg.norm(r, axis=1)
    return np.divide((g * r).sum(1), norm, out=np.full(len(g), np.nan), where=norm > 0)


def pearson_delta_centred(generated: ArrayLike, real: ArrayLike, shared: ArrayLike) -> Array:
    """Correlation of what is specific to each treatment, (p,): corr(δ̂_p − c, δ_p − c), c the mean training effect."""
    g, r = both_sides(generated, real)
    c = np.asarray(shared, np.float64)
    return pearson_delta(g - c, r - c)


@dataclass(frozen=True)
class Slope:
    """Numerator and debiased denominator of effect_slope for each treatment, (p,) each."""

    along: Array
    size: Array


def effect_slope(generated: ArrayLike, real: ArrayLike, noise: ArrayLike) -> Slope:
    """Size of the generated effect along the real one, in units of the real effect: ⟨δ̂, δ⟩ / ⟨δ, δ⟩.

    1 is right, 0 is the control, 2 exaggerates. ⟨δ, δ⟩ of finite samples is too large by the variance of its means,
    `noise` = tr cov(R)/n_R + tr cov(C)/n_C for each treatment, which is subtracted. The two parts are returned, so that
    treatments are summed before the division: a single inactive treatment would divide by nothing.
    """
    g, r = both_sides(generated, real)
    return Slope((g * r).sum(1), np.square(r).sum(1) - np.asarray(noise, np.float64))


def mean_variance(features: Array) -> float:
    """Variance of the mean of n images, summed over features: tr cov / n."""
    return float(features.var(0, ddof=1).sum() / len(features))


@dataclass(frozen=True)
class StratumEffect:
    """One stratum of one draw; NaN energies and `problem` say that it could not be measured."""

    left: float  # energy(R, G)
    size: float  # energy(R, C)
    left_samples: Array
    size_samples: Array
    move: Array  # generated effect
    real_move: Array
    noise: float
    problem: str


def stratum_effect(sides: StratumImages, space: FeatureSpace, resamples: int) -> StratumEffect:
    """Measure what the generated images of a stratum leave of its effect, with `resamples` of both energies."""
    real, generated = space.of(sides.reference), space.of(sides.generated)
    control, other = space.of(sides.control), space.of(sides.generated_control)
    nothing = np.full(resamples, NAN)
    empty = np.full(space.raw.shape[1], NAN)
    problem = ""
    for name, x in (("real images", real), ("controls", control), ("controls", other)):
        problem = problem or _problem(name, x)
    if problem:
        return StratumEffect(NAN, NAN, nothing, nothing, empty, empty, NAN, problem)
    reference = space.side(sides.reference, resamples, True)
    size, size_samples = energy_samples(reference, space.side(sides.control, resamples, True))
    real_move = real.mean(0) - control.mean(0)
    noise = mean_variance(real) + mean_variance(control)
    problem = _problem("generated images", generated)
    if problem:
        return StratumEffect(NAN, size, nothing, size_samples, empty, real_move, noise, problem)
    left, left_samples = energy_samples(reference, space.side(sides.generated, resamples, False))
    return StratumEffect(
        left, size, left_samples, size_samples, generated.mean(0) - other.mean(0), real_move, noise, problem
    )


def _problem(name: str, x: Array) -> str:
    if len(x) < 2:
        return f"fewer than two {name}"
    return "" if np.isfinite(x).all() else f"{name} with features that are no numbers"
