"""Periodic texture tiles the simulated cells are painted with: made once by filtering white noise in Fourier space.

Every tile is SIDE × SIDE float32 in [0, 1], sampled at DENSITY tile pixels per unit of length (see render.py), so that
one lookup with wrapped integer coordinates paints any cell at any rotation and any image size.
"""

from functools import cache

import numpy as np

SIDE = 256  # a power of two: coordinates wrap by a bit mask
DENSITY = 3.0


def lookup(tile: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Texture at flat indices made by `coordinates`."""
    return tile.reshape(-1).take(index, mode="clip")  # never out of range; "clip" spares numpy's checked copy


def sprinkle(tile: np.ndarray, index: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """`amount` (n,) times the texture, looked up only for the cells that have any."""
    out = np.zeros(index.shape, np.float32)
    some = np.flatnonzero(amount > 0)
    if len(some):
        out[some] = lookup(tile, index[some]) * amount[some].astype(np.float32)[:, None, None]
    return out


def coordinates(u: np.ndarray, v: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Flat tile index of points (u, v), in units, (n, h, w); `offset` (n, 2) in tile pixels."""
    columns = (u * np.float32(DENSITY) + offset[:, :1, None]).astype(np.int32) & (SIDE - 1)
    rows = (v * np.float32(DENSITY) + offset[:, 1:, None]).astype(np.int32) & (SIDE - 1)
    return (rows * SIDE + columns).astype(np.intp)


@cache
def tiles() -> dict[str, np.ndarray]:
    """All tiles by name."""
    rng = np.random.default_rng(7)
    smooth = _noise(rng, 4.0, 4.0)
    mesh = np.maximum(_ridge(_noise(rng, 2.6, 2.6), 0.16), _ridge(_noise(rng, 3.2, 3.2), 0.16))
    # polar tile: columns are the angle (one turn), rows the radius; filaments run out from the centre and wander
    radial = np.maximum(_ridge(_noise(rng, 4.3, 0.45 * SIDE / 9), 0.22), _ridge(_noise(rng, 5.5, 16.0), 0.18))
    return {
        "smooth": _unit(smooth),
        "chromatin": _unit(_noise(rng, 1.5, 1.5) + 0.6 * _noise(rng, 3.0, 3.0)),
        "mesh": mesh,
        "radial": radial,
        "fibres": _unit(np.maximum(_noise(rng, 14.0, 0.75), 0.0) ** 1.2 * _sigmoid(_noise(rng, 9.0, 5.0))),
        "bundles": _unit(_ridge(_noise(rng, 13.0, 2.6), 0.3) * _sigmoid(2 * _noise(rng, 10.0, 4.0))),
        "reticulum": 0.35 + 0.65 * _unit(_ridge(_noise(rng, 1.9, 1.9), 0.6)),
        "threads": _unit(np.maximum(_ridge(_noise(rng, 2.4, 2.4), 0.3) * _sigmoid(3 * _noise(rng, 2.0, 2.0)), 0)),
        "puncta": _spots(rng, 420, 0.75),
        "clumps": _spots(rng, 130, 1.25),
        "vacuoles": _spots(rng, 150, 1.5),
    }


def _noise(rng: np.random.Generator, width: float, height: float) -> np.ndarray:
    """Smooth periodic noise of mean 0, deviation 1 and correlation lengths width × height, in units."""
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    kernel = np.exp(-2 * (np.pi * DENSITY) ** 2 * ((0.4 * width * fx) ** 2 + (0.4 * height * fy) ** 2))
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) * kernel, s=(SIDE, SIDE))
    return ((field - field.mean()) / field.std()).astype(np.float32)


def _spots(rng: np.random.Generator, n: int, radius: float) -> np.ndarray:
    """Round blobs at random places, of about one size."""
    axis = np.arange(SIDE)
    centre = rng.uniform(0, SIDE, (n, 2))
    sigma = DENSITY * radius * rng.uniform(0.7, 1.25, n) / 1.5
    field = np.zeros((SIDE, SIDE), np.float32)
    for (x, y), s in zip(centre, sigma, strict=True):
        dx, dy = (np.abs((axis - c + SIDE / 2) % SIDE - SIDE / 2) for c in (x, y))
        field = np.maximum(field, np.exp(-(dx[None] ** 2 + dy[:, None] ** 2) / (2 * s**2)))
    return field.astype(np.float32)


def _ridge(noise: np.ndarray, width: float) -> np.ndarray:
    """Thin lines along the zero contour of a noise field."""
    return np.exp(-((noise / width) ** 2)).astype(np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _unit(x: np.ndarray) -> np.ndarray:
    low, high = np.percentile(x, [0.5, 99.5])
    return np.clip((x - low) / (high - low), 0, 1).astype(np.float32)
