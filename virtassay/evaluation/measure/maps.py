"""Maps of perturbations, real and generated: do related ones resemble each other, do compounds find their targets?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from virtassay.evaluation.baselines import Draw
from virtassay.evaluation.evaluation_set import Stratum, World
from virtassay.evaluation.intervals import Score, Scores, jackknifed, over_perturbations, percentiles
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.measure.sides import labels_of, rows_of
from virtassay.evaluation.measure.space import NAN, Space
from virtassay.evaluation.metrics.alignment import align
from virtassay.evaluation.metrics.maps import (
    compound_gene_ap,
    map_concordance,
    perturbation_map,
    recall_samples,
    relation_recall,
)
from virtassay.evaluation.metrics.relations import Pairs, pairs_by_seen, pairs_of_label, read_pairs, read_targets

Array = NDArray[np.float64]
JACKKNIFE_GROUPS = 20


@dataclass(frozen=True)
class Maps:
    """names: of the perturbations, (p,). real, generated: their vectors (p, d); NaN where nothing was generated."""

    names: list[str]
    real: Array
    generated: Array
    n: tuple[int, int]  # images on either side


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
    maps = _maps(draws[0], world, space)
    if maps is None:
        return {}
    names, made = maps.names, maps.generated
    facts = {s.perturbation: s for s in world.strata}
    scores: Scores = {("map_concordance", POOLED): _concordance(maps, resamples, world.seed)}
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
                    *maps.n,
                    {"interval": label, "pairs": int(mask.sum()), "relation": relation},
                )
    return scores


def on_target(
    generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int, *, known: str | Path
) -> Scores:
    """compound_gene_ap and compound_gene_auc: do compounds resemble the loss of the genes that they act on?

    known: a table of two columns, a compound and a gene that it targets, called as the perturbations are.
    """
    maps = _maps(draws[0], world, space)
    if maps is None:
        return {}
    targets = read_targets(known, maps.names)
    found = compound_gene_ap(maps.generated, maps.generated, targets, world.seed)
    told = {
        "pairs": len(targets),
        "chance": float(np.nanmean(found.chance)) if np.isfinite(found.chance).any() else None,
    }
    return {
        (metric, POOLED): over_perturbations(
            values, np.ones(len(values)), maps.names, maps.n, resamples, world.seed, **told
        )
        for metric, values in (("compound_gene_ap", found.ap), ("compound_gene_auc", found.auc))
    }


def _maps(draw: Draw, world: World, space: Space) -> Maps | None:
    """Both maps, aligned together; None where real images, controls or perturbations are too few for any."""
    controls = [(b, np.concatenate([parts.real, parts.generated])) for b, parts in world.controls[0].items()]
    controls = [(b, rows) for b, rows in controls if b in {s.batch for s in world.strata}]
    real, generated = (rows_of(draw, world, side) for side in ("reference", "generated"))
    sizes = [sum(len(rows) for _, rows in controls), len(real), len(generated)]
    batch = [b for b, rows in controls for _ in rows.tolist()]
    batch += labels_of(draw, world, "reference", "batch") + labels_of(draw, world, "generated", "batch")
    kind = np.repeat([0, 1, 2], sizes)
    x = space.raw[space.position[np.concatenate([*(rows for _, rows in controls), real, generated])]]
    usable = np.asarray(np.isfinite(x).all(1), np.bool_)
    if not usable[kind < 2].all() or min(len(rows) for _, rows in controls) < 2:
        return None
    where = np.array(batch)[usable].tolist()
    fitted = align(x[usable], kind[usable] == 0, kind[usable] < 2, where)
    aligned = np.full((len(x), fitted.shape[1]), NAN)
    aligned[usable] = fitted
    names, of_real = _map(aligned[kind == 1], draw, world, "reference")
    there, of_generated = _map(aligned[kind == 2], draw, world, "generated")
    if len(names) < 3:
        return None
    made = np.full(of_real.shape, NAN)
    made[[names.index(name) for name in there]] = of_generated
    return Maps(names, of_real, made, (len(real), len(generated)))


def _concordance(maps: Maps, resamples: int, seed: int) -> Score:
    """Left out a group of perturbations at a time: drawn twice, a perturbation would be exactly like itself."""
    p = len(maps.names)
    groups = min(JACKKNIFE_GROUPS, p)
    kept = [np.arange(p) % groups != g for g in range(groups)]
    left_out = [map_concordance(maps.generated[k], maps.real[k]) for k in kept if k.sum() >= 3]
    return jackknifed(map_concordance(maps.generated, maps.real), np.array(left_out), maps.n, resamples, seed)


def _known(path: str | Path | None, rows: Sequence[Stratum]) -> Pairs | None:
    if path is not None:
        return read_pairs(path, [s.perturbation for s in rows])
    labels = [s.moa for s in rows]
    named = [label for label in labels if label is not None]
    return pairs_of_label(labels) if len(set(named)) < len(named) else None


def _map(aligned: Array, draw: Draw, world: World, side: str) -> tuple[list[str], Array]:
    return perturbation_map(
        aligned, labels_of(draw, world, side, "perturbation"), labels_of(draw, world, side, "batch")
    )
