"""Where things are in a simulated cell: outline, nuclei, cytoplasm, as signed distances (positive inside, in units).

The outline is r = R (1 + Σ a_k cos(kθ + φ_k)) in a stretched frame, cut off half-way to each neighbour as in a
confluent sheet; all cuts are joined by a soft minimum −s log Σ exp(−d_i / s), which rounds the corners.
"""

from dataclasses import dataclass, fields

import numpy as np

from virtassay.simulator.pharmacology import AXES
from virtassay.simulator.textures import SIDE, coordinates, sprinkle, tiles

STAGES = ("G1", "S", "G2", "M")
MITOSIS = STAGES.index("M")
REACH = 25.5  # half the edge of the window a cell is painted in, in units
NEIGHBOURS = 6  # cells that can cut one cell's outline
f = np.float32  # keeps the arithmetic in single precision


@dataclass(frozen=True)
class SimulatedCells:
    """The cells of a field: positions in units, and what they are; every array has n entries."""

    x: np.ndarray
    y: np.ndarray
    stage: np.ndarray  # row of STAGES
    dna: np.ndarray  # DNA content: 1 in G1 … 2 in G2 and M
    nuclei: np.ndarray  # 1 … 4
    phenotype: np.ndarray  # (n, len(AXES))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> "SimulatedCells":
        return SimulatedCells(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Anatomy:
    """n cells, each in its window: images (n, side, side) float32 in the cell's frame, and values (n,)."""

    z: dict[str, np.ndarray]  # phenotype by axis
    up: dict[str, np.ndarray]  # a smooth max(z, 0), 0 at z = 0
    mitotic: np.ndarray
    dna: np.ndarray
    u: np.ndarray  # coordinate along the long axis
    v: np.ndarray
    edge: np.ndarray  # distance inside the cell's outline
    inside: np.ndarray  # 1 in the cell
    depth: np.ndarray  # thickness of the cell: thin at the rim
    nucleus: np.ndarray  # 1 in the nuclei
    in_nucleus: np.ndarray  # distance inside the nuclei
    nuclear_radius: np.ndarray
    centrosome: np.ndarray  # (2, n, 1, 1)
    cytoplasm: np.ndarray  # thickness outside the nuclei
    around: np.ndarray  # 1 at the nucleus, falling with the distance to it
    vacuole: np.ndarray  # 1 in vacuoles
    index: np.ndarray  # texture coordinates

    @property
    def brightness(self) -> np.ndarray:
        """A rounded, dividing cell is thick, hence bright; (n, 1, 1)."""
        return column(np.where(self.mitotic, 1.2, 1.0))


def column(values: np.ndarray) -> np.ndarray:
    """One value a cell, as (n, 1, 1) float32."""
    return np.asarray(values, f)[:, None, None]


def radius_of(cells: SimulatedCells) -> np.ndarray:
    """Mean radius of each cell, about 14 units for an untouched one; dividing cells are small and round."""
    size = np.exp(0.14 * cells.phenotype[:, AXES.index("cell_area")]) * (1 + 0.1 * (cells.nuclei > 1))
    return np.where(cells.stage == MITOSIS, 9.3, np.clip(14.3 * cells.dna**0.2 * size, 8.5, 23.0))


def bisectors(cells: SimulatedCells) -> np.ndarray:
    """Borders with the nearest neighbours of each cell: unit direction and distance, (n, NEIGHBOURS, 3)."""
    n = len(cells)
    borders = np.zeros((n, NEIGHBOURS, 3), f)
    borders[:, :, 2] = 2 * REACH  # no neighbour near
    if n > 1:
        dx, dy = cells.x[None] - cells.x[:, None], cells.y[None] - cells.y[:, None]
        distance = np.hypot(dx, dy) + 1e9 * np.eye(n)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : min(NEIGHBOURS, n - 1)]
        k, rows, radius = nearest.shape[1], np.arange(n)[:, None], radius_of(cells)
        d = distance[rows, nearest]
        borders[:, :k, 0], borders[:, :k, 1] = dx[rows, nearest] / d, dy[rows, nearest] / d
        borders[:, :k, 2] = np.minimum(d * radius[:, None] / (radius[:, None] + radius[nearest]), 2 * REACH)
    return borders


def dissect(cells: SimulatedCells, borders: np.ndarray, side: int, unit: float, rng: np.random.Generator) -> Anatomy:
    """Lay out the cells in windows of `side` pixels centred, to the pixel, on their nuclei."""
    n, mitotic = len(cells), cells.stage == MITOSIS
    z = {axis: cells.phenotype[:, i].astype(f) for i, axis in enumerate(AXES)}
    up = {axis: np.logaddexp(0, 2 * value) / 2 - f(np.log(2) / 2) for axis, value in z.items()}
    pixel = np.arange(side, dtype=f)[None] - side // 2 + f(0.5)
    x = ((pixel - ((cells.x * unit) % 1)[:, None]) / unit).astype(f)[:, None, :]
    y = ((pixel - ((cells.y * unit) % 1)[:, None]) / unit).astype(f)[:, :, None]
    angle = rng.uniform(0, np.pi, n)
    cos, sin = column(np.cos(angle)), column(np.sin(angle))
    u, v = x * cos + y * sin, y * cos - x * sin
    edge = _outline(cells, borders, x, y, u, v, up, mitotic, rng)
    inside = np.clip(edge / f(2.2) + f(0.4), 0, 1)
    depth = inside * (1 - f(0.7) * np.exp(-np.maximum(edge, 0) / column(np.where(mitotic, 2.5, 4.5))))
    in_nucleus, nuclear_radius, centrosome = _nuclei(cells, u, v, z, up, mitotic, rng)
    nucleus = np.minimum(np.clip(in_nucleus + f(0.5), 0, 1), inside)
    decay = np.clip(6.5 * np.exp(-0.42 * z["perinuclear"]), 1.8, 16)
    index = coordinates(u, v, rng.uniform(0, SIDE, (n, 2)).astype(f) + f(4 * SIDE))
    holes = np.clip(0.5 * (up["granularity"] - 0.25), 0, 0.9)
    cytoplasm, around = depth * (1 - f(0.72) * nucleus), np.exp(np.minimum(in_nucleus, 0) / column(decay))
    vacuole = np.minimum(sprinkle(tiles()["vacuoles"], index, 1.4 * holes), f(0.92))
    return Anatomy(
        z, up, mitotic, cells.dna, u, v, edge, inside, depth, nucleus, in_nucleus, nuclear_radius, centrosome,
        cytoplasm, around, vacuole, index,
    )  # fmt: skip


def _outline(cells, borders, x, y, u, v, up, mitotic, rng) -> np.ndarray:
    """Distance inside the cell, (n, side, side)."""
    n = len(cells)
    stretch = column(np.exp(np.where(mitotic, 0.03, 0.10 + np.abs(rng.normal(0, 0.06, n)) + 0.17 * up["elongation"])))
    a, b = u / stretch, v * stretch
    r = np.sqrt(a * a + b * b) + f(1e-3)
    phase = (a + 1j * b) * (1 / r)
    wave = np.zeros_like(phase)
    spikes = np.maximum(up["protrusions"], 0)
    # Horner's rule for Σ a_k e^{i(kθ + φ_k)}
    for k, base in ((6, 0.025), (5, 0.035), (4, 0.045), (3, 0.07), (2, 0.08)):
        size = np.where(mitotic, 0.15, 1) * (base + (0.055 if k > 3 else 0.03) * spikes) * rng.uniform(0.5, 1.5, n)
        wave += (size * np.exp(1j * rng.uniform(0, 2 * np.pi, n))).astype(np.complex64)[:, None, None]
        wave *= phase
    free = column(radius_of(cells)) * (1 + (wave * phase).real) - r
    soft = f(1.1)
    beyond = np.sqrt(x * x + y * y) - f(REACH - 1.5)  # the window's rim
    # far outside, the sum is ruled by its largest term: 80 keeps float32 from overflowing there
    total = np.exp(np.minimum(free / -soft, 80)) + np.exp(np.minimum(beyond / soft, 80))
    for direction_x, direction_y, distance in borders.transpose(1, 2, 0):
        if (distance < 2 * REACH).any():
            total += np.exp((x * column(direction_x) + y * column(direction_y) - column(distance - f(0.3))) / soft)
    return -soft * np.log(total)


def _nuclei(cells, u, v, z, up, mitotic, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance inside the nuclei (n, side, side), radius of a single nucleus (n,), centrosomes (2, n, 1, 1).

    Dividing cells have a metaphase plate, two plates in anaphase, or, where the spindle has collapsed, a rosette.
    """
    n = len(cells)
    count = np.where(mitotic, 1, cells.nuclei)
    radius = np.clip(6.5 * cells.dna**0.3 * np.exp(0.14 * z["nucleus_size"]), 3.8, 11.5).astype(f)
    rough = (0.03 + 0.03 * mitotic + 0.075 * np.maximum(up["nucleus_irregularity"], 0)).astype(f)
    ring = mitotic & (np.clip(1.2 * up["spindle_collapse"], 0, 1) > rng.random(n))
    late = mitotic & ~ring & (rng.random(n) < 0.2)
    start = rng.uniform(0, 2 * np.pi, n)
    inside = np.full(u.shape, -2 * REACH, f)
    for lobe in range(4):
        rows = np.flatnonzero((count > lobe) | (late & (lobe == 1)))
        if len(rows) == 0:
            break
        many, m = count[rows], mitotic[rows]
        turn = start[rows] + 2 * np.pi * lobe / many + rng.normal(0, 0.25, len(rows))
        size = radius[rows] * np.array([1, 1, 0.76, 0.65, 0.58])[many] * rng.uniform(0.9, 1.04, len(rows))
        shift = np.where(many > 1, radius[rows] * 0.78, 0.8 * rng.random(len(rows)))
        aspect = np.exp(0.12 + rng.normal(0, 0.07, len(rows)) + 0.05 * up["elongation"][rows])
        angle = rng.normal(0, 0.5, len(rows))
        size, aspect = np.where(m, 3.7, size), np.where(m, np.where(ring[rows], 1.05, 1.6), aspect)
        shift = np.where(m, np.where(late[rows], 3.3 * (1 - 2 * lobe), 0), shift)
        turn, angle = np.where(m, 0, turn), np.where(m, np.pi / 2, angle)
        shape = [shift * np.cos(turn), shift * np.sin(turn), np.cos(angle), np.sin(angle), aspect, size]
        du, dv, cos, sin, aspect, size = np.stack(shape).astype(f)[:, :, None, None]
        a, b = u[rows] - du, v[rows] - dv
        a, b = (a * cos + b * sin) / aspect, (b * cos - a * sin) * aspect
        r = np.sqrt(a * a + b * b) + f(1e-3)
        phase = (a + 1j * b) * (1 / r)
        square = phase * phase
        bump = rough[rows] * np.exp(1j * rng.uniform(0, 2 * np.pi, (2, len(rows))))
        bump = bump.astype(np.complex64)[:, :, None, None]
        wave = ((bump[0] * phase + bump[1] * square) * square).real
        distance = size * (1 + wave) - r
        rosette = np.flatnonzero(ring[rows])
        distance[rosette] = f(1.4) - np.abs(r[rosette] - f(3.6) * (1 + wave[rosette]))
        inside[rows] = np.maximum(inside[rows], distance)
    near = np.where(mitotic, 0.0, radius * 0.9)
    return inside, radius, np.stack([near * np.cos(start + 2), near * np.sin(start + 2)]).astype(f)[:, :, None, None]
