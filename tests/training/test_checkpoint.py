"""A run that is stopped by a signal writes its checkpoint between two steps, and goes on from it exactly."""

import os
import signal
import time

from tests.processes import begin, execute
from tests.toy_screen import train_overrides, write_screen
from tests.training.test_runs import same, weights


def test_sigterm_stops_between_steps_with_a_checkpoint_and_resuming_is_exact(tmp_path):
    # three processes alike: with another number of threads the sums of a convolution round differently
    write_screen(tmp_path / "screen")
    length = ["images_total=1600", "fit.validate_every_images=1600", "fit.checkpoint_every_images=100000"]

    def command(*overrides: str) -> list[str]:
        return ["train", *train_overrides(tmp_path, *length, *overrides)]

    run = begin(command("name=broken"), tmp_path)
    metrics = tmp_path / "runs" / "broken" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not metrics.exists() and run.process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert run.process.pid is not None
    os.kill(run.process.pid, signal.SIGTERM)
    code, said = run.wait(), run.log.read_text()
    assert code == 130, said
    assert "resume=true" in said and "Traceback" not in said
    assert (tmp_path / "runs" / "broken" / "checkpoints" / "last.ckpt").exists()
    for overrides in (("name=broken", "resume=true"), ("name=unbroken",)):
        code, said = execute(command(*overrides), tmp_path)
        assert code == 0, said
    assert same(weights(tmp_path / "runs" / "broken"), weights(tmp_path / "runs" / "unbroken"))
