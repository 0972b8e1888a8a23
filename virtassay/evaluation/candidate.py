"""What is measured, and what measures it: a generator's images in an evaluation set, and the metrics.

A metric is a function with a description beside it (`glossary`); one's own is named in the configuration by its import
path, as ours are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from virtassay.evaluation.evaluation_set import Assignment, EvaluationSet, Rows
from virtassay.evaluation.intervals import Array, Score, Scores, over_perturbations
from virtassay.evaluation.space import FeatureSpace


class Metric(Protocol):
    """A measurement of one candidate in one feature space: scores by (metric, stratum), stratum POOLED for all."""

    def __call__(self, candidate: "Candidate", space: FeatureSpace) -> Scores: ...


@dataclass(frozen=True)
class Candidate:
    """One generator to be measured.

    draws: its images in one seeded assignment or more; metrics look at the first, effects at the mean of all.
    resamples: of each bootstrap. is_model: what it lacks counts as worst; a baseline's is left out, for the worst value
    would lower a floor. metrics: what is measured beside its effects.
    """

    evaluation: EvaluationSet
    draws: Sequence[Assignment]
    resamples: int
    is_model: bool = False
    metrics: Sequence[Metric] = ()

    def rows(self, side: str) -> Rows:
        """All images of a side ("reference", "generated") of the first draw, stratum by stratum."""
        return np.concatenate([getattr(self.draws[0][s.name], side) for s in self.evaluation.strata])

    def labels(self, side: str, what: str) -> list[str]:
        """The batch, perturbation … of each of `rows`."""
        counts = [len(getattr(self.draws[0][s.name], side)) for s in self.evaluation.strata]
        return [str(getattr(s, what)) for s, n in zip(self.evaluation.strata, counts, strict=True) for _ in range(n)]

    def pooled(
        self,
        values: Array,
        names: Sequence[str],
        below: Array | None = None,
        n: tuple[int, int] | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Score:
        """The mean of `values`, or Σ values / Σ below, with a bootstrap over the perturbations called by `names`."""
        total = np.ones(len(values)) if below is None else below
        again = n or self.counts, self.resamples, self.evaluation.seed
        return over_perturbations(values, total, names, *again, **(detail or {}))

    @property
    def counts(self) -> tuple[int, int]:
        """How many images stand on either side of the first draw."""
        return len(self.rows("reference")), len(self.rows("generated"))
