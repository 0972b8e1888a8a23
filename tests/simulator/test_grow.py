"""Wells of cells: crops that are centred on nuclei, neighbours in them, and numbers that follow from the effect."""

import numpy as np
import pytest

from tests.simulator.wells import top, well
from virtassay.simulator.grow import grow
from virtassay.simulator.plan import Treatment


def test_a_well_of_an_inactive_compound_is_a_control_well():
    np.testing.assert_array_equal(grow(well(top("aspirin")), 12, 24, 3)[0], grow(well(Treatment()), 12, 24, 3)[0])


@pytest.mark.parametrize(("channels", "size"), [(1, 17), (2, 32), (3, 48), (8, 33), (3, 96)])
def test_any_number_of_channels_and_any_size(channels: int, size: int):
    images, truth = grow(well(Treatment(), channels=channels), 10, size, channels)
    assert images.shape == (len(truth["truth_dna"]), channels, size, size) and images.dtype == np.uint8
    assert len(images) >= 3
    centre = images[:, 0, size // 2 - 2 : size // 2 + 3, size // 2 - 2 : size // 2 + 3]
    assert centre.mean() > 1.5 * images[:, 0].mean(), "each crop is centred on a nucleus"
    assert all(images[:, c].std() > 3 for c in range(channels))
    assert (images == 255).mean() < 0.01, "the camera is not saturated"


def test_neighbours_reach_into_the_crops():
    images, truth = grow(well(Treatment()), 40, 48, 3)
    rim = np.ones((48, 48), bool)
    rim[1:-1, 1:-1] = False
    cut = (images[:, 0][:, rim] > 60).any(axis=1)  # a nucleus lies across the edge
    assert cut.mean() > 0.3 and truth["truth_neighbours"].mean() > 1


def test_poison_thins_the_cells_out():
    def counts(treatment: Treatment) -> tuple[float, float]:
        found = [grow(well(treatment, i), 40, 24, 1)[1] for i in range(8)]
        neighbours = np.concatenate([truth["truth_neighbours"] for truth in found])
        return float(np.mean([len(truth["truth_dna"]) for truth in found])), float(neighbours.mean())

    alive, crowded = counts(Treatment())
    left, lonely = counts(top("MG-132"))
    assert alive == pytest.approx(40, rel=0.25)
    assert left < 0.7 * alive and lonely < 0.8 * crowded


def test_dividing_cells_follow_the_effect():
    def dividing(treatment: Treatment) -> float:
        return float(np.mean([(grow(well(treatment, i), 40, 16, 1)[1]["truth_cycle"] == "M").mean() for i in range(6)]))

    assert 0.0 < dividing(Treatment()) < 0.1 < dividing(top("monastrol"))
