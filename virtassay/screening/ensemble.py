"""An ensemble: several models of the same data, from other seeds or other checkpoints, score the best of a screen.

Each scores the same compounds, for the same goal, at the same doses and seeds, on a bench of its own, so that its
scores are in s.d. of its own untreated cells. Together they rank better than one of them does, whose luck nobody knows
beforehand (benchmarks/screening_models.py); how far they agree is told beside (agreement.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from virtassay.screening.bench import seen_treatment
from virtassay.screening.hits import COLUMNS, LISTS, null_scores, ranks
from virtassay.screening.passes import Pass
from virtassay.screening.recipe import Recipe, Scorer, Stage, at_best_dose
from virtassay.screening.shards import Numbers, Shards


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
class Member:
    """One model's say, in tables as Scorer gives them: scores of the best, and of the inactive compounds (null)."""

    run: str
    model: str  # the first digits of its SHA-256
    scores: pl.DataFrame
    null: pl.DataFrame

    @classmethod
    def of(cls, one: Pass, best: Numbers, inactive: Sequence[tuple[str, str]]) -> "Member":
        """Read a finished pass, and score the inactive compounds (name, SMILES) with its model."""
        scorer = Scorer.of(one.recipe, one.stage, one.shards.bench)
        model = scorer.bench.instrument.assay.model_sha256[:12]
        return cls(one.recipe.run, model, one.shards.scores(COLUMNS, best), null_scores(scorer, inactive))


def together(doses_um: Sequence[float], tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The mean of several models' scores of the same compounds, at each dose, and of the ends of their intervals.

    Tables as Scorer gives them.
    """
    shape = (len(tables), tables[0].height, len(doses_um))
    scores, lowers, uppers = (
        np.array([table[name].to_list() for table in tables], np.float64).reshape(shape).mean(0) for name in LISTS
    )
    return at_best_dose(tables[0]["compound"], doses_um, scores, lowers, uppers)


@dataclass(frozen=True)
class Scores:
    """The scores that hits are ranked by: those of the last stage, and of the best by all models, where there are
    several; each with its null."""

    last: Shards
    null: pl.DataFrame
    by_all: tuple[pl.DataFrame, pl.DataFrame] | None = None

    @classmethod
    def of(cls, last: Shards, doses_um: Sequence[float], members: Sequence[Member]) -> "Scores":
        """members: the screen's own model first."""
        scores, nulls = [member.scores for member in members], [member.null for member in members]
        return cls(last, nulls[0], (together(doses_um, scores), together(doses_um, nulls)))

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
