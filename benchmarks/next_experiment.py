"""Do the compounds that a screen proposes to measure teach most? python benchmarks/next_experiment.py runs/screening 0

Two models (seeds 0 and 1) have learned 32 simulated drugs. Of the planted library (benchmarks/screening.py) each way of
choosing picks PICKS compounds; their simulated wells join the training data, and a model of the given seed, 0 or 1, is
trained anew, as long as before. Judged on the compounds that no way has picked: effect explained, 1 − Σ‖δ̂ − δ‖²/Σ‖δ‖²,
by the images that simulated cells of them would give, and ROC AUC of strength. Runs that are finished are kept.
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import torch
from design_space import train
from numpy.typing import NDArray
from planted import Planted
from screening import DOSES, IMAGES, LADDER, STAGE, Screened, recipe_of, screened_by
from screening_models import between_models, halves, real_effects

from virtassay.screening import Disagreement, Recipe, ReferenceEffects, Strength
from virtassay.screening.enrichment import roc_auc
from virtassay.screening.plate import diverse
from virtassay.simulator.pharmacology import DRUG, compounds

Array = NDArray[np.float64]
PICKS, AMONG = 24, 72  # a plate's worth, and what it is picked from
ACTIVE = 0.25  # strength of the true effect, as in screening.py


def picks(models: list[Screened], seed: int) -> dict[str, list[str]]:
    """Name of the way → names of the compounds picked; of the held-out drugs none, which the split keeps back."""
    table = models[0].planted.table
    may = (table["kind"] != "drug").to_numpy()
    known = [str(p.smiles) for p in compounds() if p.name in models[0].reference.names]
    between = np.max([between_models(np.stack([halves(m.predicted[d]) for m in models])) for d in range(len(DOSES))], 0)
    alone = Disagreement().prepare(models[seed].reference)(models[seed].predicted).max(0)
    rng = np.random.default_rng(seed)
    chance = rng.random(table.height)
    drawn = 2 * np.log(between.clip(1e-6)) + rng.gumbel(size=table.height)  # in proportion to its square

    def best(score: Array, n: int = PICKS) -> pl.DataFrame:
        return table[[i for i in np.argsort(-score, kind="stable").tolist() if may[i]][:n]]

    def plate(score: Array, among: int = AMONG) -> pl.DataFrame:
        return diverse(best(score, among), PICKS, among, known)

    ways = {
        "random": best(-chance),
        "unlike training and each other": plate(chance, table.height),
        "what one model is unsure of": plate(alone),
        "what two models contradict each other on": plate(between),
        "drawn by contradiction": best(drawn),
    }
    return {way: picked["name"].to_list() for way, picked in ways.items()}


def taught(folder: Path, way: str, names: list[str], library: Planted, seed: int) -> Path:
    """Train on the drugs and the picked compounds."""
    folder.mkdir(parents=True, exist_ok=True)
    label = "".join(c if c.isalnum() else "_" for c in way)
    drugs = pl.DataFrame([{name: getattr(p, name) for name in DRUG} for p in compounds()], schema=DRUG)
    picked = library.table.filter(pl.col("name").is_in(names)).select(pl.col(n).cast(t) for n, t in DRUG.items())
    path = (folder / f"{label}-{seed}.csv").resolve()
    pl.concat([drugs, picked]).write_csv(path)
    more = (f"+data.prepare.drugs={path}", "data.prepare.n_compounds=null", f"data.name=next_{label}_{seed}")
    return train(folder, f"next {way}", (*LADDER, *more), IMAGES, seed)


def _screened(library: Planted, recipe: Recipe) -> Screened:
    return Screened.of(library, ReferenceEffects.of(recipe.predictor(STAGE), DOSES, (None,)))


def main(folder: Path, seed: int) -> None:
    """Pick, train, judge."""
    torch.set_num_threads(1)
    models = [screened_by(recipe_of(train(folder, "screening", LADDER, IMAGES, one)), None) for one in (0, 1)]
    library = models[0].planted
    chosen = picks(models, seed)
    left = ~library.table["name"].is_in([name for names in chosen.values() for name in names]).to_numpy()
    kinds = library.table["kind"].to_numpy()
    real = {place: real_effects(library, models[0].reference, DOSES[place]) for place in (2, 3)}
    active = models[0].true_score(Strength(), library.effects(DOSES)).max(1) > ACTIVE
    columns = ["", "picked", *(f"explained at {DOSES[place]:g} µM" for place in real), "AUC of strength"]
    print(f"seed {seed}, {left.sum()} compounds left\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")  # noqa: T201
    for way, names in {"before": [], **chosen}.items():
        screened = models[seed]
        if names:
            screened = _screened(library, recipe_of(taught(folder, way, names, library, seed)))
        picked, counts = np.unique(kinds[library.table["name"].is_in(names).to_numpy()], return_counts=True)
        cells = [", ".join(f"{n} {kind}" for n, kind in zip(counts, picked, strict=True))]
        for place, effect in real.items():
            rows = left & np.isfinite(effect).all(1)
            wrong = np.square(screened.predicted[place].mean(1) - effect)[rows].sum()
            cells.append(f"{1 - wrong / np.square(effect[rows]).sum():.2f}")
        scores = screened.scores(Strength())[0].max(1)
        print(f"| {way} | {' | '.join([*cells, f'{roc_auc(active[left], scores[left]):.2f}'])} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
