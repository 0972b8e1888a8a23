"""Baselines that know no treatment, and the ceiling: real images in the place of the generated ones.

Each function takes the World and the number of a seeded draw, and returns for every stratum which images stand on
which side; the model goes through the same. So all generators pass one pipeline, and a number of the model differs
from a baseline's by the images alone. Source: floors and ceilings after Ahlmann-Eltze et al. 2025, Nat. Methods.
"""

from dataclasses import dataclass

import numpy as np

from virtassay.evaluation.strata import NO_ROWS, Rows, Stratum, World, at_most, divide, generator_for


@dataclass(frozen=True)
class Sides:
    """The images of one stratum, by row: `generated` is judged against `reference`; each has controls of its own."""

    reference: Rows
    generated: Rows
    control: Rows
    generated_control: Rows
    halved: str = "whole"  # how a replicate was made: "wells", "other_splits" or "images"


Draw = dict[str, Sides]


def model(world: World, draw: int) -> Draw:
    """The generated images themselves."""
    return {s.name: _sides(world, draw, s, s.generated) for s in world.strata}


def control_copy(world: World, draw: int) -> Draw:
    """Real controls of the same batch, from wells that serve nowhere else: effect explained is 0."""
    return {
        s.name: _sides(world, draw, s, _sample(world, draw, s, world.controls[draw][s.batch].copy, "control_copy"))
        for s in world.strata
    }


def unconditional(world: World, draw: int) -> Draw:
    """Real training images of the batch whatever was done to them, controls in their share: a model without a drug.

    Controls come from the wells kept for copying, so that no control stands on two sides. A batch that is not in
    training is served by other training batches.
    """
    chosen: Draw = {}
    for s in world.strata:
        n = _size(s)
        n_control = round(n * world.control_share[s.batch])
        treated = np.setdiff1d(world.treated_training[s.batch], s.real)
        controls = world.controls[draw][s.batch].copy
        rng = generator_for(world.seed, s.name, "unconditional", draw)
        rows = np.concatenate([at_most(treated, n - n_control, rng), at_most(controls, n_control, rng)])
        chosen[s.name] = _sides(world, draw, s, rows)
    return chosen


def label_shuffled(world: World, draw: int) -> Draw:
    """The model's images with the treatments of a batch exchanged so that none keeps its own.

    A batch with a single generated treatment has nothing to exchange: that stratum has no images.
    """
    rows = {s.name: NO_ROWS for s in world.strata}
    for batch in sorted({s.batch for s in world.strata}):
        inside = [s for s in world.strata if s.batch == batch and len(s.generated)]
        order: list[int] = generator_for(world.seed, batch, "label_shuffled", draw).permutation(len(inside)).tolist()
        if len(inside) > 1:  # a cycle through a random order moves everybody
            for here, there in zip(order, order[-1:] + order[:-1], strict=True):
                rows[inside[here].name] = inside[there].generated
    return {s.name: _sides(world, draw, s, rows[s.name]) for s in world.strata}


def mean_treated(world: World, draw: int) -> Draw:
    """Treated training images of the batch, of any treatment: something happened, but not what.

    A batch that is not in training is served by other training batches.
    """
    return {
        s.name: _sides(
            world,
            draw,
            s,
            _sample(world, draw, s, np.setdiff1d(world.treated_training[s.batch], s.real), "mean_treated"),
        )
        for s in world.strata
    }


def real_replicate(world: World, draw: int) -> Draw:
    """The ceiling: a repeat of the experiment. One half of the stratum's wells in the place of the generated images.

    Where the stratum has one well only, or halves of one image only (profiles, an image a well), its wells of other
    splits are the repeat; where there are none, its images are halved, which flatters the ceiling (`Sides.halved` says
    "images").
    """
    chosen: Draw = {}
    for s in world.strata:
        controls = world.controls[draw][s.batch]
        rng = generator_for(world.seed, s.name, "real_replicate", draw)
        halves, by_well = divide(s.real, world.well[s.real], 2, rng)
        halved = "wells" if by_well else "images"
        measurable = by_well and min(len(half) for half in halves) >= 2
        if not measurable and len(world.other_splits[s.name]) >= 2:
            halves, halved = [s.real, world.other_splits[s.name]], "other_splits"
        chosen[s.name] = Sides(halves[0], halves[1], controls.real, controls.generated, halved)
    return chosen


def _size(s: Stratum) -> int:
    return len(s.generated) or len(s.real)


def _sample(world: World, draw: int, s: Stratum, pool: Rows, name: str) -> Rows:
    return at_most(pool, _size(s), generator_for(world.seed, s.name, name, draw))


def _sides(world: World, draw: int, s: Stratum, generated: Rows) -> Sides:
    controls = world.controls[draw][s.batch]
    return Sides(s.real, generated, controls.real, controls.generated)
