"""Metrics across strata: are treatments recognised, do related ones resemble each other, and does the batch show?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from virtassay.evaluation.baselines import Draw
from virtassay.evaluation.intervals import Score, Scores, over_perturbations, percentiles
from virtassay.evaluation.judgement import MODEL, POOLED
from virtassay.evaluation.measure.space import NAN, Space
from virtassay.evaluation.metrics.alignment import align
from virtassay.evaluation.metrics.classify import batch_leak, cross_accuracy
from virtassay.evaluation.metrics.maps import map_concordance, perturbation_map, recall_samples, relation_recall
from virtassay.evaluation.metrics.recall import retrieval_map
from virtassay.evaluation.metrics.relations import Pairs, pairs_by_seen, pairs_of_label, read_pairs
from virtassay.evaluation.world import Rows, Stratum, World

Array = NDArray[np.float64]


def recognised(generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int) -> Scores:
    """cas and accuracy_on_generated of treatments, on features less the mean of the batch's controls."""
    draw = draws[0]
    real, wells = _centred(draw, world, space, "reference"), _wells(draw, world)
    generated = _centred(draw, world, space, "generated")
    labels, of = (_labels(draw, world, side, "treatment") for side in ("reference", "generated"))
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
    real, generated = (_rows(draw, world, side) for side in ("reference", "generated"))
    labels, of = (_labels(draw, world, side, "batch") for side in ("reference", "generated"))
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


def related(
    generator: str,
    draws: Sequence[Draw],
    world: World,
    space: Space,
    resamples: int,
    *,
    pairs: Mapping[str, str | Path | None],
) -> Scores:
    """relation_recall of each list of known pairs, by seen and unseen perturbations, and map_concordance.

    pairs: name → a table of two columns of names; None: pairs of the same mechanism. Maps are of perturbations, their
    doses together, from features aligned as EFAAR does (`alignment.align`).
    """
    draw = draws[0]
    controls = [(b, np.concatenate([parts.real, parts.generated])) for b, parts in world.controls[0].items()]
    controls = [(b, rows) for b, rows in controls if b in {s.batch for s in world.strata}]
    real, generated = (_rows(draw, world, side) for side in ("reference", "generated"))
    sizes = [sum(len(rows) for _, rows in controls), len(real), len(generated)]
    batch = [b for b, rows in controls for _ in rows.tolist()]
    batch += _labels(draw, world, "reference", "batch") + _labels(draw, world, "generated", "batch")
    kind = np.repeat([0, 1, 2], sizes)
    x = space.raw[space.position[np.concatenate([*(rows for _, rows in controls), real, generated])]]
    usable = np.asarray(np.isfinite(x).all(1), np.bool_)
    n = (len(real), len(generated))
    if not usable[kind < 2].all() or min(len(rows) for _, rows in controls) < 2:
        return {}
    where = np.array(batch)[usable].tolist()
    fitted = align(x[usable], kind[usable] == 0, kind[usable] < 2, where)
    aligned = np.full((len(x), fitted.shape[1]), NAN)
    aligned[usable] = fitted
    names, of_real = _map(aligned[kind == 1], draw, world, "reference")
    there, of_generated = _map(aligned[kind == 2], draw, world, "generated")
    if len(names) < 3:
        return {}
    made = np.full(of_real.shape, NAN)
    made[[names.index(name) for name in there]] = of_generated
    facts = {s.perturbation: s for s in world.strata}
    scores: Scores = {
        ("map_concordance", POOLED): Score(map_concordance(made, of_real), NAN, NAN, *n, {"interval": "none"})
    }
    for relation, path in pairs.items():
        known = _known(path, [facts[name] for name in names])
        if known is None:
            continue
        found = relation_recall(made, known)
        for part, mask in {
            "": np.ones(len(known), np.bool_),
            **pairs_by_seen(known, [facts[m].seen for m in names]),
        }.items():
            if mask.any() and not (part and mask.all()):
                samples = recall_samples(found[mask], known[mask], len(names), resamples, world.seed)
                label = f"bootstrap over {len(names)} perturbations"
                name = "relation_recall" + (f"_{part}" if part else "")
                value = float(found[mask].mean())
                scores[name if relation == "moa" else f"{name}:{relation}", POOLED] = Score(
                    value,
                    *percentiles(samples),
                    *n,
                    {"interval": label, "pairs": int(mask.sum()), "relation": relation},
                )
    return scores


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
    n = (len(_rows(draw, world, "reference")), len(_rows(draw, world, "generated")))
    names = [s.perturbation for s in world.strata]
    return {("retrieval_map", POOLED): over_perturbations(found, np.ones(len(found)), names, n, resamples, world.seed)}


def _known(path: str | Path | None, rows: Sequence[Stratum]) -> Pairs | None:
    if path is not None:
        return read_pairs(path, [s.perturbation for s in rows])
    labels = [s.moa for s in rows]
    named = [label for label in labels if label is not None]
    return pairs_of_label(labels) if len(set(named)) < len(named) else None


def _map(aligned: Array, draw: Draw, world: World, side: str) -> tuple[list[str], Array]:
    return perturbation_map(aligned, _labels(draw, world, side, "perturbation"), _labels(draw, world, side, "batch"))


def _rows(draw: Draw, world: World, side: str) -> Rows:
    return np.concatenate([getattr(draw[s.name], side) for s in world.strata])


def _wells(draw: Draw, world: World) -> NDArray[np.int64]:
    return world.well[_rows(draw, world, "reference")]


def _labels(draw: Draw, world: World, side: str, what: str) -> list[str]:
    return [str(getattr(s, what)) for s in world.strata for _ in getattr(draw[s.name], side).tolist()]


def _centred(draw: Draw, world: World, space: Space, side: str) -> Array:
    control = "control" if side == "reference" else "generated_control"
    zero = [space.of(getattr(draw[s.name], control)).mean(0) for s in world.strata]
    return np.concatenate([space.of(getattr(draw[s.name], side)) - z for s, z in zip(world.strata, zero, strict=True)])
