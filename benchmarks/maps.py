"""Maps of 5,000 perturbations beside EFAAR, scipy and scikit-learn: python benchmarks/maps.py [perturbations]

Each row runs alone in a new process and prints its seconds, its peak memory beyond its inputs, its figure, and both
costs as ratios to the row before. EFAAR's peer needs `pip install --no-deps efaar-benchmarking`.
"""

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils import Bunch

from virtassay.evaluation.metrics import maps, recall, relations

FEATURES, MECHANISM = 128, 10  # perturbations of each mechanism
QUERIES = 100  # that the 1-NN of scikit-learn is timed on


class World:
    """A real and a generated map of mechanisms, and the pairs that share one."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(0)
        self.label = [str(i // MECHANISM) for i in range(n)]
        centre = np.repeat(rng.normal(size=(-(-n // MECHANISM), FEATURES)), MECHANISM, 0)[:n]
        self.real = 0.6 * centre + rng.normal(size=(n, FEATURES))
        self.generated = self.real + rng.normal(size=(n, FEATURES))
        self.pairs = relations.pairs_of_label(self.label)


def our_recall(world: World) -> float:
    return float(maps.relation_recall(world.real, world.pairs).mean())


def efaar_recall(world: World) -> float:
    """EFAAR's known_relationship_benchmark, from the table of pairs to the recall."""
    import pandas as pd

    for name, contents in {"geomloss": "SamplesLoss", "scvi": "model", "scvi.model": "SCVI"}.items():
        sys.modules[name] = ModuleType(name)  # imported at its top, for other figures
        setattr(sys.modules[name], contents, None)
    from efaar_benchmarking.benchmarking import known_relationship_benchmark

    names = np.array([f"gene{i:05}" for i in range(len(world.real))])
    with TemporaryDirectory() as folder:
        table = pd.DataFrame(names[world.pairs], columns=["entity1", "entity2"])
        table.to_csv(Path(folder) / "known.txt", index=False)
        vectors = Bunch(features=pd.DataFrame(world.real), metadata=pd.DataFrame({"gene": names}))
        found = known_relationship_benchmark(
            vectors, "gene", ["known"], recall_thr_pairs=[(0.05, 0.95)], benchmark_data_dir=folder
        )
    return float(found["recall_0.05_0.95"].iloc[0])


def our_concordance(world: World) -> float:
    return maps.map_concordance(world.generated, world.real)


def scipy_concordance(world: World) -> float:
    upper = np.triu_indices(len(world.real), 1)
    generated, real = (recall.cosines(x, x)[upper] for x in (world.generated, world.real))
    result: Any = spearmanr(generated, real)
    return float(result.statistic)


def our_nsc(world: World) -> float:
    """Of all queries; the figure is that of those which scikit-learn answers."""
    compound = [str(i) for i in range(len(world.real))]
    return float(recall.nsc(world.generated, world.real, world.label, compound)[:QUERIES].mean())


def scikit_learn_nsc(world: World) -> float:
    """1-NN asked one query after the other, as published code does it; its time is scaled from some of the queries."""
    right = 0
    for i in range(QUERIES):
        gallery = np.arange(len(world.real)) != i
        nearest = KNeighborsClassifier(n_neighbors=1, algorithm="brute", metric="cosine")
        nearest.fit(world.real[gallery], np.array(world.label)[gallery])
        right += nearest.predict(world.generated[[i]])[0] == world.label[i]
    return right / QUERIES


def measure(task: Callable[[World], float], n: int) -> tuple[float, float, float]:
    """Seconds, peak MiB beyond the inputs, and the figure."""
    task(World(60 if task is not scikit_learn_nsc else 2 * QUERIES))  # what is imported and allocated once
    world = World(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    figure = task(world)
    seconds = time.perf_counter() - start
    if task is scikit_learn_nsc:
        seconds *= n / QUERIES
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, figure


def main(n: int = 5_000) -> None:
    """Print a line for each peer and for ours."""
    for peer, ours in (
        (efaar_recall, our_recall),
        (scipy_concordance, our_concordance),
        (scikit_learn_nsc, our_nsc),
    ):
        rows = []
        for task in (peer, ours):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                rows.append(process.submit(measure, task, n).result())
            seconds, memory, figure = rows[-1]
            print(f"{task.__name__:20} {seconds:8.2f} s {memory:8.0f} MiB   {figure:.6f}")  # noqa: T201
        (slow, large, _), (fast, small, _) = rows
        print(f"{'':20} {slow / fast:8.1f} ×  {large / max(small, 1):8.1f} ×\n")  # noqa: T201


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
