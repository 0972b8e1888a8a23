"""Metrics inside a stratum: its spread, its rare cells, and whether generated images can be told from real ones."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from virtassay.evaluation.baselines import Draw, Sides
from virtassay.evaluation.evaluation_set import World
from virtassay.evaluation.intervals import Scores, over_perturbations
from virtassay.evaluation.judgement import MODEL, POOLED
from virtassay.evaluation.measure.space import NAN, Space
from virtassay.evaluation.metrics.c2st import c2st_conditional
from virtassay.evaluation.metrics.counterfactual import paired_effect
from virtassay.evaluation.metrics.spread import control_tail, rare_fraction_error, variance_ratio

Array = NDArray[np.float64]
FEWEST = 10  # images on either side: fewer say nothing about a spread


def spread(generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int) -> Scores:
    """variance_ratio and rare_fraction_error of one generator's first draw, the mean over strata.

    Spread is measured about the means of wells' batches, so on what a stratum holds. A batch's tail is that of its
    controls, of which the generated side has none. Strata of fewer than ten real images are left out.
    """
    draw = draws[0]
    names = [s.perturbation for s in world.strata]
    tails = {
        batch: control_tail(space.of(rows), world.well[rows], seed=world.seed)
        for batch, parts in world.controls[0].items()
        if len(rows := np.concatenate([parts.real, parts.generated, parts.copy]))
    }
    ratio, error, share = (np.full(len(names), NAN) for _ in range(3))
    for i, s in enumerate(world.strata):
        real, generated = space.of(draw[s.name].reference), space.of(draw[s.name].generated)
        if len(real) < FEWEST or (generator != MODEL and len(generated) < FEWEST):
            continue
        ratio[i] = variance_ratio(real, generated)
        error[i] = rare_fraction_error(tails[s.batch], real, generated)
        share[i] = tails[s.batch].share_beyond(real)
    n, one = _counts(draw.values()), np.ones(len(names))
    known = np.isfinite(error)
    real_share = float(share[known].mean()) if known.any() else NAN
    return {
        ("variance_ratio", POOLED): over_perturbations(ratio, one, names, n, resamples, world.seed),
        ("rare_fraction_error", POOLED): over_perturbations(
            error, one, names, n, resamples, world.seed, real_share=real_share if known.any() else None
        ),
    }


def told_apart(generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int) -> Scores:
    """c2st of one generator's first draw: the mean over strata of the AUC of generated against real images."""
    draw = draws[0]
    real = np.concatenate([draw[s.name].reference for s in world.strata])
    generated = np.concatenate([draw[s.name].generated for s in world.strata])
    found = c2st_conditional(
        space.of(real),
        np.repeat([s.name for s in world.strata], [len(draw[s.name].reference) for s in world.strata]),
        world.well[real],
        space.of(generated),
        np.repeat([s.name for s in world.strata], [len(draw[s.name].generated) for s in world.strata]),
        seed=world.seed,
    )
    owner = {s.name: s.perturbation for s in world.strata}
    missing = {s.name for s in world.strata if generator != MODEL and len(draw[s.name].generated) == 0}
    auc = np.where(np.isin(found.strata, list(missing)), NAN, found.auc)
    names = [owner[str(name)] for name in found.strata]
    n = _counts(draw.values())
    return {("c2st", POOLED): over_perturbations(auc, np.ones(len(auc)), names, n, resamples, world.seed)}


def moved(generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int) -> Scores:
    """response and pairing of generated images that began at a control of their own: given cells, treated.

    See `counterfactual.paired_effect`; nothing for other generators, or where images do not say where they began.
    """
    if generator != MODEL or not world.begun_at:
        return {}
    pairs = [
        (s, row, world.begun_at[row]) for s in world.strata for row in s.generated.tolist() if row in world.begun_at
    ]
    rows = np.array([row for _, row, _ in pairs] + [control for _, _, control in pairs], np.int64)
    found = paired_effect(
        space.of(rows),
        np.tile(np.arange(len(pairs)), 2),
        [s.batch for s, _, _ in pairs] * 2,
        [s.treatment for s, _, _ in pairs] * 2,
        np.repeat([False, True], len(pairs)),
    )
    owner = {s.treatment: s.perturbation for s in world.strata}
    names, one = [owner[str(t)] for t in found.treatment], np.ones(len(found.treatment))
    n = (len(set(rows[len(pairs) :].tolist())), len(pairs))
    return {
        (metric, POOLED): over_perturbations(values, one, names, n, resamples, world.seed)
        for metric, values in (("response", found.response), ("pairing", found.variance_reduction))
    }


def _counts(sides: Iterable[Sides]) -> tuple[int, int]:
    both = [(len(s.reference), len(s.generated)) for s in sides]
    return sum(a for a, _ in both), sum(b for _, b in both)
