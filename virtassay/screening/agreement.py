"""Agreement: the best of a screen, as other models of the same data score them: from other seeds, or other checkpoints.

Each model scores the same compounds, for the same goal, at the same doses and seeds, on a bench of its own, so that its
score is in s.d. of its own untreated cells; its ranks, and its p against the same inactive compounds, need no unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import spearmanr

from virtassay.screening.bench import seen_treatment
from virtassay.screening.hits import FEWEST_INACTIVE, Check, Trust, null_scores
from virtassay.screening.passes import Pass
from virtassay.screening.recipe import Recipe, Stage
from virtassay.screening.trust import p_values

Array = NDArray[np.float64]
ALIKE = 0.5  # rank correlation below which two models do not agree
ACTIVE = 0.05  # p


def recipes_of_others(recipe: Recipe, runs: Sequence[str], stage: Stage) -> dict[str, Recipe]:
    """The same recipe with each of the other runs, by the first digits of its model's SHA-256.

    Each generates one image, so that what it cannot do is told now. Raises ValueError for a run that is broken, cannot
    do what the recipe asks, is this model or another of the list, or whose images are others.
    """
    if not runs:
        return {}
    first = recipe.instrument(stage)
    models = {first.assay.model_sha256: recipe.run}
    found: dict[str, Recipe] = {}
    for run in map(str, runs):
        other = replace(recipe, run=run, batches=first.batches)
        try:
            instrument = other.instrument(stage)
            vocabulary = instrument.assay.vocabulary
            control = seen_treatment(vocabulary, vocabulary.controls[0], None, recipe.wanted.cell_types[0])
            instrument.images([control], np.arange(1))
        except ValueError as error:
            raise ValueError(f"others=[{run}] cannot do what this screen asks: {error}") from error
        sha = instrument.assay.model_sha256
        if sha in models:
            raise ValueError(
                f"others=[{run}] holds the same weights as {models[sha]}, which agree with themselves: name runs that "
                "were trained from other seeds, or other checkpoints."
            )
        shown = [(v.channels, v.image_shape) for v in (vocabulary, first.assay.vocabulary)]
        if shown[0] != shown[1]:
            raise ValueError(f"others=[{run}] makes images {shown[0]}, and {recipe.run} {shown[1]}: name runs alike.")
        models[sha], found[sha[:12]] = run, other
    return found


@dataclass(frozen=True)
class Other:
    """Another model's say. scores: compound, score, lower; null: its scores of inactive compounds, (m,)."""

    run: str
    model: str  # the first digits of its SHA-256
    scores: pl.DataFrame
    null: Array

    @classmethod
    def of(cls, one: Pass, trust: Trust) -> "Other":
        """Read a finished pass, and score the inactive compounds of `trust` with its model."""
        bench = one.bench()
        null = null_scores(bench, one.recipe.wanted.goal(bench), trust.inactive)
        model = bench.instrument.assay.model_sha256[:12]
        return cls(one.recipe.run, model, one.shards.scores(["compound", "score", "lower"]), null)


def agreement(first: pl.DataFrame, others: Sequence[Other]) -> Check:
    """What the others say of the compounds of `first` (compound, score, lower, upper, p; the best first).

    Columns, k = 2 for the first of the others: score_k; rank_k among these compounds; p_k; and between_models, the s.d.
    of all models' scores, which no interval from seeds and batches holds.
    """
    table = first.select("compound")
    score, lower, upper, p = (first[name].to_numpy() for name in ("score", "lower", "upper", "p"))
    every, unseen, told, alike = [score], np.zeros(first.height, bool), [], []
    for k, other in enumerate(others, start=2):
        theirs = table.join(other.scores, on="compound", how="left", maintain_order="left").with_columns(
            pl.col("score", "lower").fill_nan(None)
        )
        values = theirs["score"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        lowers = theirs["lower"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        enough = len(other.null) >= FEWEST_INACTIVE
        chance = p_values(values, other.null) if enough else np.full(len(values), np.nan)
        unseen |= (lowers <= 0) & (lower > 0)
        unseen |= (chance > ACTIVE) & (p <= ACTIVE)
        alike.append(rank_correlation(score, values))
        told.append(f"{alike[-1]:.2f} ({other.run}, model {other.model})")
        every.append(values)
        table = table.with_columns(
            pl.Series(f"score_{k}", values),
            theirs["score"].rank("ordinal", descending=True).cast(pl.Int64).alias(f"rank_{k}"),
            pl.Series(f"p_{k}", chance),
        )
    between = np.std(every, axis=0, ddof=1)
    flags = [
        "; ".join(flag for flag in row if flag)
        for row in zip(
            np.where(unseen, "another model sees no clear effect", ""),
            np.where(between > (upper - lower) / 2, "models differ by more than the interval", ""),
            strict=True,
        )
    ]
    sentence = (
        f"The best {first.height} were scored by {len(others)} other model{'s' if len(others) > 1 else ''} too, whose "
        f"order of them correlates with this one's at {', '.join(told)}. 1: the same order; 0: nothing in common. "
        "Among the best alone it is lower than over a whole library."
    )
    doubt = "The models do not agree on the order of the best: prefer compounds that all of them rank high."
    return Check(
        table.with_columns(between_models=pl.Series(between), flags=pl.Series(flags, dtype=pl.String)),
        sentence,
        [doubt] if any(one < ALIKE for one in alike) else [],
    )


def rank_correlation(x: Array, y: Array) -> float:
    """Spearman's, of the finite pairs; NaN for fewer than three, and where one does not vary."""
    both = np.isfinite(x) & np.isfinite(y)
    a, b = x[both], y[both]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    told: Any = spearmanr(a, b)
    return float(told.statistic)
