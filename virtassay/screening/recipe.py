"""How each compound is scored: all that the scores depend on, in one object that other processes can be given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay import __version__
from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import open_dataset
from virtassay.data.loading.controls import ControlPool
from virtassay.evaluation.featurizers.features import Featurizer
from virtassay.flow.sampler import Sampler
from virtassay.flow.traits import name_of, trait
from virtassay.precision import best_device, bf16_pays
from virtassay.screening.effects import EffectPredictor
from virtassay.screening.goals import Goal, Score, interval
from virtassay.screening.reference import ReferenceEffects

Array = NDArray[np.float64]
MINIBATCHES = 8  # of images that are generated at once, as good as


@dataclass(frozen=True)
class Stage:
    """One pass over what is left of the library: images of each compound and batch, steps of the solver, who goes on.

    keep: how many compounds the next stage sees, the best; of the last, how many are looked at once more (None: all).
    """

    seeds: int
    steps: int
    keep: int | None = None


@dataclass(frozen=True)
class Recipe:
    """A model, how it is sampled, what its images are reduced to, and the goal.

    doses_um: each compound is tried at all of them. batches: training batches that effects are averaged over; None: the
    first four. controls: the dataset folder and split whose control images the model begins at, if it does.
    trust: packages whose classes run folders may name, as in VirtualAssay.load.
    """

    run: str
    goal: Goal
    featurizer: Featurizer
    doses_um: Sequence[float]
    sampler: Sampler
    batches: Sequence[str] | None = None
    controls: tuple[str, str] | None = None
    seed: int = 0
    minibatch_size: int = 256
    device: str = "auto"
    trust: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.doses_um or min(self.doses_um) <= 0:
            raise ValueError(f"doses_um={list(self.doses_um)}: give one dose in µM or more, above 0.")

    def predictor(self, stage: Stage) -> EffectPredictor:
        """Load the model, which samples as the stage says. Raises ValueError for batches that it does not know."""
        device = best_device() if self.device == "auto" else self.device
        guide = self.sampler.guidance.needs_guide
        assay = VirtualAssay.load(self.run, device=device, guide=guide, trust=self.trust)
        trained = assay.vocabulary.batches
        batches = trained[:4] if self.batches is None else self.batches
        strange = sorted(set(batches) - set(trained))
        if strange or not batches:
            raise ValueError(f"batches={list(batches)}: the model was trained on {list(trained)}, not on {strange}.")
        if stage.seeds * len(batches) < 2:
            raise ValueError("one image of each compound says nothing of chance: give two seeds, or two batches.")
        pool = None
        if assay.needs_controls:
            folder, split = self.controls or (assay.folder, "train")
            pool = ControlPool.of(open_dataset(folder, verify=False), split)
        sampler, bf16 = replace(self.sampler, steps=stage.steps), bf16_pays(device)
        return EffectPredictor(
            assay, self.featurizer, tuple(batches), stage.seeds, sampler, self.seed, self.minibatch_size, pool, bf16
        )

    def described(self, stages: Sequence[Stage]) -> dict[str, Any]:
        """What the scores depend on, in words: two screens that differ in it are two."""
        predictor = self.predictor(stages[0])
        return {
            "version": __version__,
            "model_sha256": predictor.assay.model_sha256,
            "guide_sha256": predictor.assay.guide_sha256,
            "wanted": repr(self.goal),
            "featurizer": self.featurizer.fingerprint(),
            "doses_um": list(self.doses_um),
            "batches": list(predictor.batches),
            "solver": name_of(self.sampler.solver),
            "guidance": repr(self.sampler.guidance),
            "grid": name_of(self.sampler.grid),
            "stages": [repr(stage) for stage in stages],
            "seed": self.seed,
            "minibatch_size": self.minibatch_size,
        }


@dataclass(frozen=True)
class Scorer:
    """A goal held against reference effects: rows of the library → their scores."""

    reference: ReferenceEffects
    goal: Goal

    @classmethod
    def load(cls, recipe: Recipe, stage: Stage, path: Path) -> "Scorer":
        """Load the model and the reference effects that were kept for the stage."""
        return cls(ReferenceEffects.load(path, recipe.predictor(stage)), recipe.goal)

    @cached_property
    def score(self) -> Score:
        """The goal's score of effects, one array for each of its contexts."""
        return self.goal.prepare(self.reference)

    def interval(self, effects: Sequence[Array]) -> Array:
        """The 95 % interval of the score of effects, lower and upper end, (2, …)."""
        n_batches = len(self.reference.predictor.batches)
        return interval(self.score, effects, n_batches, trait(self.goal, "is_length"))

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Score compounds (compound, smiles), in the columns of `at_best_dose`.

        Some compounds are generated at once at all doses, so that each molecule is read once; how many depends on the
        recipe alone, so that neither memory nor a score depends on what else is at work.
        """
        predictor, doses, contexts = self.reference.predictor, self.reference.doses_um, self.goal.contexts
        molecules = rows["smiles"].to_list()
        scores, lowers, uppers = np.empty((3, len(molecules), len(doses)))
        distinct = list(dict.fromkeys(contexts))  # two goals in one context need its images once
        images = len(doses) * len(distinct) * len(predictor.units)
        step = max(1, MINIBATCHES * predictor.minibatch_size // images)
        for first in range(0, len(molecules), step):
            some = molecules[first : first + step]
            queries = [self.reference.query(m, m, dose, c) for c in distinct for dose in doses for m in some]
            effects = self.reference.effects(queries)
            effects = effects.reshape(len(distinct), len(doses), len(some), *effects.shape[1:])
            of_contexts = [effects[distinct.index(context)] for context in contexts]
            lower, upper = self.interval(of_contexts)
            for values, part in ((scores, self.score(*of_contexts)), (lowers, lower), (uppers, upper)):
                values[first : first + step] = part.T
        return at_best_dose(rows["compound"], doses, scores, lowers, uppers)


def at_best_dose(
    compound: pl.Series, doses_um: Sequence[float], scores: Array, lowers: Array, uppers: Array
) -> pl.DataFrame:
    """The score of each compound at its best dose with its 95 % interval, that dose, and those of all: (n, doses) each.

    Columns compound, score, lower, upper, dose_um; scores, lowers, uppers.
    """
    best = np.arange(len(scores)), scores.argmax(1)
    of_doses = {"scores": scores, "lowers": lowers, "uppers": uppers}
    return pl.DataFrame(
        {
            "compound": compound,
            "score": scores[best],
            "lower": lowers[best],
            "upper": uppers[best],
            "dose_um": np.array(doses_um)[best[1]],
            **{name: pl.Series(values.tolist(), dtype=pl.List(pl.Float64)) for name, values in of_doses.items()},
        }
    )
