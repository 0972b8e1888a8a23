"""What the model gets right and wrong about each treatment: strength, direction, discrimination, spread, rare cells."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from virtassay.evaluation.evaluation_set import Assignment, EvaluationSet, StratumImages
from virtassay.evaluation.metrics import effect, recall
from virtassay.evaluation.metrics.spread import FEWEST, control_tails, variance_ratio
from virtassay.evaluation.metrics.treatments import finite_mean
from virtassay.evaluation.space import NAN, Array, FeatureSpace

NUMBERS = ("slope", "direction", "pds", "variance_ratio", "real_rare", "generated_rare")


def findings(evaluation: EvaluationSet, draw: Assignment, space: FeatureSpace) -> pl.DataFrame:
    """One row per treatment in one featurizer, its batches averaged.

    slope = ⟨δ̂, δ⟩/⟨δ, δ⟩ as in `effect.effect_slope`: 1 is right. direction = ⟨δ̂, δ⟩/√(⟨δ̂, δ̂⟩⟨δ, δ⟩), cut to −1…1:
    1 is right, 0 unrelated. ⟨δ, δ⟩ and ⟨δ̂, δ̂⟩ are less the variance of their means, for noise alone bends any direction
    (Spearman 1904, correction for attenuation). pds as in `recall.pds`: chance is 0.5. variance_ratio and the shares of
    rare cells as in `spread`, the mean over strata of ten real images or more.
    `clear` says whether the real effect is larger than its noise. Where it is not there is nothing to be right about:
    slope, direction and pds are NaN; so they are where the generated effect is missing, and direction where that is no
    larger than its own noise. The last three are NaN where no spread could be measured.
    Columns: featurizer, treatment, clear, and NUMBERS.
    """
    names = sorted({s.treatment for s in evaluation.strata})
    members = [[i for i, s in enumerate(evaluation.strata) if s.treatment == name] for name in names]
    of_strata = [_moves(draw[s.name], space) for s in evaluation.strata]
    moves = [_mean([of_strata[i] for i in m]) for m in members]
    move, real = np.stack([m.generated for m in moves]), np.stack([m.real for m in moves])
    noise, own_noise = np.array([m.real_noise for m in moves]), np.array([m.generated_noise for m in moves])
    slope = effect.effect_slope(move, real, noise)
    clear = slope.size > noise
    size, own = np.where(clear, slope.size, NAN), np.square(move).sum(1) - own_noise
    own = np.where(own > own_noise, own, NAN)
    known = np.flatnonzero(np.isfinite(real).all(1))  # one effect that is no number would take the others along
    pds = np.full(len(names), NAN)
    pds[known] = recall.pds(move[known], real[known], space.shared[0])
    inside = _inside(evaluation, draw, space)
    spread = np.stack([finite_mean(inside[m]) for m in members])
    columns = [
        slope.along / size,
        np.clip(slope.along / np.sqrt(own * size), -1, 1),
        np.where(clear, pds, NAN),
        *spread.T,
    ]
    return pl.DataFrame(
        {"featurizer": space.featurizer, "treatment": names, "clear": clear} | dict(zip(NUMBERS, columns, strict=True))
    )


@dataclass(frozen=True)
class _Moves:
    """δ and δ̂, and the variance of each summed over features."""

    real: Array
    generated: Array
    real_noise: float
    generated_noise: float

    @property
    def complete(self) -> bool:
        return bool(np.isfinite(self.real).all() and np.isfinite(self.generated).all())


def _moves(sides: StratumImages, space: FeatureSpace) -> _Moves:
    (r, r_noise), (g, g_noise), (c, c_noise), (o, o_noise) = (
        _centre(space.of(rows)) for rows in (sides.reference, sides.generated, sides.control, sides.generated_control)
    )
    return _Moves(r - c, g - o, r_noise + c_noise, g_noise + o_noise)


def _centre(x: Array) -> tuple[Array, float]:
    """Mean and its variance; NaN for fewer than two images."""
    if len(x) < 2:
        return np.full_like(x, NAN, shape=x.shape[1:]), NAN
    return x.mean(0), effect.mean_variance(x)


def _mean(moves: Sequence[_Moves]) -> _Moves:
    """The mean over batches: those where both effects are known, if there are any."""
    used = [m for m in moves if m.complete] or moves
    n = len(used)
    return _Moves(
        np.mean([m.real for m in used], 0),
        np.mean([m.generated for m in used], 0),
        sum(m.real_noise for m in used) / n**2,
        sum(m.generated_noise for m in used) / n**2,
    )


def _inside(evaluation: EvaluationSet, draw: Assignment, space: FeatureSpace) -> Array:
    """variance_ratio, and the real and generated share of rare cells, of each stratum, (strata, 3)."""
    tails = control_tails(evaluation, space)
    inside = np.full((len(evaluation.strata), 3), NAN)
    for i, s in enumerate(evaluation.strata):
        real, generated = space.of(draw[s.name].reference), space.of(draw[s.name].generated)
        if len(real) < FEWEST:
            continue
        inside[i, 0] = variance_ratio(real, generated)
        if np.isfinite(tails[s.batch].threshold) and len(generated):
            inside[i, 1:] = [tails[s.batch].share_beyond(side) for side in (real, generated)]
    return inside
