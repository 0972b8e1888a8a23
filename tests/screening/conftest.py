"""One small run, one small library, and a screen of it that was left alone, for all tests of screening."""

from pathlib import Path

import pytest

from tests.screening.toy import screened
from tests.toy_screen import write_screen
from tests.training.test_runs import train
from virtassay.screening import Plate


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_screen(folder / "screen")
    return train(folder, "optimizer.lr=3e-3", "images_total=400", "fit.validate_every_images=400")


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("library") / "library.smi"
    path.write_text("".join(f"{'C' * n}{end} {end}{n}\n" for n in range(1, 8) for end in ("O", "N")) + "nonsense x\n")
    return path


@pytest.fixture(scope="session")
def left_alone(run, library, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "screen"
    report = screened(run, library, out, plate=Plate(wells=96, controls=8, compounds=4, among=6))
    assert report == out / "report.html"
    return out
