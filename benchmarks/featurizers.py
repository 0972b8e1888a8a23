"""Featurizers side by side, with and without the cache: python benchmarks/featurizers.py [images] [edge]

Each is asked for the features of as many simulated crops of three channels, in a process of its own, alone and through
an empty and a full cache. Printed: images/s, and by how much the most memory used exceeds that before the first call.
Featurizers whose extra or weights are missing are left out, with the reason. Leave the machine alone meanwhile.
"""

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from virtassay.evaluation.featurizers.cache import Cached, image_keys
from virtassay.evaluation.featurizers.cells import CellStatistics
from virtassay.evaluation.featurizers.features import Featurizer, Images, PixelStatistics, Texture
from virtassay.evaluation.featurizers.pretrained import DINOv2, EfficientNetLite0, InceptionFID
from virtassay.evaluation.featurizers.structure import MinkowskiFunctionals
from virtassay.evaluation.featurizers.untrained import UntrainedNetwork
from virtassay.simulator.grow import grow_all
from virtassay.simulator.plan import Treatment, plan_wells

FEATURIZERS: tuple[Callable[[], Featurizer], ...] = (
    PixelStatistics,
    Texture,
    MinkowskiFunctionals,
    CellStatistics,
    UntrainedNetwork,
    EfficientNetLite0,
    InceptionFID,
    DINOv2,
)
T = TypeVar("T")
HEAD = ("featurizer", "d", "alone, images/s", "empty cache", "full cache", "full / alone", "peak MiB")


def main(images: int = 1000, edge: int = 96) -> None:
    """Print one line a featurizer."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for make in FEATURIZERS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            lines.append(pool.submit(measure, make, images, edge).result())
        print(lines[-1])  # noqa: T201
    crops = np.resize(simulated(256, edge), (100_000, 3, edge, edge))
    seconds, _ = timed(lambda: image_keys(crops))
    lines.append(f"\nHashes of 100,000 such images: {seconds:.1f} s.")
    print("\n".join(lines))  # noqa: T201


def measure(make: Callable[[], Featurizer], images: int, edge: int) -> str:
    """Return the line of one featurizer."""
    try:
        featurizer = make()
    except (ValueError, FileNotFoundError) as error:
        return f"| {make.__name__}: {error} |"
    crops = simulated(images, edge)
    featurizer(crops[:8])
    before = peak()
    alone, features = timed(lambda: featurizer(crops))
    used = peak() - before
    with TemporaryDirectory() as folder:
        empty, _ = timed(lambda: Cached(featurizer, folder)(crops))
        full, again = timed(lambda: Cached(featurizer, folder)(crops))
    if not (again == features).all():
        raise ValueError(f"{featurizer.name}: the cache gave other features.")
    speeds = " | ".join(f"{images / seconds:,.0f}" for seconds in (alone, empty, full))
    return f"| {featurizer.name} | {features.shape[1]} | {speeds} | {alone / full:.0f} | {used:.0f} |"


def simulated(n: int, edge: int) -> Images:
    """Return n crops of control wells; a few hundred are simulated and repeated with other brightness."""
    wells = list(plan_wells([Treatment()] * 24, 0, 1, 1, 3))
    own = np.concatenate([crops for _, crops, _ in grow_all(wells, 16, edge, 3, 2)])
    gain = np.linspace(0.6, 1, n)[:, None, None, None]
    return (np.resize(own, (n, *own.shape[1:])) * gain).astype(np.uint8)


def timed(task: Callable[[], T]) -> tuple[float, T]:
    """Seconds that a task takes, and what it returns."""
    start = time.perf_counter()
    result = task()
    return time.perf_counter() - start, result


def peak() -> float:
    """Most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(*(int(n) for n in sys.argv[1:3]))
