"""Nuclei: counted, measured and told apart."""

import numpy as np
import pytest
from scipy import ndimage

from virtassay.data.prepare.fields.nuclei import dna_channel
from virtassay.evaluation.featurizers.cells import CellStatistics
from virtassay.simulator.grow import grow
from virtassay.simulator.plan import Treatment, plan_wells


def discs(*places, size=64, grey=200, floor=20):
    """One image of one channel with discs (y, x, radius) on a background, softened as by a lens."""
    y, x = np.mgrid[:size, :size]
    image = np.full((size, size), float(floor))
    for row, column, radius in places:
        image[np.hypot(y - row, x - column) < radius] = grey
    return ndimage.gaussian_filter(image, 0.7).round().astype(np.uint8)[None, None]


def test_nuclei_are_counted_measured_and_told_apart():
    places = [(16, 16, 8), (16, 30, 8), (45, 45, 9)]  # the first two touch
    count, mean, sd, covered = CellStatistics(diameter_px=17)(discs(*places))[0]
    areas = np.pi * np.array([64, 64, 81])
    assert count == 3
    assert mean == pytest.approx(areas.mean(), rel=0.06)
    assert sd == pytest.approx(areas.std(), rel=0.25)
    assert covered == pytest.approx(areas.sum() / 64**2, rel=0.06)


def test_a_nucleus_with_a_dark_nucleolus_is_one_and_whole():
    hollow, full = discs((32, 32, 12)), discs((32, 32, 12))
    hollow[0, 0, 30:35, 30:35] = 20
    assert CellStatistics()(hollow)[0, [0, 1]] == pytest.approx(CellStatistics()(full)[0, [0, 1]], rel=0.02)


def test_a_nucleus_that_the_edge_cuts_counts_half_and_has_no_area():
    inside, cut = (32, 32, 9), (0, 32, 9)
    assert CellStatistics()(discs(inside, cut))[0, [0, 2]] == pytest.approx([1.5, 0])
    only = CellStatistics()(discs(cut))[0]
    assert only[[0, 1, 2]] == pytest.approx([0.5, 0, 0]) and only[3] > 0
    whole = CellStatistics()(discs(inside))
    np.testing.assert_allclose(CellStatistics()(discs(inside, cut))[0, 1], whole[0, 1], rtol=0.02)


@pytest.mark.parametrize("kind", ["black", "white", "normal", "poisson", "exponential", "uniform"])
def test_an_image_without_nuclei_has_none(kind):
    rng = np.random.default_rng(0)
    shape = (50, 1, 64, 64)
    images = {
        "black": np.zeros(shape),
        "white": np.full(shape, 255),
        "normal": rng.normal(20, 3, shape),
        "poisson": rng.poisson(4, shape),
        "exponential": rng.exponential(10, shape),
        "uniform": rng.uniform(0, 255, shape),
    }[kind]
    assert (CellStatistics()(np.clip(images, 0, 255).astype(np.uint8)) == 0).all()


def test_images_of_a_minibatch_do_not_mix():
    images = np.concatenate([discs((32, 32, 9)), discs(), discs((2, 20, 9), (40, 40, 9)), discs((62, 20, 9))])
    together = CellStatistics()(images)
    alone = np.concatenate([CellStatistics()(images[i : i + 1]) for i in range(4)])
    np.testing.assert_array_equal(together, alone)
    assert together[:, 0] == pytest.approx([1, 0, 1.5, 0.5])


def test_nuclei_do_not_depend_on_brightness_and_only_the_dna_channel_counts():
    image = discs((16, 16, 8), (45, 45, 9), grey=90, floor=10)
    other = np.random.default_rng(0).integers(0, 255, image.shape).astype(np.uint8)
    own = CellStatistics()(image)
    np.testing.assert_allclose(CellStatistics()(2 * image + 20), own, atol=1e-9)
    np.testing.assert_allclose(CellStatistics(dna=1)(np.concatenate([other, image], 1)), own, atol=1e-9)
    np.testing.assert_allclose(CellStatistics()(257 * image.astype(np.uint16)), own, atol=1e-9)


def test_a_simulated_screens_nuclei_are_found():
    wells = list(plan_wells([Treatment()] * 5, 0, 1, 1, 1))
    grown = [grow(well, 16, 64, 1) for well in wells]
    images = np.concatenate([crops for crops, _ in grown])
    truth = np.concatenate([t["truth_neighbours"] + t["truth_nuclei"] for _, t in grown])
    out = CellStatistics(diameter_px=17)(images)
    assert out[:, 0].mean() == pytest.approx(truth.mean(), rel=0.2)
    assert np.corrcoef(out[:, 0], truth)[0, 1] > 0.4  # neighbours count by their centres, nuclei by what is seen
    assert out[:, 1].mean() == pytest.approx(np.pi * (6.5 * 64 / 48) ** 2, rel=0.3)  # radius of 6.5 units and more


def test_the_dna_channel_by_name():
    assert dna_channel(("actin", "tubulin", "DAPI")) == 2
    assert dna_channel(("Hoechst 33342", "GFP")) == 0
    for names in (("actin", "ER"), ("DNA", "dapi")):
        with pytest.raises(ValueError, match="name the one"):
            dna_channel(names)
