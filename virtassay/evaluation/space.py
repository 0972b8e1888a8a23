"""Feature space: the features of all the images that are needed, in the units in which effects are measured.

Distances between pools (fd, kd) use the features as they are, in the units of published figures. Energies and effects
use features in units of the real controls' s.d. within a batch, so that no single feature speaks for all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from virtassay.evaluation import intervals
from virtassay.evaluation.evaluation_set import NO_ROWS, EvaluationSet, Rows

Array = NDArray[np.float64]
NAN = float("nan")


@dataclass(frozen=True)
class FeatureSpace:
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
        return self.raw_of(rows) / self.scale

    def raw_of(self, rows: Rows) -> Array:
        """Features as they are."""
        return self.raw[self.position[rows]]

    def side(self, rows: Rows, resamples: int, keep: bool) -> intervals.Side:
        """One side ready for resampling; equal rows get equal resamples. References and controls recur: `keep` them."""
        key = (rows.tobytes(), resamples)
        if key in self.sides:
            return self.sides[key]
        prepared = intervals.side(self.of(rows), resamples, int(rows.sum()))
        if keep:
            self.sides[key] = prepared
        return prepared


def feature_space(featurizer: str, evaluation: EvaluationSet, rows: Rows, features: Array) -> FeatureSpace:
    """Scale features by the pooled within-batch s.d. of the real controls, and find the mean training effect.

    A feature that hardly varies among controls is divided by half its s.d. over all the real images instead, one
    that only a few images have by a tenth of its range over them (a trained network has hundreds of those, and a single
    image would speak for all), one that is constant throughout by 1: neither vanishes, neither takes over.
    """
    position = np.full(evaluation.n_images, -1, np.int64)
    position[rows] = np.arange(len(rows))
    parts = [c.all for c in evaluation.controls[0].values()]
    groups = [features[position[p]] for p in parts if len(p) > 1]
    groups = [g for g in groups if np.isfinite(g).all()]
    squares = sum((np.square(g - g.mean(0)).sum(0) for g in groups), np.zeros(features.shape[1]))
    freedom = max(1, sum(len(g) - 1 for g in groups))
    real = features[rows < len(evaluation.well)]
    finite = real[np.isfinite(real).all(1)]
    overall = np.maximum(0.5 * finite.std(0), 0.1 * np.ptp(finite, 0)) if len(finite) else np.zeros(features.shape[1])
    scale = np.maximum(np.sqrt(squares / freedom), overall)
    constant = scale <= 1e-9 * np.maximum(1e-9, np.abs(np.nan_to_num(real)).max(0, initial=0.0))
    prepared = FeatureSpace(featurizer, position, features, np.where(constant, 1.0, scale), [], int(constant.sum()))
    prepared.shared.extend(_shared_effect(evaluation, k, prepared.of) for k in range(len(evaluation.controls)))
    return prepared


def _shared_effect(evaluation: EvaluationSet, draw: int, of: Callable[[Rows], Array]) -> Array:
    """c: the mean over batches of (treated training images − controls)."""
    moves: list[Array] = [
        of(treated).mean(0) - of(controls).mean(0)
        for batch, treated in evaluation.treated_training.items()
        for controls in [evaluation.controls[draw][batch].real]
        if len(treated) and len(controls)
    ]
    finite: list[Array] = [m for m in moves if np.isfinite(m).all()]
    if not finite:
        return np.zeros(int(of(NO_ROWS).shape[1]))
    return np.asarray(np.mean(np.stack(finite), axis=0), np.float64)
