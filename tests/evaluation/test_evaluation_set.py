"""Images by row number, and seeded draws that depend on names."""

from dataclasses import replace

import numpy as np

from virtassay.evaluation.evaluation_set import at_most, divide, generator_for, named


def test_images_of_all_kinds_come_in_the_order_of_their_rows(laid_out):
    own = replace(laid_out, made=[])
    added = own.add(np.full((1, *own.real.info.image_shape), 7, np.uint8))
    first = len(laid_out.real)
    images = own.images(np.array([added[0], first, 0]))
    assert (images[0] == 7).all()
    assert (images[1] == laid_out.generated.images(np.array([0]))[0]).all()
    assert (images[2] == laid_out.real.images(np.array([0]))[0]).all()


def test_a_draw_depends_on_names_and_keeps_the_order():
    rows = np.arange(100)
    drawn = [at_most(rows, 10, generator_for(0, name)) for name in ("a", "a", "b")]
    assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).any()
    assert (np.diff(drawn[0]) > 0).all() and at_most(rows, 100, generator_for(0)) is rows


def test_wells_are_divided_whole_where_there_are_enough():
    rows, wells = np.arange(12), np.repeat([3, 5, 9], 4)
    parts, by_well = divide(rows, wells, 3, generator_for(0))
    assert by_well and sorted(set(wells[part].tolist()).pop() for part in parts) == [3, 5, 9]
    halves, by_well = divide(rows, np.zeros(12, int), 2, generator_for(0))
    assert not by_well and sorted(np.concatenate(halves).tolist()) == rows.tolist()


def test_many_names_are_counted():
    assert named(["a", "b"]) == "a, b"
    assert named(list("abcdef"), 2) == "a, b, … 6 in all"
