"""Texture tiles: in [0, 1], periodic, looked up where they are needed."""

import numpy as np

from virtassay.simulator.textures import DENSITY, SIDE, coordinates, lookup, sprinkle, tiles


def test_tiles_are_squares_of_values_from_0_to_1():
    for name, tile in tiles().items():
        assert tile.shape == (SIDE, SIDE) and tile.dtype == np.float32, name
        assert tile.min() >= 0 and tile.max() <= 1 and tile.std() > 0.02, name


def test_coordinates_wrap_and_are_looked_up_by_row_and_column():
    u, v = np.array([[[0.0, 1.0, SIDE / DENSITY + 1]]], np.float32), np.full((1, 1, 3), 2.0, np.float32)
    index = coordinates(u, v, np.array([[SIDE * 4.0, SIDE * 4.0]], np.float32))
    assert index.ravel().tolist() == [6 * SIDE, 6 * SIDE + 3, 6 * SIDE + 3]
    tile = tiles()["mesh"]
    assert lookup(tile, index).ravel().tolist() == [tile[6, 0], tile[6, 3], tile[6, 3]]


def test_cells_without_any_are_left_black():
    index = np.arange(8).reshape(2, 2, 2)
    painted = sprinkle(tiles()["puncta"], index, np.array([0.0, 2.0]))
    assert not painted[0].any() and np.array_equal(painted[1], 2 * lookup(tiles()["puncta"], index[1]))
