"""One small screen, its trial and who was caught, for all tests of the self-test."""

from functools import partial

import pytest

from virtassay.evaluation.featurizers.features import Texture
from virtassay.evaluation.featurizers.untrained import UntrainedNetwork
from virtassay.evaluation.metrics import recognised, told_apart
from virtassay.evaluation.selftest.caught import who_catches_what
from virtassay.evaluation.selftest.generators import (
    GENERATORS,
    oracle,
)
from virtassay.evaluation.selftest.simulated import simulated_screen
from virtassay.evaluation.selftest.trial import METRICS, trial

ORACLES = {"oracle": oracle, "oracle 1": partial(oracle, draw=1), "oracle 2": partial(oracle, draw=2)}
FAULTY = [name for name in GENERATORS if name != "oracle"]
SLOW = (told_apart, recognised)  # classifiers; the verdict does not ask them
LOOKS = (Texture(), UntrainedNetwork(seeds=(0,), widths=(16, 32)))


def small_screen(folder, seed):
    return simulated_screen(folder, seed, drugs_each=3, cells_per_well=15, control_wells=12, size=24)


@pytest.fixture(scope="session")
def screen(tmp_path_factory):
    return small_screen(tmp_path_factory.mktemp("screen"), 0)


@pytest.fixture(scope="session")
def outcomes(screen, tmp_path_factory):
    quick = [metric for metric in METRICS if metric not in SLOW]
    return trial(screen, GENERATORS | ORACLES, LOOKS, tmp_path_factory.mktemp("trial"), metrics=quick)


@pytest.fixture(scope="session")
def caught(outcomes):
    table = who_catches_what(outcomes, list(ORACLES))
    return {(row["generator"], row["metric"]): row for row in table.iter_rows(named=True)}
