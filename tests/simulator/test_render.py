"""The microscope: an empty field is its background and noise, and light scales what is seen."""

from dataclasses import replace

import numpy as np
import pytest

from virtassay.simulator.anatomy import SimulatedCells
from virtassay.simulator.pharmacology import AXES
from virtassay.simulator.render import Optics, render

OPTICS = Optics(gain=np.ones(2), background=np.array([10.0, 40.0]), psf=np.full(2, 0.8), tilt=np.zeros(2), vignette=0)


def cells(*places: tuple[float, float]) -> SimulatedCells:
    n = len(places)
    x, y = np.array(places, float).reshape(n, 2).T
    return SimulatedCells(x, y, np.zeros(n, int), np.ones(n), np.ones(n, int), np.zeros((n, len(AXES))))


def image(some: SimulatedCells, optics: Optics = OPTICS) -> np.ndarray:
    return render(some, optics, 2, 96.0, 1.0, np.random.default_rng(0)).astype(float)


def test_an_empty_field_is_the_background_with_the_stated_noise():
    empty = image(cells())
    assert empty.shape == (2, 96, 96)
    assert empty.mean((1, 2)) == pytest.approx([10, 40], abs=0.1)
    variance = np.array([10, 40]) / OPTICS.photons + OPTICS.read_noise**2 + 1 / 12  # and of rounding
    assert empty.var((1, 2)) == pytest.approx(variance, rel=0.05)


def test_the_gain_scales_the_cells_and_not_the_background():
    some, empty = cells((30, 30), (70, 60)), image(cells())
    dim = image(some, replace(OPTICS, gain=np.full(2, 0.4))) - empty
    half = image(some, replace(OPTICS, gain=np.full(2, 0.2))) - empty
    assert dim.mean() == pytest.approx(2 * half.mean(), rel=0.02) and half.mean() > 0.5


def test_a_cell_is_where_it_was_put():
    rows, columns = np.unravel_index(image(cells((30, 60)))[0].argmax(), (96, 96))
    assert abs(columns - 30) < 9 and abs(rows - 60) < 9
