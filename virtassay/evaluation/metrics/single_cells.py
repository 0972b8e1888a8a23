"""Single cells along their treatment's effect: the distributions behind the means, of a few treatments."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.evaluation.evaluation_set import Assignment, EvaluationSet, Stratum, at_most, generator_for
from virtassay.evaluation.space import Array, FeatureSpace

TREATMENTS = 60
CELLS = 200  # of each side
LEAST = 1e-9  # s.d. of the controls: less is rounding
TEXT = ("featurizer", "stratum", "batch", "treatment", "side")
SCHEMA: dict[str, type[pl.DataType]] = {c: pl.String if c in TEXT else pl.Float64 for c in (*TEXT, "place")}


def single_cells(evaluation: EvaluationSet, draw: Assignment, space: FeatureSpace) -> pl.DataFrame:
    """One row per image: its place along the real effect of its stratum, among real, generated and control images.

    place = ⟨φ(x) − mean φ(C′), u⟩/s.d. of ⟨φ(C′), u⟩, u = δ/‖δ‖, C′ the controls that took no part in δ: 0 is where
    controls are, and the unit is how much they differ. A real image is placed along a δ that its own well took no part
    in (its own image, where the stratum has one well), or it would lie too far out by the noise that it gave to δ.
    Of at most 60 treatments, evenly over their names, one stratum each (its first), and 200 images a side.
    Strata with fewer than two images on a side, or features that are no numbers, have no rows; nor have those whose
    controls do not differ along the effect. Columns: featurizer, stratum, batch, treatment, side (real, generated,
    control), place.
    """
    parts: list[pl.DataFrame] = []
    for s in one_a_treatment(evaluation, TREATMENTS):
        sides = draw[s.name]
        rows = {"real": sides.reference, "generated": sides.generated, "control": sides.generated_control}
        rows = {k: at_most(v, CELLS, generator_for(evaluation.seed, s.name, k, "cells")) for k, v in rows.items()}
        images = {side: space.of(chosen) for side, chosen in rows.items()}
        against = space.of(sides.control)
        if any(len(x) < 2 or not np.isfinite(x).all() for x in (*images.values(), against)):
            continue
        placed = _along(images, evaluation.well[rows["real"]], against.mean(0))
        facts = {"featurizer": space.featurizer, "stratum": s.name, "batch": s.batch, "treatment": s.treatment}
        parts += [pl.DataFrame({**facts, "side": side, "place": place}, SCHEMA) for side, place in placed.items()]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *parts])


def one_a_treatment(evaluation: EvaluationSet, most: int) -> list[Stratum]:
    """The first stratum of each treatment, of at most `most` treatments, evenly over their names."""
    first = {s.treatment: s for s in reversed(evaluation.strata)}
    names = sorted(first)
    return [
        first[names[i]] for i in np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))
    ]


def _along(images: dict[str, Array], wells: NDArray[np.int64], control: Array) -> dict[str, Array]:
    real, zero = images["real"], images["control"].mean(0)
    direction = real.mean(0) - control
    length = np.linalg.norm(direction)
    along = {side: (x - zero) @ direction / max(length, LEAST) for side, x in images.items() if side != "real"}
    own = wells if len(np.unique(wells)) > 1 else np.arange(len(real))
    _, group, count = np.unique(own, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), real.shape[1]))
    np.add.at(total, group, real)
    others = (real.sum(0) - total) / (len(real) - count)[:, None] - control
    others /= np.linalg.norm(others, axis=1, keepdims=True).clip(min=LEAST)
    along["real"] = ((real - zero) * others[group]).sum(1)
    unit = along["control"].std(ddof=1)
    return {side: x / unit for side, x in along.items()} if unit > LEAST else {}
