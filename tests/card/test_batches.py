"""The batch effect among control wells: planted, absent, and what centring on other wells leaves of it."""

import numpy as np
import polars as pl
import pytest

from virtassay.card.batches import batch_effects, control_wells, variance_explained

IMAGES = 6


def screen(plate_shift: float, batch_shift: float, wells: int = 16, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    """Two batches of two plates of control wells, and one treated well whose features are far away."""
    random = np.random.default_rng(seed)
    rows, features = [], []
    for batch in range(2):
        for plate in range(2):
            shift = batch_shift * (2 * batch - 1) + plate_shift * (2 * plate - 1)
            for well in range(wells):
                of_well = shift + random.normal(size=8)
                rows += [(f"b{batch}p{plate}", f"A{well + 1:02d}", f"b{batch}", True)] * IMAGES
                features.append(of_well + 0.1 * random.normal(size=(IMAGES, 8)))
    rows.append(("b0p0", "H12", "b0", False))
    features.append(np.full((1, 8), 1e6))
    index = pl.DataFrame(rows, ["plate", "well", "batch", "is_control"], orient="row")
    return index, np.concatenate(features)


def test_epsilon_squared_is_what_it_is_by_hand():
    label = np.array(["a", "a", "b", "b"], object)
    assert variance_explained(np.array([[0.0], [0.0], [2.0], [2.0]]), label) == 1
    assert variance_explained(np.array([[0.0], [2.0], [0.0], [2.0]]), label) == pytest.approx(1 - (4 / 2) / (4 / 3))
    both = np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]])  # the mean over features
    assert variance_explained(both, label) == pytest.approx((1 - 0.5) / 2)


def test_epsilon_squared_of_meaningless_labels_is_nought_on_average():
    random = np.random.default_rng(0)
    label = np.repeat(np.array(list("abcde"), object), 2)  # as few as there can be
    shares = [variance_explained(random.normal(size=(10, 20)), label) for _ in range(2000)]
    assert abs(np.mean(np.array(shares, float))) < 0.008


def test_it_is_not_asked_of_one_level_or_of_fewer_than_two_wells_a_level():
    x = np.random.default_rng(0).normal(size=(4, 2))
    assert variance_explained(x, np.array(["a"] * 4, object)) is None
    assert variance_explained(x, np.array(["a", "b", "b", "c"], object)) is None
    assert variance_explained(np.ones((4, 2)), np.array(["a", "a", "b", "b"], object)) is None


def test_controls_of_the_batch_take_a_shift_of_the_batch_off_but_not_one_of_the_plate():
    for plate_shift, batch_shift, survives in ((0.0, 3.0, False), (3.0, 0.0, True)):
        wells = control_wells(*screen(plate_shift, batch_shift))
        assert wells is not None
        by_plate, by_batch = batch_effects(wells)
        assert (by_plate.factor, by_plate.levels, by_batch.factor, by_batch.levels) == ("plate", 4, "batch", 2)
        assert by_plate.stored is not None and by_plate.less_batch is not None and by_plate.less_plate is not None
        assert by_plate.stored == pytest.approx(0.9, abs=0.03)  # 9 of 9 + 1 of variance
        assert (by_plate.less_batch > 0.8) == survives
        assert by_plate.less_plate < 0.25


def test_the_noise_of_a_mean_of_few_other_wells_is_left_between_plates():
    """Centring on w of them adds 1/w of the variance among wells between plates: at most 1/(w + 1) of the whole."""
    left: dict[int, float] = {}
    for w in (2, 8):
        found = [control_wells(*screen(0, 0, wells=2 * w, seed=seed)) for seed in range(30)]
        shares = [batch_effects(wells)[0].less_plate for wells in found if wells is not None]
        left[w] = float(np.mean(np.array(shares, float)))
    assert 0.02 < left[8] < 1 / 9 < left[2] < 1 / 3


def test_without_controls_or_where_nothing_varies_there_is_no_batch_effect():
    index, features = screen(0, 0)
    assert control_wells(index.with_columns(is_control=False), features) is None
    assert control_wells(index, np.ones_like(features)) is None


def test_a_plate_of_one_control_well_cannot_be_centred_on_others():
    index, features = screen(0, 0, wells=1)
    wells = control_wells(index, features)
    assert wells is not None and np.isnan(wells.centred("plate")).all()
    assert [effect.less_plate for effect in batch_effects(wells)] == [None, None]
