"""Paired counterfactuals: the same cell with and without the treatment, which no real experiment can show.

A generated image depends on its seed, so that two requests of equal seed and batch, treated and control, start from the
same noise: δ_i = φ(treated_i) − φ(control_i). What the pairs share cancels, and a treatment that does nothing gives
exactly 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.glossary import HIGHER, NEITHER, Description
from virtassay.evaluation.intervals import Scores
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.checks import image_features
from virtassay.evaluation.space import NAN, Array, FeatureSpace
from virtassay.flow.traits import having

Counts = NDArray[np.int64]
Names = NDArray[np.str_]


@dataclass(frozen=True)
class PairedEffect:
    """Paired effects of s strata (batch, treatment), in order of batch and then treatment.

    A stratum without pairs, or with a feature that is no number, is NaN; of one pair, NaN is what needs a spread.
    """

    batch: Names  # (s,)
    treatment: Names  # (s,)
    mean: Array  # (s, d): mean of δ_i, in the features' units
    standard_error: Array  # (s, d): of that mean, s.d. of δ_i / √pairs
    variance_reduction: Array  # (s,)
    response: Array  # (s,)
    n_pairs: Counts  # (s,)
    n_unpaired: Counts  # (s,): treated images without a control of their seed and batch


def paired_effect(
    features: ArrayLike, seeds: ArrayLike, batch: ArrayLike, treatment: ArrayLike, is_control: ArrayLike
) -> PairedEffect:
    """Effect of each treatment in each batch, between generated images that share their seed.

    mean δ = Σ_i δ_i / n. variance_reduction = 1 − tr cov(δ_i) / (tr cov φ(treated) + tr cov φ(control)): 1, pairs share
    all but the effect; 0, pairing is worth nothing; below 0, it hurts; NaN where neither side varies.
    response = √(mean ‖δ_i‖² / tr cov φ(control)): how far an image moves in units of the spread of controls; exactly
    0 if and only if every treated image has the features of its control, which a null perturbation must give; about
    √2 for unrelated images of the controls' distribution; ∞ if images move whose controls do not vary.
    Common random numbers: Owen 2013, Monte Carlo theory, ch. 8.
    features (n, d) of generated images; seeds, batch, treatment, is_control (n,) each. A control serves all treatments
    of its seed and batch. ValueError for shapes that do not fit, and for a request that is there twice: it is the same
    image, and would count as two.
    """
    x = image_features("generated images", features, seeds, batch, treatment, is_control)
    control = np.asarray(is_control, np.bool_)
    of_batch, of_treatment = np.asarray(batch, np.str_), np.asarray(treatment, np.str_)
    key = _joint(np.asarray(seeds), of_batch)
    _check_unique(_joint(key, np.where(control, "", of_treatment), control), np.asarray(seeds), of_batch, of_treatment)
    partner = np.full(len(x), -1, np.int64)  # for each key, the row of its control
    partner[key[control]] = np.flatnonzero(control)

    stratum = _joint(of_batch, of_treatment)  # in order of batch and then treatment
    treated = np.flatnonzero(~control)
    treated = treated[np.argsort(stratum[treated], kind="stable")]
    strata = np.split(treated, np.flatnonzero(np.diff(stratum[treated])) + 1) if len(treated) else []
    owner = np.array([rows[0] for rows in strata], np.int64)
    mean, standard_error = np.full((2, len(strata), x.shape[1]), NAN)
    variance_reduction, response = np.full((2, len(strata)), NAN)
    counts = np.zeros((2, len(strata)), np.int64)
    facts = of_batch[owner], of_treatment[owner]
    effects = PairedEffect(*facts, mean, standard_error, variance_reduction, response, *counts)
    for s, rows in enumerate(strata):
        paired = rows[partner[key[rows]] >= 0]
        effects.n_pairs[s], effects.n_unpaired[s] = len(paired), len(rows) - len(paired)
        t, c = x[paired], x[partner[key[paired]]]
        if len(paired) == 0 or not (np.isfinite(t).all() and np.isfinite(c).all()):
            continue
        delta = t - c
        effects.mean[s] = delta.mean(0)
        moved = float(np.square(delta).sum() / len(paired))
        effects.response[s] = 0.0 if moved == 0 else NAN
        if len(paired) == 1:
            continue
        effects.standard_error[s] = delta.std(0, ddof=1) / np.sqrt(len(paired))
        of_treated, of_control = _total_variance(t), _total_variance(c)
        if of_treated + of_control > 0:
            effects.variance_reduction[s] = 1 - _total_variance(delta) / (of_treated + of_control)
        if moved > 0:
            effects.response[s] = np.sqrt(moved / of_control) if of_control > 0 else np.inf
    return effects


def _total_variance(x: Array) -> float:
    """tr cov, exactly 0 for equal rows."""
    return float((x - x[0]).var(0, ddof=1).sum())


def _joint(*columns: NDArray[Any]) -> Counts:
    """Number each combination of values, (n,)."""
    joint = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, number = np.unique(column, return_inverse=True)
        joint = np.unique(joint * len(values) + number, return_inverse=True)[1]
    return joint


def _check_unique(request: Counts, seeds: NDArray[Any], batch: Names, treatment: Names) -> None:
    times = np.bincount(request)[request] if len(request) else request
    twice = np.flatnonzero(times > 1)
    if len(twice):
        first = twice[0]
        raise ValueError(
            f"{len(twice)} generated images share seed, batch and treatment with another (the first: row {first}, seed "
            f"{seeds[first]}, batch {batch[first]}, treatment {treatment[first]}); expected one treated image of each, "
            "and one control of each seed and batch. Leave out the copies; where requests differ in something else "
            "(cell type, dose), join it to the batch or to the treatment."
        )


RESPONSE = Description(
    "response", "How far given cells move", NEITHER,
    "Distance of each generated cell from the control that it began at, in units of the spread of controls. Asked for "
    "no treatment it should be 0; about 1.4 is what unrelated controls have.",
)  # fmt: skip
PAIRING = Description(
    "pairing", "What pairing saves", HIGHER,
    "Share of the variance of an effect that is gone when each treated cell is compared with the control that it "
    "began at.",
)  # fmt: skip


@having(describes=(RESPONSE, PAIRING))
def moved(candidate: Candidate, space: FeatureSpace) -> Scores:
    """response and pairing of generated images that began at a control of their own: given cells, treated.

    See `paired_effect`; nothing for other generators, or where images do not say where they began.
    """
    evaluation, begun_at = candidate.evaluation, candidate.evaluation.begun_at
    if not candidate.is_model or not begun_at:
        return {}
    pairs = [(s, row, begun_at[row]) for s in evaluation.strata for row in s.generated.tolist() if row in begun_at]
    rows = np.array([row for _, row, _ in pairs] + [control for _, _, control in pairs], np.int64)
    effect = paired_effect(
        space.of(rows),
        np.tile(np.arange(len(pairs)), 2),
        [s.batch for s, _, _ in pairs] * 2,
        [s.treatment for s, _, _ in pairs] * 2,
        np.repeat([False, True], len(pairs)),
    )
    owner = {s.treatment: s.perturbation for s in evaluation.strata}
    names, n = [owner[str(t)] for t in effect.treatment], (len(set(rows[len(pairs) :].tolist())), len(pairs))
    values = {"response": effect.response, "pairing": effect.variance_reduction}
    return {(metric, POOLED): candidate.pooled(each, names, n=n) for metric, each in values.items()}
