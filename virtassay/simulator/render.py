"""Simulated fluorescence microscopy: cells with a position and a phenotype → a field of view as a camera sees it.

Lengths are in *units*: one forty-eighth of a crop's edge, about 0.65 µm, whatever the number of pixels. Each cell is
painted in a window of its own (anatomy.py says what is where, stains.py how each channel shows it), the windows are
added up, and the field goes through the microscope: point spread, haze, uneven light, shot noise, read noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from virtassay.simulator.anatomy import REACH, SimulatedCells, bisectors, dissect
from virtassay.simulator.stains import STAINS

CHANNELS = tuple(STAINS)
MINIBATCH = 32  # cells painted at once: few enough for the processor's cache, enough for threads not to queue
HAZE = 0.12  # part of the light that comes from out of focus
HAZE_WIDTH = 12  # in units


@dataclass(frozen=True)
class Optics:
    """How one plate of one experimental batch was stained and imaged; per-channel arrays have one entry a channel."""

    gain: np.ndarray
    background: np.ndarray  # grey levels
    psf: np.ndarray  # standard deviation of the point spread, in units
    tilt: np.ndarray  # (2,) slope of the light over half the field, along x and y
    vignette: float  # how much the light falls towards the edges
    photons: float = 12.0  # for one grey level
    read_noise: float = 0.8  # grey levels


def render(
    cells: SimulatedCells, optics: Optics, channels: int, edge: float, unit: float, rng: np.random.Generator
) -> np.ndarray:
    """Image a square field of `edge` units as (channels, H, W) uint8, with `unit` pixels in a unit.

    grey = background + light · gain · ((1 − HAZE) PSF * cells + HAZE wide * cells) + noise, where the noise is normal
    with variance grey / photons + read_noise².
    """
    plane = _stack(cells, channels, edge, unit, rng)
    across = np.linspace(-1, 1, plane.shape[1], dtype=np.float32)
    u, v = across[None], across[:, None]
    light = 1 + optics.tilt[0] * u + optics.tilt[1] * v - optics.vignette * (u**2 + v**2)
    light = light.astype(np.float32)
    image, f, width = np.empty(plane.shape, np.uint8), np.float32, max(1, round(HAZE_WIDTH * unit))
    for c, field in enumerate(plane):
        seen = ndimage.gaussian_filter(field, np.hypot(optics.psf[c] * unit, 0.4), truncate=3.0) * f(1 - HAZE)
        seen += ndimage.uniform_filter(ndimage.uniform_filter(field, width), width) * f(HAZE)
        grey = seen * light * f(optics.gain[c]) + f(optics.background[c])
        noise = rng.standard_normal(grey.shape, np.float32)
        grey += noise * np.sqrt(np.maximum(grey, 0) * f(1 / optics.photons) + f(optics.read_noise**2))
        image[c] = np.clip(grey + f(0.5), 0, 255)
    return image


def _stack(cells: SimulatedCells, channels: int, edge: float, unit: float, rng: np.random.Generator) -> np.ndarray:
    """Fluorescence of the whole field: the windows of all cells added up."""
    pad = int(np.ceil(REACH * unit)) + 1
    side, inner = 2 * int(REACH * unit) + 1, round(edge * unit)
    field = np.zeros((channels, inner + 2 * pad, inner + 2 * pad), np.float32)
    stains, borders = list(STAINS.values())[:channels], bisectors(cells)
    left = np.floor(cells.x * unit).astype(int) + pad - side // 2
    top = np.floor(cells.y * unit).astype(int) + pad - side // 2
    for start in range(0, len(cells), MINIBATCH):
        some = slice(start, start + MINIBATCH)
        anatomy = dissect(cells[some], borders[some], side, unit, rng)
        windows = np.stack([stain(anatomy, rng) for stain in stains])
        for window, y, x in zip(windows.swapaxes(0, 1), top[some], left[some], strict=True):
            field[:, y : y + side, x : x + side] += window
    return field[:, pad:-pad, pad:-pad]
