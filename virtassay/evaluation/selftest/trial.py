"""Judge generators whose faults are known, by every metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from virtassay.evaluation import baselines, strata
from virtassay.evaluation.baselines import Draw, Sides
from virtassay.evaluation.evaluation_set import World
from virtassay.evaluation.featurizers.features import Featurizer
from virtassay.evaluation.judgement import BASELINES, CEILING, INFORMED, MODEL, POOLED, Row
from virtassay.evaluation.measure import across, maps, pools, within
from virtassay.evaluation.measure.measure import Metric, measure
from virtassay.evaluation.measure.space import space
from virtassay.evaluation.selftest.generators import Generator, oracle
from virtassay.evaluation.selftest.screen import Screen, drug_of, write
from virtassay.evaluation.verdict import anchored, verdict

METRICS: tuple[Metric, ...] = (
    pools.distances,
    pools.extrapolated,
    pools.published_kernel,
    pools.manifolds,
    pools.memorised,
    within.spread,
    within.told_apart,
    across.recognised,
    across.batches_shown,
    across.retrieved,
    partial(maps.related, pairs={"moa": None}),
)
ALL = 10**9  # images of a kind: as many as there are
REPEATS = 3  # halvings of the replicates and shufflings of the labels


@dataclass(frozen=True)
class Outcome:
    """What the judgement said of one generator: its pooled scores, and the verdict (see `Judgement`)."""

    rows: list[Row]
    verdict: dict[str, Any]


def trial(
    screen: Screen,
    generators: Mapping[str, Generator],
    featurizers: Sequence[Featurizer],
    folder: Path,
    *,
    metrics: Sequence[Metric] = METRICS,
    resamples: int = 200,
) -> dict[str, Outcome]:
    """Judge each generator as if it were the model, beside the same baselines and replicates.

    The oracle's images are written to `folder`/oracle. Baselines are measured once, their effects only: the verdict
    looks at no more of them. `metrics` are asked of the generators beside the effects.
    """
    made = write(folder / "oracle", [(well, "generated", oracle(screen, well)) for well in screen.requests])
    world = strata.build(
        screen.real,
        made,
        split="test",
        seed=0,
        draws=REPEATS,
        max_images=ALL,
        max_controls=ALL,
        max_training=ALL,
        max_memory=ALL,
    )
    beside = {name: [getattr(baselines, name)(world, 0)] for name in (*BASELINES, *INFORMED)}
    for name in ("label_shuffled", CEILING):
        beside[name] = [getattr(baselines, name)(world, k) for k in range(REPEATS)]
    draws = {name: _draw(world, screen, generator) for name, generator in generators.items()}
    everything = np.arange(world.n_images)
    rows: dict[str, list[Row]] = {name: [] for name in generators}
    for featurizer in featurizers:
        there = space(featurizer.name, world, everything, featurizer(world.images(everything)))
        known = {name: measure(name, draw, world, there, resamples, ()).scores for name, draw in beside.items()}
        fingerprint = {"featurizer": featurizer.name, "features": "", **featurizer.fingerprint()}
        for name, draw in draws.items():
            scores = measure(MODEL, [draw], world, there, resamples, metrics).scores
            rows[name] += anchored({MODEL: scores, **known}, fingerprint)
    return {
        name: Outcome([r for r in found if (r["generator"], r["stratum"]) == (MODEL, POOLED)], verdict(found, []))
        for name, found in rows.items()
    }


def _draw(world: World, screen: Screen, generator: Generator) -> Draw:
    """The answers to all requests in the place of the model's images."""
    requests = {(w.batch, drug_of(w)): w for w in screen.requests}
    draw: Draw = {}
    for s in world.strata:
        controls = world.controls[0][s.batch]
        rows = world.add(generator(screen, requests[s.batch, s.perturbation]))
        draw[s.name] = Sides(s.real, rows, controls.real, controls.generated)
    return draw
