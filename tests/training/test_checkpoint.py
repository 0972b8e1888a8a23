"""A run that is stopped by a signal writes its checkpoint between two steps, and goes on from it exactly."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.toy_screen import train_overrides, write_screen
from tests.training.test_runs import REPO, same, weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("checkpoint")
    write_screen(place / "screen")
    return place


def test_sigterm_stops_between_steps_with_a_checkpoint_and_resuming_is_exact(folder, tmp_path):
    # three processes alike: with another number of threads the sums of a convolution round differently
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    length = ["images_total=4000", "fit.validate_every_images=4000", "fit.checkpoint_every_images=100000"]

    def start(log, *overrides: str) -> subprocess.Popen:
        command = [sys.executable, str(REPO / "train.py"), *train_overrides(folder, *length, *overrides)]
        return subprocess.Popen(command, cwd=tmp_path, stderr=log, env=environment)

    with (tmp_path / "log").open("w") as log:
        process = start(log, "name=broken")
        metrics = folder / "runs" / "broken" / "metrics.csv"
        deadline = time.monotonic() + 120
        while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
        said = (tmp_path / "log").read_text()
        assert code == 130, said
        assert "resume=true" in said and "Traceback" not in said
        assert (folder / "runs" / "broken" / "checkpoints" / "last.ckpt").exists()
        for overrides in (("name=broken", "resume=true"), ("name=unbroken",)):
            assert start(log, *overrides).wait(timeout=240) == 0, (tmp_path / "log").read_text()
    assert same(weights(folder / "runs" / "broken"), weights(folder / "runs" / "unbroken"))
