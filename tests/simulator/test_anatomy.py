"""Borders between cells, and their sizes."""

from dataclasses import replace

import numpy as np
import pytest

from tests.simulator.test_render import cells
from virtassay.simulator.anatomy import MITOSIS, REACH, bisectors, radius_of
from virtassay.simulator.pharmacology import AXES


def test_two_like_cells_share_the_border_half_way():
    borders = bisectors(cells((0, 0), (12, 16)))
    assert borders[0, 0].tolist() == pytest.approx([0.6, 0.8, 10]) and borders[1, 0].tolist() == pytest.approx(
        [-0.6, -0.8, 10]
    )
    assert (borders[:, 1:, 2] == 2 * REACH).all() and (bisectors(cells((0, 0)))[..., 2] == 2 * REACH).all()


def test_a_larger_cell_takes_more_of_the_way():
    some = cells((0, 0), (20, 0))
    some = replace(some, phenotype=np.outer([2.0, 0.0], [axis == "cell_area" for axis in AXES]))
    radius, borders = radius_of(some), bisectors(some)
    assert radius[0] > radius[1] == pytest.approx(14.3)
    assert borders[0, 0, 2] + borders[1, 0, 2] == pytest.approx(20)
    assert borders[0, 0, 2] / borders[1, 0, 2] == pytest.approx(radius[0] / radius[1])
    assert (radius_of(replace(some, stage=np.array([MITOSIS] * 2))) == 9.3).all()
