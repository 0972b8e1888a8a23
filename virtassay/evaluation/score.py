"""The one loop that scores generators: features of all images that are needed, and each generator's metrics on them."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.evaluation_set import EvaluationSet, Rows, named
from virtassay.evaluation.featurizers.features import Features, Featurizer
from virtassay.evaluation.intervals import Scores
from virtassay.evaluation.metrics.effects import effects
from virtassay.evaluation.space import FeatureSpace, feature_space

log = logging.getLogger(__name__)
CHUNK = 4096  # images in memory at once


@dataclass(frozen=True)
class Measurement:
    """All scores of one generator in one featurizer by (metric, stratum), and the strata that could not be measured."""

    scores: Scores
    unmeasured: dict[str, str]  # stratum → why

    def warnings(self, where: str, verb: str) -> list[str]:
        """A sentence for each reason why strata could not be measured."""
        of: dict[str, list[str]] = {}  # reason → strata
        for name, reason in self.unmeasured.items():
            of.setdefault(reason, []).append(name)
        return [f"{where}: {len(of[why])} strata {verb} ({why}): {named(of[why])}." for why in sorted(of)]


def features_of(featurizer: Featurizer, rows: Rows, evaluation: EvaluationSet) -> Features:
    """Features of images of any kind, (rows, d), by one path, a chunk of images in memory at a time."""
    whole: Features = np.zeros((len(rows), 0))
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        features = np.asarray(featurizer(evaluation.images(chunk)), np.float64)
        if features.ndim != 2 or len(features) != len(chunk):
            raise ValueError(
                f"featurizer {featurizer.name!r} returned shape {features.shape} for {len(chunk)} images; expected "
                "(n, d)."
            )
        if start == 0:
            whole = np.empty((len(rows), features.shape[1]))
        whole[start : start + len(chunk)] = features
    return whole


def score(
    candidates: Mapping[str, Candidate],
    featurizers: Sequence[Featurizer],
    look: Callable[[Featurizer, Rows, EvaluationSet], Features] = features_of,
) -> Iterator[tuple[Featurizer, FeatureSpace, dict[str, Measurement]]]:
    """Measure every candidate in every featurizer: effects, on which the verdict rests, and its metrics beside them.

    Candidates share their real images; where their evaluation sets differ, the first gives units and images. look: how
    features are got. Yields one featurizer at a time.
    """
    evaluation = next(iter(candidates.values())).evaluation
    rows = rows_needed(candidates.values())
    for featurizer in featurizers:
        space = feature_space(featurizer.name, evaluation, rows, look(featurizer, rows, evaluation))
        yield featurizer, space, {name: _measured(candidate, space) for name, candidate in candidates.items()}
        log.info("measured %s", featurizer.name)


def _measured(candidate: Candidate, space: FeatureSpace) -> Measurement:
    scores, unmeasured = effects(candidate, space)
    for metric in candidate.metrics:
        scores |= metric(candidate, space)
    return Measurement(scores, unmeasured)


def rows_needed(candidates: Iterable[Candidate]) -> Rows:
    """Every image that stands on some side of the draws of some candidate, once and in order."""
    sets: list[Rows] = []
    for candidate in candidates:
        evaluation = candidate.evaluation
        sets += [evaluation.memory, np.array(list(evaluation.begun_at.values()), np.int64)]
        sets += [*evaluation.treated_training.values()]
        sets += [parts.all for division in evaluation.controls for parts in division.values()]
        sets += [rows for draw in candidate.draws for s in draw.values() for rows in (s.reference, s.generated)]
    return np.unique(np.concatenate(sets))
