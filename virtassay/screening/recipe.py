"""How each compound is scored: all that the scores depend on, in one object that other processes can be given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from virtassay import __version__
from virtassay.assay import VirtualAssay
from virtassay.data.pairing import ControlPool
from virtassay.data.store import open_dataset
from virtassay.evaluation.featurizers.features import Featurizer
from virtassay.flow.guidance import Guidance
from virtassay.flow.solver import Solver
from virtassay.flow.time import TimeGrid
from virtassay.precision import best_device, bf16_pays
from virtassay.screening.bench import Bench
from virtassay.screening.effects import Instrument
from virtassay.screening.goals import Goal, standard_error
from virtassay.screening.wanted import Wanted


@dataclass(frozen=True)
class Stage:
    """One pass over what is left of the library: images of each compound and batch, steps of the solver, who goes on.

    keep: how many compounds the next stage sees, the best; None: this is the last.
    """

    seeds: int
    steps: int
    keep: int | None = None


@dataclass(frozen=True)
class Recipe:
    """A model, how it is sampled, what its images are reduced to, and what is looked for.

    doses_um: each compound is tried at all of them. batches: training batches that effects are averaged over; None: the
    first four. controls: the dataset folder and split whose control images the model begins at, if it does.
    """

    run: str
    wanted: Wanted
    featurizer: Featurizer
    doses_um: Sequence[float]
    solver: Solver
    grid: TimeGrid
    guidance: Guidance
    batches: Sequence[str] | None = None
    controls: tuple[str, str] | None = None
    seed: int = 0
    minibatch_size: int = 256
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.doses_um or min(self.doses_um) <= 0:
            raise ValueError(f"doses_um={list(self.doses_um)}: give one dose in µM or more, above 0.")

    def instrument(self, stage: Stage) -> Instrument:
        """Load the model. Raises ValueError for batches that it does not know."""
        device = best_device() if self.device == "auto" else self.device
        assay = VirtualAssay.load(self.run, device=device, guide=self.guidance.needs_guide)
        known = assay.vocabulary.batches
        batches = known[:4] if self.batches is None else self.batches
        strange = sorted(set(batches) - set(known))
        if strange or not batches:
            raise ValueError(f"batches={list(batches)}: the model was trained on {list(known)}, not on {strange}.")
        if stage.seeds * len(batches) < 2:
            raise ValueError("one image of each compound says nothing of chance: give two seeds, or two batches.")
        pool = None
        if assay.needs_controls:
            folder, split = self.controls or (assay.folder, "train")
            pool = ControlPool.of(open_dataset(folder, verify=False), split)
        return Instrument(
            assay,
            self.featurizer,
            tuple(batches),
            stage.seeds,
            self.solver,
            stage.steps,
            self.grid,
            self.guidance,
            self.seed,
            self.minibatch_size,
            pool,
            bf16_pays(device),
        )

    def described(self, stages: Sequence[Stage]) -> dict[str, Any]:
        """What the scores depend on, in words: two screens that differ in it are two."""
        instrument = self.instrument(stages[0])
        return {
            "version": __version__,
            "model_sha256": instrument.assay.model_sha256,
            "guide_sha256": instrument.assay.guide_sha256,
            "wanted": repr(self.wanted),
            "featurizer": self.featurizer.fingerprint(),
            "doses_um": list(self.doses_um),
            "batches": list(instrument.batches),
            "solver": getattr(getattr(self.solver, "func", self.solver), "__name__", str(self.solver)),
            "guidance": repr(self.guidance),
            "grid": getattr(getattr(self.grid, "func", self.grid), "__name__", str(self.grid)),
            "stages": [repr(stage) for stage in stages],
            "seed": self.seed,
            "minibatch_size": self.minibatch_size,
        }


@dataclass(frozen=True)
class Scorer:
    """A recipe at work: rows of the library → their scores."""

    bench: Bench
    goal: Goal

    @classmethod
    def of(cls, recipe: Recipe, stage: Stage, bench: Path) -> "Scorer":
        """Load the model and the bench that was kept for the stage."""
        made = Bench.load(bench, recipe.instrument(stage))
        return cls(made, recipe.wanted.goal(made))

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Score compounds: the score at the best dose with its standard error, that dose, and those of all doses."""
        doses, contexts = self.bench.doses_um, self.goal.contexts
        molecules = rows["smiles"].to_list()
        n_batches = len(self.bench.instrument.batches)
        scores, errors = np.empty((len(molecules), len(doses))), np.empty((len(molecules), len(doses)))
        for place, dose in enumerate(doses):
            of = {c: self.bench.effects([self.bench.ask(m, m, dose, c) for m in molecules]) for c in set(contexts)}
            effects = [of[context] for context in contexts]
            scores[:, place] = self.goal(*effects)
            errors[:, place] = standard_error(self.goal, effects, n_batches)
        best = scores.argmax(1)
        at = np.arange(len(molecules)), best
        return pl.DataFrame(
            {
                "compound": rows["compound"],
                "score": scores[at],
                "standard_error": errors[at],
                "dose_um": np.array(doses)[best],
                "scores": scores.tolist(),
                "standard_errors": errors.tolist(),
            }
        )
