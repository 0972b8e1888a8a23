"""Baselines that know no treatment, and the ceiling: real images in the place of the generated ones.

Each function takes the World and the number of a seeded draw, and returns for every stratum which images stand on
which side; the model goes through the same. So all generators pass one pipeline, and a number of the model differs
from a baseline's by the images alone. Source: floors and ceilings after Ahlmann-Eltze et al. 2025, Nat. Methods.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.data.molecules.similarity import fingerprints, tanimoto
from virtassay.evaluation.evaluation_set import NO_ROWS, Images, Rows, Stratum, World, at_most, divide, generator_for


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


def mean_shift(world: World, draw: int) -> Draw:
    """Controls of the batch, moved in each channel by the mean change of its treated training images.

    x + mean(treated) − mean(controls), clipped and rounded to the images' type: the brightness of a treatment, and no
    more.
    """
    chosen: Draw = {}
    for s in world.strata:
        controls = world.controls[draw][s.batch].copy
        rows = _sample(world, draw, s, controls, "mean_shift")
        treated = world.treated_training[s.batch]
        if len(rows) == 0 or len(treated) == 0:
            chosen[s.name] = _sides(world, draw, s, NO_ROWS)
            continue
        level, zero = (world.images(r).mean((0, 2, 3), dtype=np.float64) for r in (treated, controls))
        moved = world.images(rows) + (level - zero)[:, None, None]
        chosen[s.name] = _sides(world, draw, s, world.add(_as_stored(moved, world)))
    return chosen


def noise(world: World, draw: int) -> Draw:
    """The pixel values of the batch's controls in random places: the right brightness, and no picture."""
    chosen: Draw = {}
    for s in world.strata:
        rows = _sample(world, draw, s, world.controls[draw][s.batch].copy, "noise")
        by_channel = world.images(rows).swapaxes(0, 1)
        rng = generator_for(world.seed, s.name, "pixels", draw)
        mixed = [rng.permutation(channel.ravel()).reshape(channel.shape) for channel in by_channel]
        made = np.stack(mixed, 1) if len(rows) else by_channel.swapaxes(0, 1)
        chosen[s.name] = _sides(world, draw, s, world.add(made))
    return chosen


def nearest_seen(world: World, draw: int) -> Draw:
    """Training images of another perturbation, the one whose structure is nearest, at the nearest dose.

    Nearest by the Tanimoto similarity of Morgan fingerprints (radius 2, 2,048 bits). Treatments without a structure, or
    batches whose training images have none, get the mean treated image: a stand-in that exists for all.
    """
    texts = sorted({*world.training["smiles"].drop_nulls(), *(s.smiles for s in world.strata if s.smiles is not None)})
    prints = dict(zip(texts, fingerprints(texts), strict=True))
    chosen: Draw = {}
    for s in world.strata:
        there = world.training.filter(_serving(world, s) & ~_own(s))
        known = there.select("treatment", "smiles", "dose_sum").unique().filter(pl.col("smiles").is_not_null())
        if s.smiles is None or known.is_empty():
            rows = np.setdiff1d(world.treated_training[s.batch], s.real)
        else:
            alike = tanimoto(prints[s.smiles], [prints[smiles] for smiles in known["smiles"]])
            nearest = min(
                (-similarity, _decades(s.dose_um, dose), treatment)
                for similarity, (treatment, _, dose) in zip(alike.tolist(), known.iter_rows(), strict=True)
            )
            rows = there.filter(pl.col("treatment") == nearest[-1])["row"].to_numpy()
        chosen[s.name] = _sides(world, draw, s, _sample(world, draw, s, rows, "nearest_seen"))
    return chosen


def moa_mean(world: World, draw: int) -> Draw:
    """Training images of other perturbations of the same mechanism: what knowing the mechanism alone would give."""
    return _of_training(world, draw, "moa_mean", lambda s: (pl.col("moa") == s.moa) & ~_own(s))


def memoriser(world: World, draw: int) -> Draw:
    """Training images of the very treatment: what a model that copies its training images would give."""
    return _of_training(world, draw, "memoriser", lambda s: pl.col("treatment") == s.treatment)


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


def _serving(world: World, s: Stratum) -> pl.Expr:
    return pl.col("batch").is_in(world.serves[s.batch])


def _own(s: Stratum) -> pl.Expr:
    return pl.col("perturbation_name") == s.perturbation


def _of_training(world: World, draw: int, name: str, wanted: Callable[[Stratum], pl.Expr]) -> Draw:
    chosen: Draw = {}
    for s in world.strata:
        rows = world.training.filter(_serving(world, s) & wanted(s))["row"].to_numpy()
        chosen[s.name] = _sides(world, draw, s, _sample(world, draw, s, np.setdiff1d(rows, s.real), name))
    return chosen


def _decades(a: float | None, b: float | None) -> float:
    """How far two doses are apart, in decades; a missing or zero dose is far from any other."""
    if not a or not b:
        return 0.0 if a == b else math.inf
    return abs(math.log10(a / b))


def _as_stored(images: NDArray[np.float64], world: World) -> Images:
    dtype = np.dtype(world.real.info.dtype)
    if not np.issubdtype(dtype, np.integer):
        return images.astype(dtype)
    return images.round().clip(0, np.iinfo(dtype).max).astype(dtype)
