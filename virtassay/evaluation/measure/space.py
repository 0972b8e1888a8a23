"""Feature space: the features of all the images that are needed, in the units in which effects are measured, and the
measurement of one stratum in it.

Distances between pools (fd, kd) use the features as they are, in the units of published figures. Energies and effects
use features in units of the real controls' s.d. within a batch, so that no single feature speaks for all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from virtassay.evaluation import intervals
from virtassay.evaluation.baselines import Sides
from virtassay.evaluation.evaluation_set import NO_ROWS, Rows, World
from virtassay.evaluation.metrics import effect

Array = NDArray[np.float64]
NAN = float("nan")


@dataclass(frozen=True)
class Space:
    """Features of the images that are needed, `raw` as they are; row r lies at position[r]. `of` scales them."""

    featurizer: str  # its name
    position: NDArray[np.int64]
    raw: Array
    scale: Array  # the controls' s.d. of each feature
    shared: list[Array]  # for each division of the controls: the mean effect c over training treatments
    n_constant: int
    sides: dict[tuple[bytes, int], intervals.Side] = field(default_factory=dict[tuple[bytes, int], intervals.Side])
    pools: dict[bytes, intervals.Scores] = field(default_factory=dict[bytes, intervals.Scores])  # already compared

    def of(self, rows: Rows) -> Array:
        """Features in units of the controls' s.d.: scaled here, for a second copy of all would double the memory."""
        return self.raw[self.position[rows]] / self.scale

    def side(self, rows: Rows, resamples: int, keep: bool) -> intervals.Side:
        """One side ready for resampling; equal rows get equal resamples. References and controls recur: `keep` them."""
        key = (rows.tobytes(), resamples)
        if key in self.sides:
            return self.sides[key]
        made = intervals.side(self.of(rows), resamples, int(rows.sum()))
        if keep:
            self.sides[key] = made
        return made


def space(featurizer: str, world: World, rows: Rows, features: Array) -> Space:
    """Scale features by the pooled within-batch s.d. of the real controls, and find the mean training effect.

    A feature that hardly varies among controls is divided by half its s.d. over all the real images instead, one
    that only a few images have by a tenth of its range over them (a trained network has hundreds of those, and a single
    image would speak for all), one that is constant throughout by 1: neither vanishes, neither takes over.
    """
    position = np.full(world.n_images, -1, np.int64)
    position[rows] = np.arange(len(rows))
    parts = [np.concatenate([c.real, c.generated, c.copy]) for c in world.controls[0].values()]
    groups = [features[position[p]] for p in parts if len(p) > 1]
    groups = [g for g in groups if np.isfinite(g).all()]
    squares = sum((np.square(g - g.mean(0)).sum(0) for g in groups), np.zeros(features.shape[1]))
    freedom = max(1, sum(len(g) - 1 for g in groups))
    real = features[rows < len(world.well)]
    finite = real[np.isfinite(real).all(1)]
    overall = np.maximum(0.5 * finite.std(0), 0.1 * np.ptp(finite, 0)) if len(finite) else np.zeros(features.shape[1])
    scale = np.maximum(np.sqrt(squares / freedom), overall)
    constant = scale <= 1e-9 * np.maximum(1e-9, np.abs(np.nan_to_num(real)).max(0, initial=0.0))
    made = Space(featurizer, position, features, np.where(constant, 1.0, scale), [], int(constant.sum()))
    made.shared.extend(_shared_effect(world, k, made.of) for k in range(len(world.controls)))
    return made


def _shared_effect(world: World, draw: int, of: Callable[[Rows], Array]) -> Array:
    """c: the mean over batches of (treated training images − controls)."""
    moves: list[Array] = [
        of(treated).mean(0) - of(controls).mean(0)
        for batch, treated in world.treated_training.items()
        for controls in [world.controls[draw][batch].real]
        if len(treated) and len(controls)
    ]
    finite: list[Array] = [m for m in moves if np.isfinite(m).all()]
    if not finite:
        return np.zeros(int(of(NO_ROWS).shape[1]))
    return np.asarray(np.mean(np.stack(finite), axis=0), np.float64)


@dataclass(frozen=True)
class Part:
    """One stratum of one draw; NaN energies and `problem` say that it could not be measured."""

    left: float  # energy(R, G)
    size: float  # energy(R, C)
    left_samples: Array
    size_samples: Array
    move: Array  # generated effect
    real_move: Array
    noise: float
    problem: str


def measure_part(sides: Sides, space: Space, resamples: int) -> Part:
    real, generated = space.of(sides.reference), space.of(sides.generated)
    control, other = space.of(sides.control), space.of(sides.generated_control)
    nothing = np.full(resamples, NAN)
    empty = np.full(space.raw.shape[1], NAN)
    problem = ""
    for name, x in (("real images", real), ("controls", control), ("controls", other)):
        problem = problem or _problem(name, x)
    if problem:
        return Part(NAN, NAN, nothing, nothing, empty, empty, NAN, problem)
    reference = space.side(sides.reference, resamples, True)
    size, size_samples = intervals.energy_samples(reference, space.side(sides.control, resamples, True))
    real_move = real.mean(0) - control.mean(0)
    noise = effect.mean_variance(real) + effect.mean_variance(control)
    problem = _problem("generated images", generated)
    if problem:
        return Part(NAN, size, nothing, size_samples, empty, real_move, noise, problem)
    left, left_samples = intervals.energy_samples(reference, space.side(sides.generated, resamples, False))
    return Part(left, size, left_samples, size_samples, generated.mean(0) - other.mean(0), real_move, noise, problem)


def _problem(name: str, x: Array) -> str:
    if len(x) < 2:
        return f"fewer than two {name}"
    return "" if np.isfinite(x).all() else f"{name} with features that are no numbers"
