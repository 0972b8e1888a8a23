"""The cells of a simulated well: where they lie, how each of them responds, and the crops around their nuclei."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from virtassay.simulator.anatomy import MITOSIS, STAGES, SimulatedCells
from virtassay.simulator.pharmacology import AXES
from virtassay.simulator.plan import Well
from virtassay.simulator.render import render

CELL_AREA = 780.0  # square units of a control well for each cell, at density 1
APART = 18.0  # least distance of two nuclei, in units
Truth = dict[str, np.ndarray]  # truth of the cells of a well: column of the index → n values


def grow_all(
    wells: list[Well], cells_per_well: int, size: int, channels: int, workers: int
) -> Iterator[tuple[slice, np.ndarray, list[Truth]]]:
    """Simulate wells on `workers` threads, in order: which wells, their crops, the truth of each well's cells."""
    step = 8 * workers  # a few at a time, or images pile up faster than they are written
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(wells), step):
            done = slice(start, start + step)
            grown = list(pool.map(lambda well: grow(well, cells_per_well, size, channels), wells[done]))
            yield done, np.concatenate([images for images, _ in grown]), [truth for _, truth in grown]


def grow(well: Well, cells_per_well: int, size: int, channels: int) -> tuple[np.ndarray, Truth]:
    """Simulate one well: crops (n, channels, size, size) uint8 and the truth of the n cells at their centres."""
    rng = np.random.default_rng(well.key)
    unit = size / 48
    crop = size / unit
    inner = np.sqrt(cells_per_well * CELL_AREA)
    edge = inner + crop + 2 / unit
    expected = edge**2 / CELL_AREA * well.density * well.treatment.survival
    x, y = _scatter(rng.poisson(expected), edge, rng)
    cells, truth = _individuals(x, y, well.treatment.effect, rng)
    field = render(cells, well.optics, channels, edge, unit, rng)
    left, top = (np.floor(c * unit).astype(int) - size // 2 for c in (x, y))
    whole = (left >= 0) & (top >= 0) & (left + size <= field.shape[2]) & (top + size <= field.shape[1])
    images = np.empty((int(whole.sum()), channels, size, size), np.uint8)
    for image, j, i in zip(images, top[whole], left[whole], strict=True):
        image[:] = field[:, j : j + size, i : i + size]
    reach = np.maximum(np.abs(x[:, None] - x), np.abs(y[:, None] - y)) < crop / 2
    truth |= {"x_px": left + size / 2, "y_px": top + size / 2, "truth_neighbours": reach.sum(1) - 1}
    return images, {name: values[whole] for name, values in truth.items()}


def _scatter(n: int, edge: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Up to n points in a square, none closer than APART: four darts a point, void if too close to one kept."""
    darts = rng.uniform(0, edge, (4 * n, 2))
    clash = ((darts[:, None] - darts) ** 2).sum(-1) < APART**2
    free = np.ones(len(darts), bool)
    kept: list[int] = []
    for i in range(len(darts)):
        if free[i] and len(kept) < n:
            kept.append(i)
            free &= ~clash[i]
    return darts[kept, 0], darts[kept, 1]


def _individuals(
    x: np.ndarray, y: np.ndarray, effect: np.ndarray, rng: np.random.Generator
) -> tuple[SimulatedCells, Truth]:
    """Draw the cells of a well: each responds a little more or less; some divide; a few are large and multinucleate."""
    n = len(x)
    axis = {name: i for i, name in enumerate(AXES)}
    responsiveness = np.exp(rng.normal(0, 0.2, n)) * np.where(rng.random(n) < 0.06, 0.2, 1.0)
    shift = responsiveness[:, None] * effect
    phenotype = shift + rng.normal(0, 0.3, (n, len(AXES)))
    odds = np.array([0.52, 0.24, 0.20, 0.035]) * np.ones((n, 1))
    odds[:, 3] *= np.exp(0.9 * shift[:, axis["mitosis"]])
    odds /= odds.sum(1, keepdims=True)
    stage = (rng.random((n, 1)) > odds.cumsum(1)[:, :3]).sum(1)
    dna = np.choose(stage, [np.ones(n), rng.uniform(1, 2, n), np.full(n, 2.0), np.full(n, 2.0)])
    rare = rng.random(n) < 0.03
    phenotype[rare] += [{"nucleus_size": 1.0, "cell_area": 1.8, "actin_fibres": 1.0}.get(name, 0.0) for name in AXES]
    multinucleate = rng.random(n) < 1 / (1 + np.exp(4 - 2.1 * shift[:, axis["multinucleation"]]))
    nuclei = np.where(multinucleate | rare, rng.integers(2, 5, n), 1)
    nuclei[stage == MITOSIS] = 1
    truth = {
        "truth_cycle": np.array(STAGES)[stage],
        "truth_dna": dna,
        "truth_rare": rare,
        "truth_nuclei": nuclei,
        "truth_responsiveness": responsiveness,
    }
    return SimulatedCells(x, y, stage, dna, nuclei, phenotype), truth
