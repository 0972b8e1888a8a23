"""Screening held against the truth of simulated drugs: python benchmarks/screening.py runs/screening [seed] [decoys]

The library (benchmarks/planted.py) is of molecules that training never saw. Printed: ROC AUC and enrichment of every
goal against baselines, potency, coverage of intervals, and false discoveries. Two runs are trained unless they are
there: on single drugs over a ladder of four doses, and on pairs of drugs as well, for rescue.

seed: of the runs. decoys: a library to take decoys from; without it they are built of the drugs' fragments.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from design_space import train
from numpy.typing import NDArray
from planted import Planted, planted
from scipy.stats import spearmanr

from virtassay.data.dataset.store import open_dataset
from virtassay.evaluation.featurizers.features import Texture
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import ab2
from virtassay.flow.time import cosine_grid
from virtassay.screening import (
    Goal,
    Likeness,
    Novelty,
    Recipe,
    ReferenceEffects,
    Rescue,
    Score,
    Scorer,
    Selectivity,
    Stage,
    Strength,
    TreatmentQuery,
    hill,
)
from virtassay.screening.confidence import Confidence, TrainingCompounds, p_values, q_values
from virtassay.screening.enrichment import actives, enrichment_factor, roc_auc
from virtassay.screening.goals import share_shown
from virtassay.screening.hits import FAR
from virtassay.simulator.pharmacology import AXES, compounds

Array = NDArray[np.float64]
LADDER = (  # the drugs of the design space over the whole of their curves, so that doses can be learnt
    "data.name=design_ladder",
    "data.prepare.n_doses=4",
    "data.prepare.dilution=4",
    "data.prepare.plates_per_batch=1",
    "data.prepare.wells_per_treatment=4",
    "data.prepare.cells_per_well=12",
)
PAIRS = (*LADDER, "data.name=design_pairs", "data.prepare.combinations=60", "data.prepare.cells_per_well=9")
STATE, STATE_UM = "camptothecin", 0.75  # seen in training, alone and in pairs with other classes
RESCUED = 0.2  # of the state's effect
DOSES = (0.1, 1.0, 10.0, 100.0)
STAGE, MANY = Stage(seeds=8, steps=5), Stage(seeds=40, steps=5)
REFERENCE, OTHER = "paclitaxel", "etoposide"  # seen in training
RESAMPLES = 500
IMAGES = 24_000  # of training


@dataclass(frozen=True)
class Screened:
    """The planted library through the model: predicted effects of each dose, (doses, n, units, d)."""

    planted: Planted
    reference: ReferenceEffects
    predicted: Array

    @classmethod
    def of(cls, planted: Planted, reference: ReferenceEffects) -> "Screened":
        return cls(
            planted,
            reference,
            np.stack([reference.effects(queries(planted.table, dose)) for dose in reference.doses_um]),
        )

    def scores(self, goal: Goal) -> tuple[Array, Array]:
        """Scores, (n, doses), and the ends of their intervals, (2, n, doses)."""
        scorer, times = Scorer(self.reference, goal), len(goal.contexts)
        ends = [scorer.interval([effects] * times) for effects in self.predicted]
        return np.stack([scorer.score(*[effects] * times) for effects in self.predicted], 1), np.stack(ends, -1)

    def true_score(self, goal: Goal, effects: Array) -> Array:
        """A goal of true effects without chance, (…, 17) → (…), held against those of what training has seen."""
        truth = replace(self.reference, seen=self.true_seen[:, -1])
        return still(goal.prepare(truth), effects, len(goal.contexts))

    @cached_property
    def nearest(self) -> tuple[NDArray[np.int64], Array]:
        """The place among the seen of the most similar compound, and its similarity."""
        vocabulary = self.reference.predictor.assay.vocabulary
        smiles = dict(zip(vocabulary.perturbations, vocabulary.smiles, strict=True))
        names = self.reference.names
        nearest, similarity = TrainingCompounds(names, [str(smiles[n]) for n in names]).nearest(
            self.planted.table["smiles"].to_list()
        )
        return np.array([names.index(name) for name in nearest]), similarity

    @cached_property
    def true_seen(self) -> Array:
        """True effects of what training has seen, (k, doses, 17)."""
        drugs = {p.name: p for p in compounds()}
        return np.array(
            [[drugs[name].effect(dose) for dose in self.reference.doses_um] for name in self.reference.names]
        )


def queries(table: pl.DataFrame, dose: float) -> list[TreatmentQuery]:
    return [TreatmentQuery((name,), (smiles,), (dose,)) for name, smiles in table.select("name", "smiles").iter_rows()]


def still(score: Score, effects: Array, n_contexts: int = 1) -> Array:
    """A score of effects without chance, (…, d) → (…), the same in each context."""
    return score(*[np.stack([effects, effects], -2)] * n_contexts)


GOALS: dict[str, tuple[Goal, float | None]] = {  # name → the goal, and how much of it is a hit; None: the best tenth
    "strength": (Strength(), 0.25),
    f"likeness to {REFERENCE}": (Likeness(REFERENCE), 0.5),
    f"{REFERENCE}, not {OTHER}": (Selectivity(Likeness(REFERENCE), Likeness(OTHER)), 0.5),
    "novelty": (Novelty(), None),
}


def rankings(screened: Screened, observed: Array, goal: Goal, label: NDArray[np.bool_], seed: int) -> dict[str, Array]:
    """What is compared, (n,) each. observed: effects of seen compounds in real images; label: which are hits."""
    scores, (lower, _) = screened.scores(goal)
    best = np.arange(len(scores)), scores.argmax(1)
    nearest, similarity = screened.nearest
    return {
        "the screen": scores[best],
        "its lower bound": lower[best],
        "the screen, highest dose only": scores[:, -1],
        "the screen, unlike molecules last": scores[best] - 1e6 * (similarity < FAR),
        "nearest seen compound: active or not, by similarity": np.where(label, 1, -1)[nearest] * similarity,
        "nearest seen compound: its observed effect": still(
            goal.prepare(screened.reference), observed, len(goal.contexts)
        )[nearest],
        "random": np.random.default_rng(seed).random(len(scores)),
    }


def report_goals(screened: Screened, observed: Array) -> None:
    """Print how well each goal is ranked."""
    true = screened.planted.effects(screened.reference.doses_um)
    print("| goal | ranked by | ROC AUC | EF 1 % | EF 5 % | AUC without decoys |\n|---|---|---|---|---|---|")  # noqa: T201
    for name, (goal, least) in GOALS.items():
        truth = screened.true_score(goal, true).max(1)
        active = actives(truth) if least is None else truth > least
        label = screened.true_score(goal, screened.true_seen).max(1) > (truth[active].min() if least is None else least)
        print_rows(name, active, rankings(screened, observed, goal, label, seed=0), screened.planted.table)


def report_rescue(screened: Screened) -> None:
    """Cells under a drug, and compounds added to them: is what brings them back found?"""
    reference, table = screened.reference, screened.planted.table
    goal = Rescue(STATE, STATE_UM)
    score, (context,) = goal.prepare(reference), goal.contexts
    of_doses = [
        [reference.query(name, smiles, dose, context) for name, smiles in table.select("name", "smiles").iter_rows()]
        for dose in reference.doses_um
    ]
    together = np.stack([score(reference.effects(of_dose)) for of_dose in of_doses], 1).max(1)
    state_effect = reference.effects([reference.state_query(context)])[0].mean(0)
    added = np.stack([score(effects + state_effect) for effects in screened.predicted], 1).max(1)
    state = next(p for p in compounds() if p.name == STATE).effect(STATE_UM)
    true_score = partial(share_shown, target=np.zeros_like(state), whole=state)
    true_seen = still(true_score, screened.true_seen + state).max(1)
    active = still(true_score, screened.planted.effects(reference.doses_um) + state).max(1) > RESCUED
    nearest, similarity = screened.nearest
    label = np.where(true_seen > RESCUED, 1, -1)
    ways = {
        "the screen": together,
        "the compound's predicted effect, added to the state's": added,
        "nearest seen compound: rescues or not, by similarity": label[nearest] * similarity,
        "random": np.random.default_rng(0).random(table.height),
    }
    print_rows(f"rescue from {STATE} {STATE_UM} µM", active, ways, table)


def print_rows(name: str, active: NDArray[np.bool_], ways: Mapping[str, Array], table: pl.DataFrame) -> None:
    """ROC AUC and enrichment, with 95 % intervals over parents (a drug and its edits are one draw)."""
    kept = (table["kind"] != "decoy").to_numpy()
    figures: list[Callable[[NDArray[np.bool_], Array], float]] = [
        roc_auc, partial(enrichment_factor, fraction=0.01), partial(enrichment_factor, fraction=0.05),
    ]  # fmt: skip
    for who, scores in ways.items():
        cells = [with_interval(figure, active, scores, table["parent"]) for figure in figures]
        cells.append(f"{roc_auc(active[kept], scores[kept]):.2f}")
        print(f"| {name} ({active.sum()} of {len(active)}) | {who} | {' | '.join(cells)} |")  # noqa: T201


def with_interval(
    figure: Callable[[NDArray[np.bool_], Array], float], active: NDArray[np.bool_], scores: Array, parents: pl.Series
) -> str:
    """A figure of all rows, and where it lies for 95 % of bootstrap samples of parents."""
    rng = np.random.default_rng(0)
    _, group = np.unique(parents.to_numpy(), return_inverse=True)
    rows = [np.flatnonzero(group == i) for i in range(group.max() + 1)]
    found = []
    for _ in range(RESAMPLES):
        sample = np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
        if 0 < active[sample].sum() < len(sample):
            found.append(figure(active[sample], scores[sample]))
    low, high = np.quantile(found, (0.025, 0.975))
    return f"{figure(active, scores):.2f} ({low:.2f} to {high:.2f})"


def report_potency(screened: Screened) -> None:
    """Rank correlation of fitted with true EC50 over actives of unseen structure."""
    reference, planted = screened.reference, screened.planted
    scores, (lower, upper) = screened.scores(Strength())
    errors = (upper - lower) / 3.92
    fitted = np.array([hill(reference.doses_um, s, e).ec50_um for s, e in zip(scores, errors, strict=True)])
    true = np.array([p.ec50_um for p in planted.truth])
    of_seen = {p.name: p.ec50_um for p in compounds()}
    near = np.array([of_seen[reference.names[k]] for k in screened.nearest[0]])
    active = planted.table["kind"].is_in(["drug", "analogue"]).to_numpy()
    rows = active & np.isfinite(fitted)
    within = np.abs(np.log10(fitted[rows] / true[rows])) < 0.5
    print(  # noqa: T201
        f"potency of {rows.sum()} of {active.sum()} actives: Spearman {spearmanr(fitted[rows], true[rows])[0]:.2f}, "
        f"{within.mean():.0%} within 3-fold; the nearest seen compound's true EC50: "
        f"{spearmanr(near[rows], true[rows])[0]:.2f}, {(np.abs(np.log10(near / true))[rows] < 0.5).mean():.0%}"
    )
    for kind in ("drug", "analogue", "inactive", "decoy"):
        of_kind = (planted.table["kind"] == kind).to_numpy()
        truth = np.linalg.norm(planted.effects(reference.doses_um)[of_kind], axis=-1) / np.sqrt(len(AXES))
        shown, right = np.median(scores[of_kind], 0).round(2), np.median(truth, 0).round(2)
        print(f"median strength by dose, {kind}: {shown}; true {right}")  # noqa: T201


def report_coverage(screened: Screened, recipe: Recipe, n: int = 60) -> None:
    """Do 95 % intervals from some seeds, at the dose where their score is best, hold what all other seeds give?"""
    rows = np.sort(np.random.default_rng(0).choice(screened.planted.table.height, n, replace=False))
    predictor = recipe.predictor(MANY)
    reference = replace(screened.reference, predictor=predictor, untreated={None: predictor.untreated()})
    effects = np.stack(
        [reference.effects(queries(screened.planted.table[rows.tolist()], dose)) for dose in reference.doses_um]
    )
    batches = len(predictor.batches)
    effects = effects.reshape(*effects.shape[:2], batches, MANY.seeds, -1)
    for name, (goal, _) in GOALS.items():
        scorer, times = Scorer(reference, goal), len(goal.contexts)
        found = []
        for first in range(0, MANY.seeds, STAGE.seeds):
            own = np.arange(first, first + STAGE.seeds)
            few, other = (
                part.reshape(*part.shape[:2], -1, part.shape[-1])
                for part in (effects[..., own, :], np.delete(effects, own, axis=3))
            )
            lower, upper = scorer.interval([few] * times)
            score, true = scorer.score(*[few] * times), scorer.score(*[other] * times)
            best = score.argmax(0), np.arange(n)
            found.append(np.stack([(lower <= true) & (true <= upper), upper - lower, score - true])[:, *best])
        held, width, bias = np.stack(found, 1)
        sets = " ".join(f"{share:.0%}" for share in held.mean(1))
        print(  # noqa: T201
            f"95 % intervals of {name} hold {held.mean():.0%} of {n} compounds ({sets}, sets of {STAGE.seeds} seeds); "
            f"median width {np.median(width):.2f}, bias {bias.mean():.3f}"
        )


def report_discoveries(screened: Screened, confidence: Confidence, splits: int = 100) -> None:
    """The share of inactives among hits, by a null of seen inactives and by one of new ones."""
    scores = screened.scores(Strength())[0].max(1)
    nothing = screened.planted.table["moa"].eq("inactive").to_numpy()
    p = p_values(scores, confidence.null["score"].to_numpy())
    least = 1 / (1 + confidence.null.height)
    print(  # noqa: T201
        f"null of the screen: {confidence.null.height} seen compounds that do nothing in training images; p is "
        f"{least:.2f} or more, and {(p[nothing] <= least + 1e-9).mean():.0%} of new inactives reach that"
    )
    rng = np.random.default_rng(0)
    false, found = [], []
    for _ in range(splits):
        inactive = rng.permutation(np.flatnonzero(nothing))[: nothing.sum() // 2]
        rest = np.setdiff1d(np.arange(len(scores)), inactive)
        hits = q_values(p_values(scores[rest], scores[inactive])) < 0.1
        false.append((hits & nothing[rest]).sum() / max(1, hits.sum()))
        found.append(hits[~nothing[rest]].mean())
    print(  # noqa: T201
        f"null of half the inactives of new structure: q < 0.1 finds {np.mean(found):.0%} of actives, and "
        f"{np.mean(false):.1%} of what it finds is inactive"
    )


def recipe_of(run: Path) -> Recipe:
    return Recipe(str(run), Strength(), Texture(), DOSES, Sampler(ab2, grid=cosine_grid))


def screened_by(recipe: Recipe, decoys: Path | None) -> Screened:
    """Make the library of what the run has not seen, and screen it."""
    predictor = recipe.predictor(STAGE)
    seen = predictor.assay.vocabulary.perturbations
    library = planted([p.name for p in compounds() if p.name not in seen], decoys)
    print(library.table.group_by("kind", maintain_order=True).len().rows())  # noqa: T201
    return Screened.of(library, ReferenceEffects.of(predictor, DOSES, (None,)))


def main(folder: Path, seed: int = 0, decoys: Path | None = None) -> None:
    """Train, screen, hold against the truth."""
    torch.set_num_threads(1)
    recipe = recipe_of(train(folder, "screening", LADDER, IMAGES, seed))
    screened = screened_by(recipe, decoys)
    reference = screened.reference
    real = open_dataset(reference.predictor.assay.config["data"]["folder"], verify=False)
    images = real.split("train")
    report_goals(screened, np.array([reference.units_of_images(images, [name]).mean(0) for name in reference.names]))
    report_potency(screened)
    report_coverage(screened, recipe)
    report_discoveries(screened, Confidence.of(Scorer(reference, Strength()), real))
    report_rescue(screened_by(recipe_of(train(folder, "screening pairs", PAIRS, IMAGES, seed)), decoys))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]), *map(Path, sys.argv[3:4]))
