"""Engines: screens on several processes and machines give the same bytes, and end as they should."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.processes import PROCESSES
from tests.screening.toy import CHEAP, scores, screened
from virtassay.screening import engines
from virtassay.screening.engines import Local, Ray

SPAWN = multiprocessing.get_context("spawn")


@pytest.mark.slow
def test_ray_gives_the_same_bytes(run, library, tmp_path, left_alone):
    pytest.importorskip("ray", reason="ray is not installed: pip install virtassay[cluster]")
    process = SPAWN.Process(target=_with_ray, args=(run, library, tmp_path / "s"))  # it starts threads of its own
    process.start()
    process.join()
    assert process.exitcode == 0
    assert scores(tmp_path / "s") == scores(left_alone)


def _with_ray(run, library, out):
    screened(run, library, out, engine=Ray(concurrency=2))


def _two(run, library, out):
    screened(run, library, out, engine=Local(2), stages=(CHEAP,), shard_size=1)


def test_the_processes_of_a_killed_screen_end_with_it(run, library, tmp_path):
    process = PROCESSES.Process(target=_two, args=(run, library, tmp_path / "s"))
    process.start()
    until = time.monotonic() + 120
    while not list(tmp_path.glob("s/stages/1/0*.parquet")) and time.monotonic() < until:
        time.sleep(0.01)
    assert process.pid is not None
    children = _children(process.pid)
    assert len(children) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    until = time.monotonic() + 20
    while any(map(_runs, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(_runs, children))


def _children(pid) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_processes_take_the_gpus_in_turn(monkeypatch):
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(engines, "Worker", lambda task: task)
    monkeypatch.setattr(engines, "_end_with_parent", lambda: None)
    begun = SPAWN.Value("i", 0)
    for _ in range(3):
        engines._begin("task", begun)  # pyright: ignore[reportArgumentType]
    assert taken == [0, 1, 0]
    engines._workers.clear()


@pytest.mark.parametrize("make", [lambda: Local(0), lambda: Ray(concurrency=0), lambda: Ray(gpus_each=-1)])
def test_engines_without_workers_are_refused(make):
    with pytest.raises(ValueError, match=r"engine\..*give"):
        make()


def test_a_process_that_is_killed_from_outside_is_told(run, library, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "_go_on", _die)
    with pytest.raises(ChildProcessError, match=r"ended from outside.*engine\.processes=2.*the same command goes on"):
        screened(run, library, tmp_path / "s", engine=Local(2))


def _die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number
