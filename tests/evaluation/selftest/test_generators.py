"""Generators are wrong in what they name, and in nothing else."""

from dataclasses import replace

import numpy as np

from virtassay.evaluation.selftest.generators import (
    DIALS,
    GENERATORS,
    blurred,
    effect_times,
    mislabelled,
    oracle,
    spread_times,
    wrong_batch,
)
from virtassay.evaluation.selftest.simulated import drug_of, population
from virtassay.simulator.plan import Treatment


def test_generators_at_the_end_of_a_dial_are_what_they_should_be(screen):
    well = screen.requests[0]
    untreated = population(replace(well, treatment=Treatment()), screen.images, 24, "generated").images
    assert np.array_equal(effect_times(screen, well, 0.0), untreated)
    assert np.array_equal(effect_times(screen, well, 1.0), wrong_batch(screen, well, 0.0))
    right = oracle(screen, well)
    assert np.array_equal(blurred(screen, well, 0.0), right)
    assert np.array_equal(mislabelled(screen, well, 0.0), right)
    assert np.array_equal(mislabelled(screen, well, 1.0), GENERATORS["label_shuffled"](screen, well))
    one = spread_times(screen, well, 0.0)
    assert (one == one[0]).all()
    cells = {image.tobytes() for image in screen.cells[well.batch, drug_of(well)].images}
    assert {image.tobytes() for image in spread_times(screen, well, 0.6)} < cells
    for levels in DIALS.values():
        assert all(level(screen, well).shape == right.shape for level in (levels[0], levels[-1]))


def test_only_the_memoriser_has_images_of_the_real_ones(screen):
    real = {image.tobytes() for image in screen.real.images()}
    training = screen.real.split("train")
    for name, generator in GENERATORS.items():
        made = {image.tobytes() for well in screen.requests for image in generator(screen, well)}
        assert made.isdisjoint(real) if name != "memoriser" else made <= {i.tobytes() for i in training.images()}


def test_generators_answer_the_fault_that_they_name(screen):
    sources = {
        image.tobytes(): (drug, rare)
        for (_, drug), cells in screen.cells.items()
        for image, rare in zip(cells.images, cells.rare.tolist(), strict=True)
    }
    moa = {drug_of(w): w.treatment.parts[0][0].moa for w in screen.requests}
    shown = {}
    for well in screen.requests:
        given = {
            name: [sources[image.tobytes()] for image in GENERATORS[name](screen, well)]
            for name in ("label_shuffled", "unconditional", "rare_dropped", "control_copy")
        }
        (other,) = {drug for drug, _ in given["label_shuffled"]}
        assert moa[other] != moa[drug_of(well)]
        shown[well.batch, drug_of(well)] = other
        assert len({drug for drug, _ in given["unconditional"]}) > 6
        assert {rare for _, rare in given["rare_dropped"]} == {False}
        assert {drug for drug, _ in given["control_copy"]} == {"DMSO"}
    for batch in {w.batch for w in screen.requests}:
        assert len({other for (b, _), other in shown.items() if b == batch}) == len(moa)  # none is shown twice
