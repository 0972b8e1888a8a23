"""Which images a measurement looks at, and their features."""

from collections.abc import Mapping, Sequence

import numpy as np

from virtassay.evaluation.baselines import Draw
from virtassay.evaluation.evaluation_set import Rows, World
from virtassay.evaluation.featurizers.features import Features, Featurizer

CHUNK = 4096  # images in memory at once


def require_own_names(featurizers: Sequence[Featurizer]) -> None:
    """Raise ValueError unless there are featurizers, each with a name of its own."""
    names = [f.name for f in featurizers]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"featurizers are {names}; give one or more, each with a name of its own.")


def rows_needed(world: World, draws: Mapping[str, Sequence[Draw]]) -> Rows:
    """Every image that stands on some side of the draws of some generator, once and in order."""
    sets: list[Rows] = [
        world.memory,
        np.array(list(world.begun_at.values()), np.int64),
        *world.treated_training.values(),
    ]
    for division in world.controls:
        sets += [part for c in division.values() for part in (c.real, c.generated, c.copy)]
    for generator in draws.values():
        sets += [part for draw in generator for s in draw.values() for part in (s.reference, s.generated)]
    return np.unique(np.concatenate(sets))


def features_of(featurizer: Featurizer, rows: Rows, world: World) -> Features:
    """Features of images of any kind by one path, a chunk of images in memory at a time."""
    whole: Features = np.zeros((len(rows), 0))
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        features = np.asarray(featurizer(world.images(chunk)), np.float64)
        if features.ndim != 2 or len(features) != len(chunk):
            raise ValueError(
                f"featurizer {featurizer.name!r} returned shape {features.shape} for {len(chunk)} images; expected "
                "(n, d)."
            )
        if start == 0:
            whole = np.empty((len(rows), features.shape[1]))
        whole[start : start + len(chunk)] = features
    return whole
