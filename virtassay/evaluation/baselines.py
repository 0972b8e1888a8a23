"""Baselines that know no treatment, and the ceiling: real images in the place of the generated ones.

Each function takes the evaluation set and the number of a seeded draw, and returns for every stratum which images stand
on which side; the model goes through the same. So all generators pass one pipeline, and a number of the model differs
from a baseline's by the images alone. What a baseline is stands beside it, as `flow.traits`:
informed: it knows more than a model does, and is shown beside it; any other is trivial, and the best of them the floor.
repeated: its draw is chance, and its scores are averaged over `Limits.repeats` draws.
of_generated: it is made of the model's own images, so that metrics of a whole pool cannot tell it from the model.
Source: floors and ceilings after Ahlmann-Eltze et al. 2025, Nat. Methods.
"""

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.data.molecules.similarity import fingerprints, tanimoto
from virtassay.evaluation.evaluation_set import (
    NO_ROWS,
    Assignment,
    EvaluationSet,
    Images,
    Rows,
    Stratum,
    StratumImages,
    at_most,
    divide,
    generator_for,
)
from virtassay.flow.traits import having, trait


class Baseline(Protocol):
    """Which images stand on which side of each stratum, in one seeded draw."""

    def __call__(self, evaluation: EvaluationSet, draw: int) -> Assignment: ...


def model(evaluation: EvaluationSet, draw: int) -> Assignment:
    """The generated images themselves."""
    return evaluation.assigned(draw, lambda s: s.generated)


def control_copy(evaluation: EvaluationSet, draw: int) -> Assignment:
    """Real controls of the same batch, from wells that serve nowhere else: effect explained is 0."""
    return _sampled(evaluation, draw, "control_copy", lambda s: evaluation.controls[draw][s.batch].copy)


def unconditional(evaluation: EvaluationSet, draw: int) -> Assignment:
    """Real training images of the batch whatever was done to them, controls in their share: a model without a drug.

    Controls come from the wells kept for copying, so that no control stands on two sides. A batch that is not in
    training is served by other training batches.
    """

    def rows(s: Stratum) -> Rows:
        n = _size(s)
        n_control = round(n * evaluation.control_share[s.batch])
        rng = generator_for(evaluation.seed, s.name, "unconditional", draw)
        treated = at_most(_treated(evaluation, s), n - n_control, rng)
        return np.concatenate([treated, at_most(evaluation.controls[draw][s.batch].copy, n_control, rng)])

    return evaluation.assigned(draw, rows)


@having(repeated=True, of_generated=True)  # how labels fall is chance
def label_shuffled(evaluation: EvaluationSet, draw: int) -> Assignment:
    """The model's images with the treatments of a batch exchanged so that none keeps its own.

    A batch with a single generated treatment has nothing to exchange: that stratum has no images.
    """
    rows = {s.name: NO_ROWS for s in evaluation.strata}
    for batch in sorted({s.batch for s in evaluation.strata}):
        inside = [s for s in evaluation.strata if s.batch == batch and len(s.generated)]
        rng = generator_for(evaluation.seed, batch, "label_shuffled", draw)
        order: list[int] = rng.permutation(len(inside)).tolist()
        if len(inside) > 1:  # a cycle through a random order moves everybody
            for to, origin in zip(order, order[-1:] + order[:-1], strict=True):
                rows[inside[to].name] = inside[origin].generated
    return evaluation.assigned(draw, lambda s: rows[s.name])


def mean_treated(evaluation: EvaluationSet, draw: int) -> Assignment:
    """Treated training images of the batch, of any treatment: something happened, but not what.

    A batch that is not in training is served by other training batches.
    """
    return _sampled(evaluation, draw, "mean_treated", lambda s: _treated(evaluation, s))


def mean_shift(evaluation: EvaluationSet, draw: int) -> Assignment:
    """Controls of the batch, moved in each channel by the mean change of its treated training images.

    x + mean(treated) − mean(controls), clipped and rounded to the images' type: the brightness of a treatment, and no
    more.
    """

    def shifted(s: Stratum) -> Rows:
        controls = evaluation.controls[draw][s.batch].copy
        rows = _sample(evaluation, draw, s, controls, "mean_shift")
        treated = evaluation.treated_training[s.batch]
        if len(rows) == 0 or len(treated) == 0:
            return NO_ROWS
        level, zero = (evaluation.images(r).mean((0, 2, 3), dtype=np.float64) for r in (treated, controls))
        return evaluation.add(_as_stored(evaluation.images(rows) + (level - zero)[:, None, None], evaluation))

    return evaluation.assigned(draw, shifted)


def noise(evaluation: EvaluationSet, draw: int) -> Assignment:
    """The pixel values of the batch's controls in random places: the right brightness, and no picture."""

    def mixed(s: Stratum) -> Rows:
        images = evaluation.images(_sample(evaluation, draw, s, evaluation.controls[draw][s.batch].copy, "noise"))
        rng = generator_for(evaluation.seed, s.name, "pixels", draw)
        channels = [rng.permutation(channel.ravel()).reshape(channel.shape) for channel in images.swapaxes(0, 1)]
        return evaluation.add(np.stack(channels, 1) if len(images) else images)

    return evaluation.assigned(draw, mixed)


def nearest_seen(evaluation: EvaluationSet, draw: int) -> Assignment:
    """Training images of another perturbation, the one whose structure is nearest, at the nearest dose.

    Nearest by the Tanimoto similarity of Morgan fingerprints (radius 2, 2,048 bits). Treatments without a structure, or
    batches whose training images have none, get the mean treated image: a stand-in that exists for all.
    """
    judged = {s.smiles for s in evaluation.strata if s.smiles is not None}
    texts = sorted({*evaluation.training["smiles"].drop_nulls(), *judged})
    prints = dict(zip(texts, fingerprints(texts), strict=True))

    def nearest(s: Stratum) -> Rows:
        training = evaluation.training.filter(_serving(evaluation, s) & ~_own(s))
        known = training.select("treatment", "smiles", "dose_sum").unique().filter(pl.col("smiles").is_not_null())
        if s.smiles is None or known.is_empty():
            return _treated(evaluation, s)
        alike = tanimoto(prints[s.smiles], [prints[smiles] for smiles in known["smiles"]])
        first = min(
            (-similarity, _decades(s.dose_um, dose), treatment)
            for similarity, (treatment, _, dose) in zip(alike.tolist(), known.iter_rows(), strict=True)
        )
        return training.filter(pl.col("treatment") == first[-1])["row"].to_numpy()

    return _sampled(evaluation, draw, "nearest_seen", nearest)


@having(informed=True)
def moa_mean(evaluation: EvaluationSet, draw: int) -> Assignment:
    """Training images of other perturbations of the same mechanism: what knowing the mechanism alone would give."""
    return _of_training(evaluation, draw, "moa_mean", lambda s: (pl.col("moa") == s.moa) & ~_own(s))


@having(informed=True)
def memoriser(evaluation: EvaluationSet, draw: int) -> Assignment:
    """Training images of the very treatment: what a model that copies its training images would give."""
    return _of_training(evaluation, draw, "memoriser", lambda s: pl.col("treatment") == s.treatment)


@having(repeated=True)  # how wells fall is chance
def real_replicate(evaluation: EvaluationSet, draw: int) -> Assignment:
    """The ceiling: a repeat of the experiment. One half of the stratum's wells in the place of the generated images.

    Where the stratum has one well only, or halves of one image only (profiles, an image a well), its wells of other
    splits are the repeat; where there are none, its images are halved, which flatters the ceiling (`halved` says
    "images").
    """
    assignment: Assignment = {}
    for s in evaluation.strata:
        controls = evaluation.controls[draw][s.batch]
        rng = generator_for(evaluation.seed, s.name, "real_replicate", draw)
        halves, by_well = divide(s.real, evaluation.well[s.real], 2, rng)
        halved = "wells" if by_well else "images"
        measurable = by_well and min(len(half) for half in halves) >= 2
        if not measurable and len(evaluation.other_splits[s.name]) >= 2:
            halves, halved = [s.real, evaluation.other_splits[s.name]], "other_splits"
        assignment[s.name] = StratumImages(halves[0], halves[1], controls.real, controls.generated, halved)
    return assignment


_OURS = (
    control_copy, unconditional, label_shuffled, mean_treated, mean_shift, noise, nearest_seen, moa_mean, memoriser,
)  # fmt: skip
BASELINES: dict[str, Baseline] = {baseline.__name__: baseline for baseline in _OURS}


def floors_of(baselines: Mapping[str, Baseline]) -> tuple[str, ...]:
    """The names of the trivial ones: none has learned what the treatment does, and the best of them is the floor."""
    return tuple(name for name, baseline in baselines.items() if not trait(baseline, "informed"))


def informed_of(baselines: Mapping[str, Baseline]) -> tuple[str, ...]:
    """The names of those that know more than a model does."""
    return tuple(name for name, baseline in baselines.items() if trait(baseline, "informed"))


def _size(s: Stratum) -> int:
    return len(s.generated) or len(s.real)


def _sample(evaluation: EvaluationSet, draw: int, s: Stratum, pool: Rows, name: str) -> Rows:
    return at_most(pool, _size(s), generator_for(evaluation.seed, s.name, name, draw))


def _sampled(evaluation: EvaluationSet, draw: int, name: str, pool: Callable[[Stratum], Rows]) -> Assignment:
    """As many images of the pool of each stratum as the model has."""
    return evaluation.assigned(draw, lambda s: _sample(evaluation, draw, s, pool(s), name))


def _treated(evaluation: EvaluationSet, s: Stratum) -> Rows:
    return np.setdiff1d(evaluation.treated_training[s.batch], s.real)


def _serving(evaluation: EvaluationSet, s: Stratum) -> pl.Expr:
    return pl.col("batch").is_in(evaluation.serves[s.batch])


def _own(s: Stratum) -> pl.Expr:
    return pl.col("perturbation_name") == s.perturbation


def _of_training(
    evaluation: EvaluationSet, draw: int, name: str, condition: Callable[[Stratum], pl.Expr]
) -> Assignment:
    def rows(s: Stratum) -> Rows:
        fitting = evaluation.training.filter(_serving(evaluation, s) & condition(s))["row"].to_numpy()
        return np.setdiff1d(fitting, s.real)

    return _sampled(evaluation, draw, name, rows)


def _decades(a: float | None, b: float | None) -> float:
    """How far two doses are apart, in decades; a missing or zero dose is far from any other."""
    if not a or not b:
        return 0.0 if a == b else math.inf
    return abs(math.log10(a / b))


def _as_stored(images: NDArray[np.float64], evaluation: EvaluationSet) -> Images:
    dtype = np.dtype(evaluation.real.info.dtype)
    if not np.issubdtype(dtype, np.integer):
        return images.astype(dtype)
    return images.round().clip(0, np.iinfo(dtype).max).astype(dtype)
