"""Metrics across strata: are treatments recognised, are their wells found, and does the batch show?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from virtassay.evaluation.baselines import Draw
from virtassay.evaluation.evaluation_set import Stratum, World
from virtassay.evaluation.intervals import Score, Scores, over_perturbations
from virtassay.evaluation.judgement import MODEL, POOLED
from virtassay.evaluation.measure.sides import labels_of, rows_of
from virtassay.evaluation.measure.space import NAN, Space
from virtassay.evaluation.metrics.classify import batch_leak, cross_accuracy
from virtassay.evaluation.metrics.recall import retrieval_map

Array = NDArray[np.float64]


def recognised(generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int) -> Scores:
    """cas and accuracy_on_generated of treatments, on features less the mean of the batch's controls."""
    draw = draws[0]
    real, wells = _centred(draw, world, space, "reference"), _wells(draw, world)
    generated = _centred(draw, world, space, "generated")
    labels, of = (labels_of(draw, world, side, "treatment") for side in ("reference", "generated"))
    found = cross_accuracy(real, labels, wells, generated, of, seed=world.seed)
    owner = {s.treatment: s.perturbation for s in world.strata}
    names = [owner[str(label)] for label in found.labels]
    teachable = len(names) > 1 and float(found.real_to_real.mean()) > found.chance
    below = found.real_to_real if teachable else np.full(len(names), NAN)
    n, chance = (len(real), len(generated)), found.chance if len(names) else None
    return {
        (metric, POOLED): over_perturbations(above, below, names, n, resamples, world.seed, chance=chance)
        for metric, above in (("cas", found.generated_to_real), ("accuracy_on_generated", found.real_to_generated))
    }


def batches_shown(generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int) -> Scores:
    """batch_leak: accuracy on generated less that on real images; _aligned: on φ less a batch's mean control."""
    draw = draws[0]
    batches = sorted({s.batch for s in world.strata})
    controls = np.concatenate([world.controls[0][b].real for b in batches])
    of_controls = np.repeat(batches, [len(world.controls[0][b].real) for b in batches])
    real, generated = (rows_of(draw, world, side) for side in ("reference", "generated"))
    labels, of = (labels_of(draw, world, side, "batch") for side in ("reference", "generated"))
    found = batch_leak(space.of(controls), of_controls, space.of(real), labels, space.of(generated), of)
    n = (len(real), len(generated))
    return {
        (metric, POOLED): Score(
            float(np.mean(made - true)) if len(found.batches) > 1 else NAN,
            NAN,
            NAN,
            *n,
            {"interval": "none", "accuracy_on_real": float(np.mean(true)) if len(found.batches) > 1 else None},
        )
        for metric, made, true in (
            ("batch_leak", found.generated, found.real),
            ("batch_leak_aligned", found.generated_less_controls, found.real_less_controls),
        )
    }


def retrieved(generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int) -> Scores:
    """retrieval_map: does the generated effect of a stratum find the real wells of its treatment in the batch?"""
    draw = draws[0]
    wells: list[Array] = []
    of_wells: list[Stratum] = []
    queries: list[Array] = []
    for s in world.strata:
        sides = draw[s.name]
        zero, other = space.of(sides.control).mean(0), space.of(sides.generated_control).mean(0)
        for well in np.unique(world.well[sides.reference]):
            wells.append(space.of(sides.reference[world.well[sides.reference] == well]).mean(0) - zero)
            of_wells.append(s)
        empty = np.full_like(zero, NAN)
        queries.append(space.of(sides.generated).mean(0) - other if len(sides.generated) else empty)
    found = retrieval_map(
        np.stack(queries),
        np.stack(wells),
        ([s.treatment for s in world.strata], [s.treatment for s in of_wells]),
        ([s.batch for s in world.strata], [s.batch for s in of_wells]),
    )
    if generator != MODEL:
        found[[len(draw[s.name].generated) == 0 for s in world.strata]] = NAN
    n = (len(rows_of(draw, world, "reference")), len(rows_of(draw, world, "generated")))
    names = [s.perturbation for s in world.strata]
    return {("retrieval_map", POOLED): over_perturbations(found, np.ones(len(found)), names, n, resamples, world.seed)}


def _wells(draw: Draw, world: World) -> NDArray[np.int64]:
    return world.well[rows_of(draw, world, "reference")]


def _centred(draw: Draw, world: World, space: Space, side: str) -> Array:
    control = "control" if side == "reference" else "generated_control"
    zero = [space.of(getattr(draw[s.name], control)).mean(0) for s in world.strata]
    return np.concatenate([space.of(getattr(draw[s.name], side)) - z for s, z in zip(world.strata, zero, strict=True)])
