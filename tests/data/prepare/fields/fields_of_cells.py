"""Simulated fields of cells whose centres are known."""

import numpy as np

from virtassay.simulator.anatomy import SimulatedCells
from virtassay.simulator.pharmacology import AXES
from virtassay.simulator.render import Optics, render

EDGE = 240  # of a simulated field, in pixels and units
DIAMETER = 13.0  # of a simulated nucleus in G1


def simulated(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A field (1, EDGE, EDGE) of interphase cells on a jittered grid, and where their nuclei are (n, 2)."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(15, EDGE, 30.0), np.arange(15, EDGE, 30.0)), -1).reshape(-1, 2)
    x, y = (grid + rng.uniform(-4, 4, grid.shape)).T
    n = len(x)
    cells = SimulatedCells(x, y, np.zeros(n, int), np.ones(n), np.ones(n, int), np.zeros((n, len(AXES))))
    optics = Optics(np.ones(1), np.full(1, 10.0), np.full(1, 0.8), np.zeros(2), 0.05)
    return render(cells, optics, 1, EDGE, 1.0, rng), np.stack([x, y], 1) - 0.5  # the first pixel's centre is 0, 0


HEIGHT, WIDTH = 90, 120
PLACES = [
    (20.0, 20.0),
    (60.0, 20.0),
    (100.0, 25.0),
    (30.0, 60.0),
    (70.0, 65.0),
    (116.0, 70.0),
]  # the last at the border


def painted(seed: int = 0, places: list[tuple[float, float]] = PLACES) -> np.ndarray:
    """A field (3, HEIGHT, WIDTH) uint8 of noise, with discs of 5 pixels' radius in the first channel at `places`."""
    image = np.random.default_rng(seed).normal(30, 5, (3, HEIGHT, WIDTH)).astype(np.uint8)
    y, x = np.indices((HEIGHT, WIDTH))
    for left, top in places:
        image[0][(x - left) ** 2 + (y - top) ** 2 <= 25] += 150
    return image
