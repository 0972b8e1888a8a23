"""Distances side by side with their usual forms: python benchmarks/distances.py [images]

Two sets of 10,000 images × 2,048 features whose variances fall as a network's do. Each row is measured in a process of
its own: processor seconds of all cores (on a busy machine the clock says little), the memory that it needs beyond the
features, and the largest relative difference of its values from the first row's.
"""

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from prdc import compute_prdc
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel
from torchmetrics.image.fid import _compute_fid

from virtassay.evaluation.metrics import distance
from virtassay.evaluation.metrics.manifold import manifold

FEATURES = 2048
Array = NDArray[np.float64]
Measure = Callable[[Array, Array], Any]


def fd_eigvals(x: Array, y: Array) -> float:
    """torchmetrics: eigenvalues of the product of the covariances, which is not symmetric."""
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    return float(_compute_fid(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T)))


def fd_sqrtm(x: Array, y: Array) -> float:
    """The original FID, pytorch-fid: a square root of the product of the covariances."""
    a, b = np.cov(x.T), np.cov(y.T)
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a) + np.trace(b) - 2 * np.trace(sqrtm(a @ b)).real)


def kd_dense(x: Array, y: Array) -> float:
    """The original KID: three whole kernel matrices."""
    xx, yy, xy = (polynomial_kernel(a, b, degree=3, gamma=1 / FEATURES) for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def manifold_scores(x: Array, y: Array) -> tuple[float, ...]:
    """Ours, as a tuple."""
    return tuple(float(share.mean()) for share in astuple(manifold(x, y)))


def manifold_prdc(x: Array, y: Array) -> tuple[float, ...]:
    """prdc: three whole distance matrices."""
    scores = compute_prdc(x, y, nearest_k=5)
    return tuple(scores[name] for name in ("precision", "recall", "density", "coverage"))


ROWS: dict[str, dict[str, Measure]] = {
    "fd": {"virtassay": distance.fd, "torchmetrics (eigvals)": fd_eigvals, "scipy (sqrtm)": fd_sqrtm},
    "kd": {"virtassay": distance.kd, "scikit-learn (dense)": kd_dense},
    "manifold": {"virtassay": manifold_scores, "prdc (dense)": manifold_prdc},
}


def measured(function: Measure, images: int) -> tuple[float, float, Array]:
    """Processor seconds, peak GiB beyond the features, and the values."""
    generator = np.random.default_rng(0)
    spread = np.exp(-np.linspace(0, 6, FEATURES))
    x, y = (generator.normal(size=(images, FEATURES)) for _ in range(2))
    x *= spread
    y *= 0.99 * spread
    y += 0.003
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    values = np.atleast_1d(function(x, y))
    seconds, after = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds, (after - before) / 2**20, values


def main(images: int = 10_000) -> None:
    """Print one line a row."""
    for metric, functions in ROWS.items():
        first: tuple[float, float, Array] | None = None
        for name, function in functions.items():
            with ProcessPoolExecutor(1, get_context("spawn")) as apart:
                found = apart.submit(measured, function, images).result()
            first = first or found
            ratio, off = found[0] / first[0], np.abs(found[2] / first[2] - 1).max()
            values = " ".join(f"{v:.6g}" for v in found[2])
            cost = f"{found[0]:7.1f} s ({ratio:5.2f} ×), {found[1]:5.2f} GiB"
            print(f"{metric:9s}{name:23s}{cost}, {values} (off {off:.0e})", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*(int(n) for n in sys.argv[1:2]))
