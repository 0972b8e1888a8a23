"""Simulated fluorescence microscopy: cells with a position and a phenotype → a field of view as a camera sees it.

Lengths are in *units*: one forty-eighth of a crop's edge, about 0.65 µm, whatever the number of pixels. A cell is a
signed distance field: a contour r = R (1 + Σ a_k cos(kθ + φ_k)), cut off half-way to each neighbour, as in a
confluent sheet. Its organelles are textures (textures.py) weighted by that distance and by the distance to the nucleus.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from virtassay.data.pharmacology import AXES
from virtassay.data.textures import SIDE, coordinates, lookup, tiles

CHANNELS = ("DNA", "actin", "tubulin", "ER", "mitochondria", "golgi", "RNA", "lysosome")
STAGES = ("G1", "S", "G2", "M")
REACH = 27.0  # half the edge of the window a cell is painted in, in units
NEIGHBOURS = 6  # cells that can cut one cell's outline
MINIBATCH = 16  # cells painted at once: their arrays fit the processor's cache


@dataclass(frozen=True)
class Cells:
    """The cells of one field: positions in units, and what they are; every array has n entries."""

    x: np.ndarray
    y: np.ndarray
    stage: np.ndarray  # row of STAGES
    dna: np.ndarray  # DNA content: 1 in G1 … 2 in G2 and M
    nuclei: np.ndarray  # 1 … 4
    phenotype: np.ndarray  # (n, len(AXES))

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Optics:
    """How one plate of one experimental batch was stained and imaged; per-channel arrays have one entry a channel."""

    gain: np.ndarray
    background: np.ndarray  # grey levels
    psf: np.ndarray  # standard deviation in units
    tilt: np.ndarray  # (2,) slope of the illumination over half the field, and
    vignette: float  # its fall towards the corners
    photons: float = 12.0  # per grey level
    read_noise: float = 0.8  # grey levels


def render(
    cells: Cells, optics: Optics, channels: int, height: float, width: float, unit: float, rng: np.random.Generator
) -> np.ndarray:
    """Image a field of `height` × `width` units as (channels, H, W) uint8, with `unit` pixels in a unit.

    grey = background + illumination · gain · (PSF * fluorescence), then shot noise and read noise.
    """
    pad = int(np.ceil(REACH * unit)) + 1
    shape = (channels, round(height * unit) + 2 * pad, round(width * unit) + 2 * pad)
    field = np.zeros(shape, np.float32)
    side = 2 * int(REACH * unit) + 1
    planes = _bisectors(cells)
    for start in range(0, len(cells), MINIBATCH):
        some = slice(start, start + MINIBATCH)
        corner_x = np.floor(cells.x[some] * unit).astype(int) + pad - side // 2
        corner_y = np.floor(cells.y[some] * unit).astype(int) + pad - side // 2
        painted = _paint(cells, some, planes, channels, side, unit, rng)
        for i, (top, left) in enumerate(zip(corner_y, corner_x, strict=True)):
            field[:, top : top + side, left : left + side] += painted[:, i]
    field = field[:, pad:-pad, pad:-pad]
    v = np.linspace(-1, 1, field.shape[1], dtype=np.float32)[:, None]
    u = np.linspace(-1, 1, field.shape[2], dtype=np.float32)[None]
    light = 1 + optics.tilt[0] * u + optics.tilt[1] * v - optics.vignette * (u**2 + v**2)
    image = np.empty(field.shape, np.uint8)
    for c, plane in enumerate(field):
        sharp = ndimage.gaussian_filter(plane, np.hypot(optics.psf[c] * unit, 0.4), truncate=3.0)
        grey = optics.background[c] + light * optics.gain[c] * (0.88 * sharp + 0.12 * _haze(plane, 5.0 * unit))
        noise = rng.standard_normal(grey.shape, np.float32)
        grey += noise * np.sqrt(np.maximum(grey, 0) / optics.photons + optics.read_noise**2)
        image[c] = np.clip(grey + 0.5, 0, 255)
    return image


def _haze(plane: np.ndarray, sigma: float) -> np.ndarray:
    """Light from out of focus: a wide blur, done on a coarse copy because it has no detail."""
    step = max(1, int(sigma / 2))
    h, w = plane.shape
    fill = ((0, -h % step), (0, -w % step))
    padded = np.pad(plane, fill, mode="edge")
    coarse = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step).mean((1, 3))
    coarse = ndimage.gaussian_filter(coarse, sigma / step, truncate=3.0)
    rows = np.clip((np.arange(h) + 0.5) / step - 0.5, 0, len(coarse) - 1)
    columns = np.clip((np.arange(w) + 0.5) / step - 0.5, 0, coarse.shape[1] - 1)
    low, fraction = _split(rows, len(coarse))
    rough = coarse[low] * (1 - fraction[:, None]) + coarse[np.minimum(low + 1, len(coarse) - 1)] * fraction[:, None]
    low, fraction = _split(columns, coarse.shape[1])
    return rough[:, low] * (1 - fraction) + rough[:, np.minimum(low + 1, coarse.shape[1] - 1)] * fraction


def _split(position: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    low = np.minimum(position.astype(int), n - 1)
    return low, (position - low).astype(np.float32)


def _radius(cells: Cells) -> np.ndarray:
    """Mean radius of each cell: 14 units for an untouched one in G1."""
    z = cells.phenotype
    radius = 13.2 * cells.dna**0.25 * np.exp(0.14 * z[:, AXES.index("cell_area")]) * (1 + 0.1 * (cells.nuclei > 1))
    return np.where(cells.stage == STAGES.index("M"), 9.3, np.clip(radius, 7.5, 23.0))


def _bisectors(cells: Cells) -> np.ndarray:
    """For the nearest neighbours of each cell: unit direction and distance of the border, (n, NEIGHBOURS, 3)."""
    n = len(cells)
    planes = np.zeros((n, NEIGHBOURS, 3), np.float32)
    planes[:, :, 2] = 1e3  # no neighbour
    if n > 1:
        dx, dy = cells.x[None] - cells.x[:, None], cells.y[None] - cells.y[:, None]
        distance = np.hypot(dx, dy) + 1e9 * np.eye(n)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :NEIGHBOURS]
        k = nearest.shape[1]
        rows, radius = np.arange(n)[:, None], _radius(cells)
        d = distance[rows, nearest]
        planes[:, :k, 0], planes[:, :k, 1] = dx[rows, nearest] / d, dy[rows, nearest] / d
        planes[:, :k, 2] = d * radius[:, None] / (radius[:, None] + radius[nearest])
    return planes


def _paint(
    cells: Cells, some: slice, planes: np.ndarray, channels: int, side: int, unit: float, rng: np.random.Generator
) -> np.ndarray:
    """Fluorescence of each cell in its own window, (channels, n, side, side), about 100 where bright."""
    f = np.float32
    z = {axis: cells.phenotype[some, i].astype(f) for i, axis in enumerate(AXES)}
    up = {axis: np.log1p(np.exp(2 * value)) / 2 - f(0.34) for axis, value in z.items()}  # smooth max(z, 0), 0 at 0
    n, mitotic = len(z["cell_area"]), cells.stage[some] == STAGES.index("M")
    ratio = cells.x[some], cells.y[some]
    sub_x, sub_y = ((c * unit - np.floor(c * unit)).astype(f) for c in ratio)
    grid = (np.arange(side, dtype=f) - side // 2)[None] + f(0.5)
    x = ((grid - sub_x[:, None]) / f(unit))[:, None, :]
    y = ((grid - sub_y[:, None]) / f(unit))[:, :, None]

    def column(values) -> np.ndarray:
        return np.asarray(values, f).reshape(n, 1, 1)

    def normal(scale: float) -> np.ndarray:
        return scale * rng.standard_normal(n)

    # --- the cell's frame: long axis along u
    psi = rng.uniform(0, np.pi, n)
    stretch = np.exp(np.where(mitotic, 0.03, 0.10 + np.abs(normal(0.06)) + 0.17 * up["elongation"]))
    cos, sin = column(np.cos(psi)), column(np.sin(psi))
    u, v = x * cos + y * sin, y * cos - x * sin
    su, sv = u / column(stretch), v * column(stretch)
    r = np.sqrt(su * su + sv * sv) + f(1e-3)
    phase = (su + 1j * sv) / r
    # --- its outline
    calm = np.where(mitotic, 0.15, 1.0)
    spikes = up["protrusions"]
    wave, power = 0, phase
    for k, base in ((2, 0.05), (3, 0.05), (4, 0.035), (5, 0.025), (6, 0.015)):
        power = power * phase
        amplitude = calm * (base + (0.055 if k > 3 else 0.03) * np.maximum(spikes, 0)) * rng.uniform(0.5, 1.5, n)
        turn = amplitude * np.exp(1j * rng.uniform(0, 2 * np.pi, n))
        wave = wave + column(turn.real) * power.real - column(turn.imag) * power.imag
    radius = _radius(cells)[some]
    edge = column(radius) * (1 + wave) - r
    # soft minimum over the outline, the borders with neighbours and the window's rim
    soft = f(1.1)
    total = np.exp(edge / -soft) + np.exp((np.sqrt(x * x + y * y) - f(REACH - 1.5)) / soft)
    for nx, ny, reach in planes[some].transpose(1, 2, 0):
        if (reach < 2 * REACH).any():
            gap = column(np.minimum(reach, 60) - 0.3) - x * column(nx) - y * column(ny)
            total += np.exp(gap / -soft)
    edge = -soft * np.log(total)
    inside = np.clip(edge / f(1.6) + f(0.5), 0, 1)
    # --- nuclei
    nucleus, sn, nuclear_radius, centre = _nuclei(cells, some, u, v, z, up, mitotic, rng)
    thick = inside * (f(0.3) + f(0.7) * (1 - np.exp(-np.maximum(edge, 0) / column(np.where(mitotic, 2.5, 4.5)))))
    far = np.maximum(-sn, 0)  # distance outside the nucleus
    around = np.exp(-far / column(np.clip(5.5 * np.exp(-0.42 * z["perinuclear"]), 1.8, 14)))
    cytoplasm = thick * (1 - f(0.55) * nucleus)
    bright = column(np.where(mitotic, 1.5, 1.0))
    # --- textures: one index for all tiles, and a polar one centred at the centrosome
    index = coordinates(u, v, rng.uniform(0, SIDE, (n, 2)).astype(f) + f(4 * SIDE))
    tile = tiles()
    holes = column(np.clip(0.75 * up["granularity"] / 2, 0, 0.9))
    vacuoles = 1 - holes * np.minimum(1.4 * lookup(tile["vacuoles"], index), 1)
    images = np.empty((channels, n, side, side), f)

    def stain(spread: float = 0.14) -> np.ndarray:
        return column(np.exp(normal(spread)))

    for c, name in enumerate(CHANNELS[:channels]):
        if name == "DNA":
            images[c] = stain(0.08) * _chromatin(cells, some, nucleus, sn, index, z, up, mitotic, nuclear_radius)
        elif name == "actin":
            rim = np.exp(-(((edge - f(1.2)) / f(1.3)) ** 2)) * (f(0.5) + lookup(tile["smooth"], index >> 1))
            fibres = lookup(tile["fibres"], index) * column(np.where(mitotic, 0, 0.85 * np.exp(0.5 * z["actin_fibres"])))
            clumps = lookup(tile["clumps"], index) * column(1.7 * np.maximum(up["actin_clumps"], 0))
            body = f(0.3) + np.minimum(fibres, 2.0) + clumps
            images[c] = stain() * bright * f(62) * (
                inside * rim * column(np.exp(0.35 * z["actin_rim"])) + (f(0.35) * inside + f(0.65) * thick) * body * vacuoles
            )
        elif name == "tubulin":
            images[c] = stain() * bright * f(88) * vacuoles * _tubulin(
                cytoplasm, around, index, u - centre[0], v - centre[1], sn, z, up, mitotic, rng
            )
        elif name == "ER":
            images[c] = stain() * bright * 85 * cytoplasm * vacuoles * lookup(tile["reticulum"], index) * (
                f(0.25) + f(0.75) * around
            )
        elif name == "mitochondria":
            images[c] = stain() * bright * 120 * cytoplasm * lookup(tile["threads"], index) * (f(0.1) + around)
        elif name == "golgi":
            spot = np.exp(-((u - centre[0]) ** 2 + (v - centre[1]) ** 2) / column(2 * 3.2**2 * (1 + 2 * mitotic)))
            images[c] = stain() * 150 * cytoplasm * spot * (f(0.25) + lookup(tile["mesh"], index)) + 8 * cytoplasm
        elif name == "RNA":
            core = _nucleoli(u, v, nuclear_radius, column(rng.uniform(0, 6.28, n))) * nucleus
            level = column(np.where(mitotic, 0, np.clip(1 + 0.35 * z["nucleoli"], 0.1, 2.2)))
            images[c] = stain() * bright * (48 * cytoplasm * (f(0.4) + f(0.6) * around) + 30 * nucleus + 85 * core * level)
        else:
            spots = lookup(tile["puncta"], index) + holes * 2 * lookup(tile["vacuoles"], index)
            images[c] = stain() * cytoplasm * (10 + 110 * np.clip(1 + 0.3 * z["granularity"], 0.2, 2)[:, None, None] * spots * (f(0.2) + around))
    return images


def _nuclei(cells, some, u, v, z, up, mitotic, rng):
    """Signed distance inside the nucleus or nuclei, its soft mask, the radius and the centrosome, in the cell's frame."""
    f = np.float32
    n = len(mitotic)
    count = np.where(mitotic, 1, cells.nuclei[some])
    radius = 6.5 * cells.dna[some] ** 0.3 * np.exp(0.14 * z["nucleus_size"])
    radius = np.clip(radius, 3.8, 11.5).astype(f)
    rough = (0.03 + 0.075 * np.maximum(up["nucleus_irregularity"], 0)).astype(f)
    ring = np.clip(1.2 * up["spindle_collapse"], 0, 1) > rng.random(n)  # chromosomes in a rosette: no bipolar spindle
    late = rng.random(n) < 0.2  # anaphase
    start = rng.uniform(0, 2 * np.pi, n)
    signed = np.full(u.shape, -1e3, f)
    for lobe in range(4):
        here = np.flatnonzero((count > lobe) | (mitotic & late & ~ring & (lobe == 1)))
        if len(here) == 0:
            break
        many, m = count[here], mitotic[here]
        turn = start[here] + 2 * np.pi * lobe / many + rng.normal(0, 0.25, len(here))
        size = radius[here] * np.array([1, 1, 0.76, 0.65, 0.58])[many] * rng.uniform(0.85 if lobe else 0.97, 1.03, len(here))
        shift = np.where(many > 1, radius[here] * 0.78, 0.8 * rng.random(len(here)))
        aspect = np.exp(0.12 + rng.normal(0, 0.07, len(here)) + 0.05 * up["elongation"][here])
        angle = rng.normal(0, 0.5, len(here))
        # a mitotic plate is a bar across the spindle, two bars in anaphase
        size, aspect = np.where(m, 3.7, size), np.where(m, np.where(ring[here], 1.05, 1.6), aspect)
        shift = np.where(m, np.where(late[here] & ~ring[here], 3.3 * (1 - 2 * lobe), 0), shift)
        turn, angle = np.where(m, 0, turn), np.where(m, np.pi / 2, angle)
        q = np.stack([shift * np.cos(turn), shift * np.sin(turn), np.cos(angle), np.sin(angle), aspect, size]).astype(f)
        dx, dy, cos, sin, aspect, size = q[:, :, None, None]
        a, b = u[here] - dx, v[here] - dy
        a, b = (a * cos + b * sin) / aspect, (b * cos - a * sin) * aspect
        r = np.sqrt(a * a + b * b) + f(1e-3)
        square = (a + 1j * b) / r
        square = square * square
        bumps = (rough[here] * np.exp(1j * rng.uniform(0, 2 * np.pi, (2, len(here))))).astype(np.complex64)[:, :, None, None]
        wave = (bumps[0] * square * ((a + 1j * b) / r)).real + (bumps[1] * square * square).real
        distance = size * (1 + wave) - r
        distance = np.where((m & ring[here])[:, None, None], f(1.5) - np.abs(r - f(4.0)), distance)
        signed[here] = np.maximum(signed[here], distance)
    nucleus = np.clip(signed / f(1.4) + f(0.5), 0, 1)
    near = np.where(mitotic, 0.0, radius * 0.9)
    centre = [(near * g(start + 2.0)).astype(f)[:, None, None] for g in (np.cos, np.sin)]
    return nucleus, signed, radius, centre


def _chromatin(cells, some, nucleus, signed, index, z, up, mitotic, radius):
    """DNA stain: total amount follows the DNA content, so a bigger nucleus is a dimmer one."""
    f = np.float32
    n = len(mitotic)
    level = np.where(mitotic, 190, 92 * cells.dna[some] * (6.5 / radius) ** 1.5).astype(f).reshape(n, 1, 1)
    coarse = np.clip(0.45 + 0.28 * z["chromatin_clumping"], 0.1, 1.5).astype(f).reshape(n, 1, 1)
    coarse = np.where(mitotic[:, None, None], f(0.2), coarse)
    texture = 1 + coarse * (lookup(tiles()["chromatin"], index) - f(0.5))
    bright_spots = np.maximum(up["chromatin_clumping"], 0).astype(f).reshape(n, 1, 1) * lookup(tiles()["puncta"], index)
    holes = np.where(mitotic, 0, np.clip(0.4 + 0.2 * z["nucleoli"], 0, 0.8)).astype(f).reshape(n, 1, 1)
    dome = f(0.72) + f(0.28) * np.clip(signed / f(4.0), 0, 1)
    return level * nucleus * dome * (texture + f(0.45) * bright_spots) * (1 - holes * lookup(tiles()["clumps"], index))


def _nucleoli(u, v, radius, angle):
    """Two or three round bodies inside the nucleus."""
    r = np.asarray(radius, np.float32).reshape(-1, 1, 1)
    spots = 0
    for turn, width in ((0.0, 1.7), (2.3, 1.3), (4.0, 1.0)):
        du, dv = u - 0.45 * r * np.cos(angle + turn), v - 0.45 * r * np.sin(angle + turn)
        spots = spots + np.exp(-(du * du + dv * dv) / np.float32(2 * width**2))
    return spots


def _tubulin(cytoplasm, around, index, u, v, signed, z, up, mitotic, rng):
    """Microtubules: radiating from the centrosome, bundled by stabilisers, gone to haze under destabilisers."""
    f = np.float32
    n = len(mitotic)
    tile = tiles()
    r = np.sqrt(u * u + v * v)
    turn = np.arctan2(v, u) * f(SIDE / 2 / np.pi) + f(1.2) * r * rng.choice([-1, 1], n).astype(f)[:, None, None]
    start = rng.integers(0, SIDE, (2, n, 1, 1), dtype=np.int32)
    polar = ((turn.astype(np.int32) + start[0]) & (SIDE - 1)) + SIDE * (((f(3) * r).astype(np.int32) + start[1]) & (SIDE - 1))
    spread = np.minimum(r / f(9), 1)
    filaments = (1 - spread) * f(0.55) + spread * lookup(tile["radial"], polar) * f(0.8) + f(0.45) * lookup(tile["mesh"], index)
    bundling = np.clip(0.5 * up["tubulin_bundling"], 0, 1).astype(f).reshape(n, 1, 1)
    loss = np.clip(0.45 * up["tubulin_loss"], 0, 1).astype(f).reshape(n, 1, 1)
    bundled = f(0.12) + f(2.4) * lookup(tile["bundles"], index)
    haze = f(0.42) + f(0.5) * lookup(tile["puncta"], index)
    web = (1 - bundling) * filaments + bundling * bundled
    web = (1 - loss) * web + loss * haze
    network = cytoplasm * web * (f(0.3) + f(0.7) * around)
    if mitotic.any():
        poles = np.where(np.clip(up["spindle_collapse"], 0, 1) > 0.5, 0.0, 5.5).astype(f).reshape(n, 1, 1)
        spindle = sum(np.exp(-(((u - side * poles / 2) / 3.2) ** 2 + (v / f(2.8)) ** 2)) for side in (-1, 1))
        m = mitotic[:, None, None]
        network = np.where(m, cytoplasm * f(0.25) + (1 - loss) * f(1.1) * np.minimum(spindle, 1.2), network)
    return network
