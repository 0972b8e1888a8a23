"""A small candidate without pixels, whose features are written down: what its scores are can be worked out by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from virtassay.evaluation.candidate import Candidate, Metric
from virtassay.evaluation.evaluation_set import ControlParts, EvaluationSet, Rows, Stratum, StratumImages
from virtassay.evaluation.space import Array, FeatureSpace
from virtassay.flow.traits import trait


@dataclass(frozen=True)
class Treated:
    """A stratum's features, (n, d) or numbers: of its real images, well by well, and of the generated ones."""

    batch: str
    perturbation: str
    wells: Sequence[ArrayLike]
    generated: ArrayLike


@dataclass(frozen=True)
class Untreated:
    """The features of a batch's controls: those of the real side, of the generated side, and those to copy."""

    real: ArrayLike
    generated: ArrayLike
    copy: ArrayLike


def candidate(
    treated: Sequence[Treated],
    untreated: Mapping[str, Untreated],
    memory: ArrayLike = (),
    is_model: bool = False,
    seed: int = 0,
) -> tuple[Candidate, FeatureSpace]:
    """The candidate and its features; each part of the controls is a well.

    A second draw and a second division of the controls hold other images in each place: no metric may look there. The
    features as they are are twice those in units of the controls.
    """
    features: list[Array] = []

    def rows(images: ArrayLike) -> Rows:
        x = np.asarray(images, np.float64)
        if x.size or x.ndim == 2:
            features.append(x[:, None] if x.ndim == 1 else x)
        return np.arange(sum(map(len, features)))[-len(x) :] if len(x) else np.zeros(0, np.int64)

    controls = {b: ControlParts(rows(u.real), rows(u.generated), rows(u.copy)) for b, u in untreated.items()}
    trained = rows(memory)
    wells = [[rows(well) for well in t.wells] for t in treated]
    well = np.zeros(sum(map(len, features)), np.int64)
    parts = [part for c in controls.values() for part in (c.real, c.generated, c.copy)]
    for number, images in enumerate([trained, *parts, *(images for of in wells for images in of)]):
        well[images] = number
    strata: list[Stratum] = []
    first: dict[str, StratumImages] = {}
    second: dict[str, StratumImages] = {}
    for t, of in zip(treated, wells, strict=True):
        treatment = f"{t.perturbation} at 1 µM"
        name, real, generated = f"{t.batch} | {treatment}", np.concatenate(of), rows(t.generated)
        strata.append(Stratum(name, t.batch, treatment, t.perturbation, 1.0, None, None, True, real, generated))
        own = controls[t.batch]
        first[name] = StratumImages(real, generated, own.real, own.generated)
        second[name] = StratumImages(own.copy, own.real, generated, real)
    nothing: Any = None
    evaluation = EvaluationSet(
        strata=strata,
        controls=[controls, {b: ControlParts(c.copy, c.real, c.generated) for b, c in controls.items()}],
        treated_training={},
        training=pl.DataFrame(),
        serves={},
        control_share={},
        memory=trained,
        begun_at={},
        other_splits={},
        well=well,
        seed=seed,
        warnings=[],
        real=nothing,
        generated=nothing,
    )
    x = np.concatenate(features)
    space = FeatureSpace("by hand", np.arange(len(x)), 2 * x, np.full(x.shape[1], 2.0), [], 0)
    return Candidate(evaluation, [first, second], resamples=20, is_model=is_model), space


def described(metric: Metric) -> dict[str, tuple[str, bool]]:
    """The scores that a metric describes: which way is better, and whether it sees no treatments."""
    return {description.name: (description.better, description.pooled) for description in trait(metric, "describes")}
