"""The metrics on trial: generators with a known fault, on a small simulated screen."""

from pathlib import Path

import pytest
from hydra.utils import get_method
from omegaconf import OmegaConf

import virtassay.evaluation as evaluation
from tests.evaluation.selftest.conftest import FAULTY, LOOKS, ORACLES, SLOW, small_screen
from virtassay.evaluation.metrics import moved
from virtassay.evaluation.selftest.trial import METRICS, Outcome, trial


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


def outcome(*rows, passes=True, reservations=()):
    """An outcome by hand; rows: (metric, featurizer, value, lower, upper)."""
    verdict = {"passes": passes, "grade": "by hand", "reservations": [{"metric": metric} for metric in reservations]}
    return Outcome(
        [dict(zip(("metric", "featurizer", "value", "lower", "upper"), r, strict=True)) for r in rows], verdict
    )
