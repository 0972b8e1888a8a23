"""An ensemble: several models of the same data, from other seeds or other checkpoints, score the best of a screen.

Each scores the same compounds, for the same goal, at the same doses and seeds, against reference effects of its own, so
that its scores are in s.d. of its own untreated cells. Together they rank better than one of them does, whose luck
nobody knows beforehand (benchmarks/screening_models.py); how far they agree stands beside.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import spearmanr

from virtassay.screening.confidence import null_scores, p_of
from virtassay.screening.engines import StagePlan
from virtassay.screening.hits import COLUMNS, LISTS, HitAnnotation, joined_flags, ranks
from virtassay.screening.recipe import Recipe, Stage, at_best_dose
from virtassay.screening.reference import training_query
from virtassay.screening.shards import Numbers, Shards

Array = NDArray[np.float64]
ALIKE = 0.5  # rank correlation below which two models do not agree
ACTIVE = 0.05  # p


def ensemble_recipes(recipe: Recipe, runs: Sequence[str], stage: Stage) -> dict[str, Recipe]:
    """The same recipe with each of the other runs, by the first digits of its model's SHA-256.

    Each generates one image, so that what it cannot do is said now. Raises ValueError for a run that is broken, cannot
    do what the recipe says, is this model or another of the list, or whose images are others.
    """
    if not runs:
        return {}
    first = recipe.predictor(stage)
    models = {first.assay.model_sha256: recipe.run}
    others: dict[str, Recipe] = {}
    for run in map(str, runs):
        other = replace(recipe, run=run, batches=first.batches)
        try:
            predictor = other.predictor(stage)
            vocabulary = predictor.assay.vocabulary
            control = training_query(vocabulary, vocabulary.controls[0], None, recipe.goal.contexts[0].cell_type)
            predictor.images([control], np.arange(1))
        except ValueError as error:
            raise ValueError(f"others=[{run}] cannot do what this screen asks: {error}") from error
        sha = predictor.assay.model_sha256
        if sha in models:
            raise ValueError(
                f"others=[{run}] holds the same weights as {models[sha]}, which agree with themselves: name runs that "
                "were trained from other seeds, or other checkpoints."
            )
        images = [(v.channels, v.image_shape) for v in (vocabulary, first.assay.vocabulary)]
        if images[0] != images[1]:
            raise ValueError(f"others=[{run}] makes images {images[0]}, and {recipe.run} {images[1]}: name runs alike.")
        models[sha], others[sha[:12]] = run, other
    return others


@dataclass(frozen=True)
class Member:
    """One model's scores, in tables as Scorer gives them: of the best, and of the inactive compounds (null)."""

    run: str
    model: str  # the first digits of its SHA-256
    scores: pl.DataFrame
    null: pl.DataFrame

    @classmethod
    def of(cls, plan: StagePlan, best: Numbers, inactive: Sequence[tuple[str, str]]) -> "Member":
        """Read a finished stage, and score the inactive compounds (name, SMILES) with its model."""
        scorer = plan.scorer()
        model = scorer.reference.predictor.assay.model_sha256[:12]
        return cls(plan.recipe.run, model, plan.shards.scores(COLUMNS, best), null_scores(scorer, inactive))


def mean_scores(doses_um: Sequence[float], tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The mean of several models' scores of the same compounds, at each dose, and of the ends of their intervals.

    Tables as Scorer gives them.
    """
    shape = (len(tables), tables[0].height, len(doses_um))
    scores, lowers, uppers = (
        np.array([table[name].to_list() for table in tables], np.float64).reshape(shape).mean(0) for name in LISTS
    )
    return at_best_dose(tables[0]["compound"], doses_um, scores, lowers, uppers)


@dataclass(frozen=True)
class FinalScores:
    """The scores that hits are ranked by: of the last stage, and of the best by all models where there are several.

    Each with its null.
    """

    last: Shards
    null: pl.DataFrame
    by_all: tuple[pl.DataFrame, pl.DataFrame] | None = None

    @classmethod
    def of(cls, last: Shards, doses_um: Sequence[float], members: Sequence[Member]) -> "FinalScores":
        """members: the screen's own model first."""
        scores, nulls = [member.scores for member in members], [member.null for member in members]
        return cls(last, nulls[0], (mean_scores(doses_um, scores), mean_scores(doses_um, nulls)))

    def ranked(self, tried: int) -> pl.DataFrame:
        """All that the last stage saw, in order, as `ranks` has it; what all models have scored is first."""
        own = self.last.scores(["compound", "score"])
        if self.by_all is None:
            return ranks([(own, self.null)], tried)
        rest = own.join(self.by_all[0], on="compound", how="anti")
        return ranks([self.by_all, (rest, self.null)], tried)

    def __call__(self, numbers: Numbers) -> pl.DataFrame:
        """What hits are made of, of some compounds (sorted numbers), in any order."""
        own = self.last.scores(COLUMNS, numbers)
        if self.by_all is None:
            return own
        better = self.by_all[0].join(own, on="compound", how="semi")
        return pl.concat([better, own.join(better, on="compound", how="anti")])


def agreement(members: Sequence[Member]) -> HitAnnotation:
    """Annotate the best of a screen with what each model says of them, the screen's own first; ranks need no unit.

    Columns, k = 1 for the screen's own: score_k; rank_k among these compounds; p_k; and between_models, the s.d. of all
    models' scores, which no interval from seeds and batches holds.
    """
    own = members[0]
    table = own.scores.select("compound")
    score, lower, upper = (own.scores[name].to_numpy() for name in ("score", "lower", "upper"))
    of_models, p_values, unseen = [], [], np.zeros(table.height, bool)
    for k, member in enumerate(members, start=1):
        series = member.scores["score"]
        of_models.append(series.to_numpy())
        p_values.append(p_of(of_models[-1], member.null))
        unseen |= (member.scores["lower"].to_numpy() <= 0) & (lower > 0)
        unseen |= (p_values[-1] > ACTIVE) & (p_values[0] <= ACTIVE)
        table = table.with_columns(
            pl.Series(f"score_{k}", series),
            series.fill_nan(None).rank("ordinal", descending=True).cast(pl.Int64).alias(f"rank_{k}"),
            pl.Series(f"p_{k}", p_values[-1]),
        )
    between = np.std(of_models, axis=0, ddof=1)
    flags = joined_flags(
        np.where(unseen, "another model sees no clear effect", ""),
        np.where(between > (upper - lower) / 2, "models differ by more than the interval", ""),
    )
    correlations = [rank_correlation(score, other) for other in of_models[1:]]
    listed = ", ".join(f"{r:.2f} ({m.run}, model {m.model})" for r, m in zip(correlations, members[1:], strict=True))
    others = "another model" if len(correlations) == 1 else f"{len(correlations)} other models"
    sentence = (
        f"The best {table.height} were scored by {others} too, and are ranked by the mean of the models' scores. The "
        f"order that the run's model would give them correlates with that of others at {listed}. 1: the same order; 0: "
        "nothing in common. Among the best alone it is lower than over a whole library."
    )
    doubt = "The models do not agree on the order of the best: prefer compounds that all of them rank high."
    return HitAnnotation(
        table.with_columns(between_models=pl.Series(between), flags=flags),
        sentence,
        [doubt] if any(r < ALIKE for r in correlations) else [],
    )


def rank_correlation(x: Array, y: Array) -> float:
    """Spearman's, of the finite pairs; NaN for fewer than three, and where one does not vary."""
    both = np.isfinite(x) & np.isfinite(y)
    a, b = x[both], y[both]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    result: Any = spearmanr(a, b)
    return float(result.statistic)
