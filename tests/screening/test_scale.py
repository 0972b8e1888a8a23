"""Screens on several processes, machines and disks that fail: the same bytes, and nothing half written."""

import errno
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import fsspec
import numpy as np
import polars as pl
import pytest
import torch
from filelock import FileLock

from tests.screening.test_screen import CHEAP, done, scores
from virtassay.screening import engines, screen
from virtassay.screening.engines import Local, Ray, Worker
from virtassay.screening.images import AsDataset
from virtassay.screening.shards import Shards, whole

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
    done(run, library, out, engine=Ray(concurrency=2))


def _share(run, library, out, part):
    done(run, library, out, shard=part)


def test_shares_at_the_same_time_change_nothing(run, library, tmp_path, left_alone):
    out = tmp_path / "s"
    for _ in range(2):  # one array of jobs a stage
        jobs = [SPAWN.Process(target=_share, args=(run, library, out, f"{k}/2")) for k in range(2)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        assert [job.exitcode for job in jobs] == [0, 0]
    assert done(run, library, out)
    assert scores(out) == scores(left_alone)


def test_hits_in_pieces_are_the_same(run, library, tmp_path, monkeypatch, left_alone):
    monkeypatch.setattr(screen, "PIECE", 4)
    assert done(run, library, tmp_path / "s")
    assert scores(tmp_path / "s") == scores(left_alone)
    assert pl.read_parquet(tmp_path / "s" / "hits.parquet").equals(pl.read_parquet(left_alone / "hits.parquet"))
    assert json.loads((tmp_path / "s" / "report.json").read_text())["ranked"] == 6


def test_a_library_that_has_changed_is_told(run, library, tmp_path, left_alone):
    changed = tmp_path / library.name
    changed.write_text(library.read_text() + "CCCCCCCCCCCCO more\n")
    with pytest.raises(ValueError, match=r"holds another screen \(library_is: 'SHA-256 .* there, 'SHA-256 .* here"):
        done(run, changed, left_alone)
    changed.write_text(library.read_text())
    assert done(run, changed, left_alone, engine=Local(2))  # the same bytes elsewhere, and more processes: it goes on
    with pytest.raises(FileNotFoundError, match="there is no library"):
        done(run, tmp_path / "none.smi", left_alone)


def test_results_are_uploaded(run, library, left_alone):
    store = fsspec.filesystem("memory")
    try:
        assert done(run, library, left_alone, publish="memory://bucket/screen", images=AsDataset(top=1, cells=2))
        assert store.cat_file("/bucket/screen/hits.csv") == scores(left_alone)
        assert {"report.html", "manifest.json", "rejected.csv", "hits.parquet", "images"} <= {
            Path(name).name for name in store.ls("/bucket/screen", detail=False)
        }
        assert store.exists("/bucket/screen/images/dataset.json")
        with pytest.raises(OSError, match=r"could not be uploaded to nostore://x .*All of them are in "):
            done(run, library, left_alone, publish="nostore://x")
    finally:
        store.rm("/", recursive=True)


def test_a_full_disk_leaves_nothing_half_written(run, library, tmp_path, monkeypatch, left_alone):
    real = os.fsync

    def full(handle):
        if len(list((tmp_path / "s").glob("stages/1/0*.parquet"))) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"000002\.parquet failed: No space left on device\. Nothing half"):
        done(run, library, tmp_path / "s")
    monkeypatch.setattr(os, "fsync", real)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "s" / "stages" / "1").iterdir()}
    assert sorted(p.name for p in kept) == ["000000.parquet", "000001.parquet", "bench.npz", "compounds.npy"]
    assert done(run, library, tmp_path / "s")
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items())
    assert scores(tmp_path / "s") == scores(left_alone)


def test_what_killed_processes_left_is_tidied(tmp_path):
    place = Shards(tmp_path, 4)
    place.begin(np.arange(10))
    (tmp_path / ".000001.parquet.12345678.partial").write_bytes(b"half")
    assert place.missing() == [0, 1, 2]
    with whole(place.file(1)) as file:
        file.write(b"whole")
    assert place.missing() == [0, 2] and place.missing([1, 2]) == [2]
    place.tidy()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000001.parquet", "compounds.npy"]
    with pytest.raises(RuntimeError), whole(place.file(2)) as file:
        file.write(b"half")
        raise RuntimeError
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000001.parquet", "compounds.npy"]


def _hold(lock, held):
    with FileLock(lock):
        held.set()
        time.sleep(60)


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    held = SPAWN.Event()
    process = SPAWN.Process(target=_hold, args=(tmp_path / ".lock", held))
    process.start()
    assert held.wait(60)
    process.kill()
    process.join()
    with FileLock(tmp_path / ".lock", timeout=5):
        pass


def _two(run, library, out):
    done(run, library, out, engine=Local(2), stages=(CHEAP,), shard_size=1)


def test_the_processes_of_a_killed_screen_end_with_it(run, library, tmp_path):
    process = SPAWN.Process(target=_two, args=(run, library, tmp_path / "s"))
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
    monkeypatch.setattr(Worker, "of", classmethod(lambda cls, task: task))
    monkeypatch.setattr(engines, "_end_with_parent", lambda: None)
    begun = SPAWN.Value("i", 0)
    for _ in range(3):
        engines._begin("task", begun)  # pyright: ignore[reportArgumentType]
    assert taken == [0, 1, 0]
    engines._at_work.clear()


@pytest.mark.parametrize("make", [lambda: Local(0), lambda: Ray(concurrency=0), lambda: Ray(gpus_each=-1)])
def test_engines_without_workers_are_refused(make):
    with pytest.raises(ValueError, match=r"engine\..*give"):
        make()


def test_a_process_that_is_killed_from_outside_is_told(run, library, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "_go_on", _die)
    with pytest.raises(ChildProcessError, match=r"ended from outside.*engine\.processes=2.*the same command goes on"):
        done(run, library, tmp_path / "s", engine=Local(2))


def _die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number
