"""Several models of one screen: python benchmarks/screening_models.py runs/screening [seeds, by default 0 1]

Do they rank the planted library (benchmarks/screening.py) better together than one by one? And what tells a model's
error beforehand: the spread of its own units, what several models contradict each other on, how unlike a compound is to
training? Its error: ‖δ̂ − δ‖/√d of predicted effect and that of simulated images of the compound, which no model saw.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from design_space import train
from numpy.typing import NDArray
from planted import Planted
from scipy.stats import spearmanr
from screening import DOSES, GOALS, IMAGES, LADDER, Screened, recipe_of, screened_by

from virtassay.screening import Disagreement, EffectScale, ReferenceEffects
from virtassay.screening.enrichment import actives, roc_auc
from virtassay.screening.goals import signed_root
from virtassay.simulator.grow import grow_all
from virtassay.simulator.plan import Treatment, plan_wells

Array = NDArray[np.float64]
TOXICITY = 0.3  # of conf/data/design.yaml
CONTROLS, CELLS = 64, 24


def halves(effects: Array) -> Array:
    """δ by every other unit, and by those between: (…, units, d) → (…, 2, d). Their noise is independent."""
    return np.stack([effects[..., ::2, :].mean(-2), effects[..., 1::2, :].mean(-2)], -2)


def between_models(effects: Array) -> Array:
    """How far models contradict each other: √(mean over features of cov_k(δ_k, δ'_k)), without the noise of few units.

    effects: two halves of each of k models, (k, …, 2, d) → (…). Models may share their seeds, so that their noise goes
    together: that of δ and δ' does not, and the covariance over models is free of it. Root as of `Strength`.
    Source: query by committee (Seung et al. 1992, doi 10.1145/130385.130417). Raises ValueError for one model.
    """
    k = len(effects)
    if k < 2:
        raise ValueError(f"{k} model contradicts nobody: give two or more.")
    apart = effects - effects.mean(0)
    return signed_root((apart[..., 0, :] * apart[..., 1, :]).sum(0).mean(-1) / (k - 1))


def report_ranking(models: list[Screened]) -> None:
    """ROC AUC of each goal by each model, and by the mean of their scores at each dose, best dose taken then."""
    library = models[0].planted
    kept = (library.table["kind"] != "decoy").to_numpy()
    print("| goal | ranked by | ROC AUC | without decoys |\n|---|---|---|---|")  # noqa: T201
    for name, (goal, least) in GOALS.items():
        truth = models[0].true_score(goal, library.effects(DOSES)).max(1)
        active = actives(truth) if least is None else truth > least
        scores = [model.scores(goal)[0] for model in models]
        ways = {f"model {k}": one for k, one in enumerate(scores, start=1)} | {"all together": np.mean(scores, axis=0)}
        for who, one in ways.items():
            best = one.max(1)
            print(f"| {name} | {who} | {roc_auc(active, best):.2f} | {roc_auc(active[kept], best[kept]):.2f} |")  # noqa: T201


def real_effects(library: Planted, reference: ReferenceEffects, dose: float) -> Array:
    """Effects (n, d) in simulated images: two batches, a well of each compound in both, in units of real controls."""
    treatments = [Treatment(((replace(p, toxicity=TOXICITY * p.toxicity), dose),)) for p in library.truth]
    layout = [Treatment()] * CONTROLS + treatments
    size, channels = (
        reference.predictor.assay.vocabulary.image_shape[1],
        len(reference.predictor.assay.vocabulary.channels),
    )
    wells = list(plan_wells(layout, 0, 2, 1, channels))
    rows: list[dict[str, object]] = []
    for done, images, truths in grow_all(wells, CELLS, size, channels, workers=1):
        ends = np.cumsum([len(truth["truth_dna"]) for truth in truths])
        for well, cells in zip(wells[done], np.split(images, ends[:-1]), strict=True):
            name = well.treatment.parts[0][0].name if well.treatment.parts else None
            rows += [
                {"batch": well.batch, "name": name, "phi": phi}
                for phi in (reference.predictor.featurizer(cells).tolist() if len(cells) else [])
            ]
    table = pl.DataFrame(rows)
    effects: list[Array] = []
    for _, own in table.group_by("batch", maintain_order=True):
        untreated = np.array(own.filter(pl.col("name").is_null())["phi"].to_list())
        scale = EffectScale.of(untreated, np.array(own["phi"].to_list())[:, None], 1).values
        mean = {name: np.mean(part["phi"].to_list(), 0) for (name,), part in own.group_by("name")}
        nothing = np.full(len(scale), np.nan)  # where all cells are dead
        effects.append(np.array([(mean.get(p.name, nothing) - untreated.mean(0)) / scale for p in library.truth]))
    return np.nanmean(effects, axis=0)


def report_doubt(models: list[Screened]) -> None:
    """Spearman's correlation of each model's error with what could tell it beforehand."""
    library = models[0].planted
    kept = (library.table["kind"] != "decoy").to_numpy()
    _, similarity = models[0].nearest
    head = ["dose, µM", "library", "units of the model", "between models", "unlike training", "strength"]
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")  # noqa: T201
    for place in range(len(DOSES))[-2:]:
        real = real_effects(library, models[0].reference, DOSES[place])
        effects = [model.predicted[place] for model in models]
        between = between_models(np.stack([halves(one) for one in effects]))
        for label, rows in (("all", np.isfinite(real).all(1)), ("without decoys", kept & np.isfinite(real).all(1))):
            correlations: list[list[float]] = []
            for model, one in zip(models, effects, strict=True):
                error = np.sqrt(np.square(one.mean(1) - real).mean(1))[rows]
                signals = (
                    Disagreement().prepare(model.reference)(one),
                    between,
                    -similarity,
                    np.linalg.norm(one.mean(1), axis=1),
                )
                correlations.append([float(spearmanr(signal[rows], error)[0]) for signal in signals])
            cells = " | ".join(
                ", ".join(f"{value:.2f}" for value in column) for column in zip(*correlations, strict=True)
            )
            print(f"| {DOSES[place]:g} | {label} | {cells} |")  # noqa: T201


def main(folder: Path, seeds: list[int]) -> None:
    """Train what is not there, screen with each, and hold all against the truth."""
    torch.set_num_threads(1)
    runs = [train(folder, "screening", LADDER, IMAGES, seed) for seed in seeds]
    models = [screened_by(recipe_of(run), None) for run in runs]
    report_ranking(models)
    report_doubt(models)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2:]] or [0, 1])
