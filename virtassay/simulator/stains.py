"""What each stain shows of a simulated cell: one function a channel, Anatomy → fluorescence (n, side, side).

Bright structures of an untouched cell are about 100; the camera adds the rest (render.py).
"""

from collections.abc import Callable

import numpy as np

from virtassay.simulator.anatomy import Anatomy, column, f
from virtassay.simulator.textures import SIDE, lookup, sprinkle, tiles

Stain = Callable[[Anatomy, np.random.Generator], np.ndarray]


def dna(cell: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Chromatin: the total follows the DNA content, so a swollen nucleus is a dim one; nucleoli are dark."""
    tile, z = tiles(), cell.z
    level = np.where(cell.mitotic, 160, 105 * cell.dna * (6.5 / cell.nuclear_radius) ** 1.5)
    coarse = np.where(cell.mitotic, 0.5, np.clip(0.6 + 0.3 * z["chromatin_clumping"], 0.1, 1.6))
    texture = 1 + column(coarse) * (lookup(tile["chromatin"], cell.index) - f(0.5))
    texture += sprinkle(tile["puncta"], cell.index, 0.45 * np.maximum(cell.up["chromatin_clumping"] - 0.25, 0))
    nucleoli = np.where(cell.mitotic, 0, np.clip(0.4 + 0.2 * z["nucleoli"], 0, 0.8))
    dome = f(0.8) + f(0.2) * np.clip(cell.in_nucleus / f(4), 0, 1)
    dark = 1 - column(nucleoli) * lookup(tile["clumps"], cell.index)
    return _uptake(cell, rng, 0.08) * column(level) * cell.nucleus * dome * texture * dark


def actin(cell: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """A rim under the membrane and stress fibres along the cell; aggregates where it is disrupted."""
    tile, z = tiles(), cell.z
    rim = np.exp(-(((cell.edge - f(1.1)) / f(1.1)) ** 2)) * (f(0.1) + f(1.2) * lookup(tile["smooth"], cell.index))
    fibres = np.where(cell.mitotic, 0, 0.85 * np.exp(0.5 * np.minimum(z["actin_fibres"], 2.5)))
    body = (f(0.4) + lookup(tile["fibres"], cell.index) * column(fibres)) * (1 - f(0.4) * cell.nucleus)
    clumps = np.maximum(cell.up["actin_clumps"] - 0.25, 0)
    body += sprinkle(tile["clumps"], cell.index, 0.6 * clumps) + sprinkle(tile["puncta"], cell.index, clumps)
    body *= (f(0.35) * cell.inside + f(0.65) * cell.depth) * (1 - cell.vacuole)
    rim *= cell.inside * column(np.exp(0.35 * z["actin_rim"]))
    return 105 * _uptake(cell, rng) * cell.brightness * (rim + body)


def tubulin(cell: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Microtubules: they radiate from the centrosome; stabilisers bundle them, destabilisers leave haze; spindles."""
    tile, up, n = tiles(), cell.up, len(cell.mitotic)
    u, v = cell.u - cell.centrosome[0], cell.v - cell.centrosome[1]
    r = np.sqrt(u * u + v * v)
    # the "diamond angle" runs from -2 to 2 as the angle does from -π to π, at a fifth of the cost of arctan2
    angle = np.copysign(1 - u / (np.abs(u) + np.abs(v) + f(1e-3)), v) * f(SIDE / 4)
    swirl = angle + column(rng.choice([-1.2, 1.2], n)) * r
    start = rng.integers(0, SIDE, (2, n, 1, 1), dtype=np.int32)
    columns, rows = ((part.astype(np.int32) + s) & (SIDE - 1) for part, s in zip((swirl, 3 * r), start, strict=True))
    radial = lookup(tile["radial"], (rows * SIDE + columns).astype(np.intp))
    spread = np.minimum(r / f(9), 1)  # too dense to be told apart near the centrosome
    web = f(0.54) - f(0.4) * spread + f(1.1) * spread * radial + f(0.6) * lookup(tile["mesh"], cell.index)
    bundled = np.clip(0.55 * (up["tubulin_bundling"] - 0.2), 0, 1)
    lost = np.clip(0.5 * (up["tubulin_loss"] - 0.2), 0, 1)
    b, gone = column(bundled), column(lost)
    web = (1 - b) * web + f(0.12) * b + sprinkle(tile["bundles"], cell.index, 2.4 * bundled)
    web = (1 - gone) * web + f(0.42) * gone + sprinkle(tile["puncta"], cell.index, 0.5 * lost)
    network = cell.cytoplasm * web * (f(0.3) + f(0.7) * cell.around)
    m = np.flatnonzero(cell.mitotic)
    if len(m):
        pole = column(np.where(up["spindle_collapse"][m] > 0.5, 0, 2.75))
        across = (v[m] / f(2.8)) ** 2
        halves = [np.exp(-(((u[m] + side * pole) / f(3.2)) ** 2 + across)) for side in (-1, 1)]
        network[m] = f(0.25) * cell.cytoplasm[m] + (1 - gone[m]) * f(0.8) * np.minimum(halves[0] + halves[1], f(1.2))
    return 140 * _uptake(cell, rng) * cell.brightness * network * (1 - cell.vacuole)


def er(cell: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Endoplasmic reticulum: a fine net, densest at the nucleus."""
    net = lookup(tiles()["reticulum"], cell.index) * (f(0.25) + f(0.75) * cell.around)
    return 150 * _uptake(cell, rng) * cell.brightness * cell.cytoplasm * net * (1 - cell.vacuole)


def mitochondria(cell: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Short bright threads around the nucleus."""
    threads = lookup(tiles()["threads"], cell.index) * (f(0.1) + cell.around)
    return 220 * _uptake(cell, rng) * cell.brightness * cell.cytoplasm * (threads + f(0.05))


def golgi(cell: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """A ribbon at the centrosome; scattered in division."""
    u, v = cell.u - cell.centrosome[0], cell.v - cell.centrosome[1]
    near = np.exp(-(u * u + v * v) / column(np.where(cell.mitotic, 60.0, 24.0)))
    ribbon = f(0.25) + lookup(tiles()["mesh"], cell.index)
    return _uptake(cell, rng) * cell.depth * (150 * near * ribbon + 10)


def rna(cell: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Nucleoli, and ribosomes all over the cytoplasm."""
    turn, r = column(rng.uniform(0, 2 * np.pi, len(cell.mitotic))), 0.45 * column(cell.nuclear_radius)
    cores = np.zeros_like(cell.u)
    for angle, width in ((0.0, 1.7), (2.3, 1.3), (4.0, 1.0)):
        u, v = cell.u - r * np.cos(turn + f(angle)), cell.v - r * np.sin(turn + f(angle))
        cores += np.exp((u * u + v * v) / f(-2 * width**2))
    level = column(np.where(cell.mitotic, 0, np.clip(1 + 0.35 * cell.z["nucleoli"], 0.1, 2.2)))
    body = 60 * cell.cytoplasm * (f(0.4) + f(0.6) * cell.around)
    return _uptake(cell, rng) * cell.brightness * (body + cell.nucleus * (30 + 85 * cores * level))


def lysosome(cell: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Round granules near the nucleus, swollen to vacuoles by lysosomotropic drugs."""
    spots = lookup(tiles()["puncta"], cell.index) * column(np.clip(1 + 0.3 * cell.z["granularity"], 0.2, 2))
    spots += f(1.4) * cell.vacuole
    return _uptake(cell, rng) * cell.cytoplasm * (10 + 110 * spots * (f(0.2) + cell.around))


def _uptake(cell: Anatomy, rng: np.random.Generator, spread: float = 0.14) -> np.ndarray:
    """How much stain each cell took up, about 1; (n, 1, 1)."""
    return column(np.exp(rng.normal(0, spread, len(cell.mitotic))))


STAINS: dict[str, Stain] = {
    "DNA": dna, "actin": actin, "tubulin": tubulin, "ER": er, "mitochondria": mitochondria, "golgi": golgi, "RNA": rna,
    "lysosome": lysosome,
}  # fmt: skip
