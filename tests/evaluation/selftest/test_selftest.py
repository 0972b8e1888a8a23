"""The metrics on trial: generators with a known fault, on a small simulated screen."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra.utils import get_method
from omegaconf import OmegaConf

import virtassay.evaluation as evaluation
from virtassay.evaluation.featurizers.features import PixelStatistics, Texture
from virtassay.evaluation.featurizers.untrained import UntrainedNetwork
from virtassay.evaluation.metrics import moved, recognised, told_apart
from virtassay.evaluation.selftest.caught import GLOSSARY, follows_the_truth, who_catches_what
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
from virtassay.evaluation.selftest.last_run import last_run
from virtassay.evaluation.selftest.simulated import drug_of, population, simulated_screen
from virtassay.evaluation.selftest.trial import METRICS, Outcome, trial
from virtassay.simulator.plan import Treatment

ORACLES = {"oracle": oracle, "oracle 1": partial(oracle, draw=1), "oracle 2": partial(oracle, draw=2)}
FAULTY = [name for name in GENERATORS if name != "oracle"]
SLOW = (told_apart, recognised)  # classifiers; the verdict does not ask them
LOOKS = (PixelStatistics(), Texture(), UntrainedNetwork(seeds=(0,), widths=(16, 32)))


def small_screen(folder, seed):
    return simulated_screen(folder, seed, drugs_each=3, cells_per_well=15, control_wells=12, size=24)


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    return small_screen(tmp_path_factory.mktemp("screen"), 0)


@pytest.fixture(scope="module")
def outcomes(screen, tmp_path_factory):
    asked = [metric for metric in METRICS if metric not in SLOW]
    return trial(screen, GENERATORS | ORACLES, LOOKS, tmp_path_factory.mktemp("trial"), metrics=asked)


@pytest.fixture(scope="module")
def caught(outcomes):
    table = who_catches_what(outcomes, list(ORACLES))
    return {(row["generator"], row["metric"]): row for row in table.iter_rows(named=True)}


@pytest.mark.parametrize("name", ORACLES)
def test_the_oracle_passes_without_a_reservation(outcomes, name):
    verdict = outcomes[name].verdict
    assert (verdict["grade"], verdict["reservations"], verdict["unchecked"]) == ("PASS", [], [])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_other_oracles_pass_on_other_screens(tmp_path, seed):
    asked = [metric for metric in METRICS if metric not in SLOW]
    found = trial(small_screen(tmp_path, seed), ORACLES, LOOKS, tmp_path, metrics=asked)
    assert [outcome.verdict["grade"] for outcome in found.values()] == ["PASS"] * 3


@pytest.mark.parametrize("name", FAULTY)
def test_the_verdict_catches_every_other_generator(outcomes, caught, name):
    assert outcomes[name].verdict["grade"] != "PASS"
    assert any(row["verdict"] and row["caught"] for (generator, _), row in caught.items() if generator == name)


THEORY = (
    ("effect_explained", "control_copy", True),
    ("effect_explained", "unconditional", True),
    ("effect_explained", "mean_effect", True),
    ("effect_explained", "label_shuffled", True),
    ("effect_slope", "effect_halved", True),
    ("effect_slope", "effect_doubled", True),
    ("pds", "label_shuffled", True),
    ("pds", "mean_effect", True),
    ("pds_within_moa", "moa_mean", True),
    ("variance_ratio", "no_spread", True),
    ("variance_ratio", "spread_0.6", True),
    ("memorisation", "memoriser", True),
    ("batch_leak", "wrong_batch", True),
)
BLIND = (
    ("fd", "label_shuffled"),  # the pool is the same
    ("kd", "label_shuffled"),
    ("coverage", "label_shuffled"),
    ("memorisation", "label_shuffled"),
    ("fd", "memoriser"),  # copies of real images look real
    ("kd", "memoriser"),
    ("precision", "memoriser"),
    ("kd", "unconditional"),  # all cells are there, under wrong names
    ("nsc", "moa_mean"),  # knowing the mechanism is all that it asks
    ("pds", "memoriser"),
    ("variance_ratio", "moa_mean"),
    ("effect_slope", "spread_0.6"),
)


@pytest.mark.parametrize(("metric", "name", "in_verdict"), THEORY)
def test_a_fault_is_caught_by_the_metric_that_is_made_for_it(caught, metric, name, in_verdict):
    row = caught[name, metric]
    assert row["caught"]
    assert row["verdict"] == in_verdict


@pytest.mark.parametrize(("metric", "name"), BLIND)
def test_a_fault_is_not_seen_by_a_metric_that_cannot_see_it(caught, metric, name):
    assert not caught[name, metric]["caught"]


def test_missing_rare_cells_are_seen_by_their_share(caught):
    assert caught["rare_dropped", "rare_fraction_error"]["caught"]


def test_all_metrics_of_the_full_evaluation_are_on_trial():
    conf = Path(evaluation.__file__).parents[2] / "conf" / "evaluation"
    asked = [metric for name in ("quick", "full") for metric in OmegaConf.load(conf / f"{name}.yaml").metrics.values()]
    there = {get_method(metric["_target_"]) for metric in asked if "_target_" in metric}
    paired = {moved}  # of images that began at a control each: no generator here has such
    assert there - paired == {getattr(metric, "func", metric) for metric in METRICS}


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


def test_the_same_seed_gives_the_same_cells(tmp_path):
    settings = {"drugs_each": 2, "cells_per_well": 2, "control_wells": 2, "size": 16, "times": 1}
    one, again, other = (simulated_screen(tmp_path / str(i), seed, **settings) for i, seed in enumerate((3, 3, 4)))
    key = one.requests[0].batch, drug_of(one.requests[0])
    assert np.array_equal(one.real.images(), again.real.images())
    assert np.array_equal(one.cells[key].images, again.cells[key].images)
    assert not np.array_equal(one.cells[key].images, other.cells[key].images)


def outcome(*rows, passes=True, reservations=()):
    """An outcome by hand; rows: (metric, featurizer, value, lower, upper)."""
    verdict = {"passes": passes, "grade": "by hand", "reservations": [{"metric": metric} for metric in reservations]}
    return Outcome(
        [dict(zip(("metric", "featurizer", "value", "lower", "upper"), r, strict=True)) for r in rows], verdict
    )


@pytest.mark.parametrize(
    ("row", "seen"),
    [
        ((0.75, None, None), True),  # below 0.9 by more than 0.1
        ((0.85, None, None), False),
        ((1.5, None, None), False),  # better is no fault
        ((0.75, 0.6, 0.89), True),
        ((0.75, 0.6, 0.91), False),  # an oracle could have had it
        ((None, None, None), True),
    ],
)
def test_a_score_sees_a_fault_beyond_what_oracles_differ(row, seen):
    truth = {f"oracle {v}": outcome(("pds", "texture", v, None, None)) for v in (0.9, 1.0)}
    given = truth | {"model": outcome(("pds", "texture", *row), reservations=["pds"])}
    table = who_catches_what(given, list(truth)).to_dicts()
    assert [(r["generator"], r["caught"], r["seen_in"], r["asked_in"]) for r in table] == [("model", seen, seen, 1)]
    assert table[0]["verdict"]


def test_half_of_the_featurizers_must_see_it_and_those_that_measured_no_oracle_are_not_asked():
    right = outcome(("fd", "a", 1.0, None, None), ("fd", "b", 1.0, None, None), ("fd", "c", None, None, None))
    wrong = outcome(("fd", "a", 2.0, None, None), ("fd", "b", 1.0, None, None), passes=False)
    (row,) = who_catches_what({"oracle": right, "model": wrong}, ["oracle"]).to_dicts()
    assert (row["caught"], row["seen_in"], row["asked_in"], row["verdict"]) == (True, 1, 2, False)


def test_a_metric_follows_an_error_by_the_ranks_of_its_goodness():
    def levels(metric, values):
        return follows_the_truth([outcome((metric, "texture", value, None, None)) for value in values])[metric]

    assert levels("pds", [1.0, 0.9, 0.7, 0.6]) == pytest.approx(1)
    assert levels("fd", [1.0, 2.0, 3.0, 4.0]) == pytest.approx(1)
    assert levels("effect_slope", [1.0, 1.1, 0.7, 1.9]) == pytest.approx(1)  # nearest to 1 is best
    assert levels("pds", [0.6, 0.7, 0.9, 1.0]) == pytest.approx(-1)
    assert levels("pds", [0.5, 0.5, 0.5, 0.5]) == 0
    assert levels("pds", [0.9, 0.8, 0.7, None]) == pytest.approx(1)


def test_the_packaged_tables_are_of_these_generators_and_all_are_caught():
    run = last_run()
    caught, dials = run.caught, run.dials
    assert run.made.endswith("benchmarks/selftest.py write")
    assert set(caught["generator"]) == set(FAULTY)
    assert set(caught.filter("verdict")["generator"]) == set(FAULTY)
    assert set(dials["dial"]) == set(DIALS)
    assert dials["rho"].is_between(-1, 1).all()
    assert all(GLOSSARY[name].better for name in pl.concat([caught["metric"], dials["metric"]]).unique())
