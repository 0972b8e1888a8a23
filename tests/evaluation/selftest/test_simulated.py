"""The simulated screen is the same for the same seed."""

import numpy as np

from virtassay.evaluation.selftest.simulated import drug_of, simulated_screen


def test_the_same_seed_gives_the_same_cells(tmp_path):
    settings = {"drugs_each": 2, "cells_per_well": 2, "control_wells": 2, "size": 16, "times": 1}
    one, again, other = (simulated_screen(tmp_path / str(i), seed, **settings) for i, seed in enumerate((3, 3, 4)))
    key = one.requests[0].batch, drug_of(one.requests[0])
    assert np.array_equal(one.real.images(), again.real.images())
    assert np.array_equal(one.cells[key].images, again.cells[key].images)
    assert not np.array_equal(one.cells[key].images, other.cells[key].images)
