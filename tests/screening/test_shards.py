"""Shards on disks that fail and processes that are killed: nothing half written."""

import errno
import os

import numpy as np
import pytest

from tests.screening.toy import scores, screened
from virtassay.screening.shards import Shards, durable


def test_what_killed_processes_left_is_tidied(tmp_path):
    place = Shards(tmp_path, 4)
    place.begin(np.arange(10))
    (tmp_path / ".000001.parquet.12345678.partial").write_bytes(b"half")
    assert place.missing() == [0, 1, 2]
    with durable(place.file(1)) as file:
        file.write(b"whole")
    assert place.missing() == [0, 2] and place.missing([1, 2]) == [2]
    place.tidy()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000001.parquet", "compounds.npy"]
    with pytest.raises(RuntimeError), durable(place.file(2)) as file:
        file.write(b"half")
        raise RuntimeError
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000001.parquet", "compounds.npy"]


def test_a_full_disk_leaves_nothing_half_written(run, library, tmp_path, monkeypatch, left_alone):
    real = os.fsync

    def full(handle):
        if len(list((tmp_path / "s").glob("stages/1/0*.parquet"))) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"000002\.parquet failed: No space left on device\. Nothing half"):
        screened(run, library, tmp_path / "s")
    monkeypatch.setattr(os, "fsync", real)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "s" / "stages" / "1").iterdir()}
    assert sorted(p.name for p in kept) == ["000000.parquet", "000001.parquet", "compounds.npy", "reference.npz"]
    assert screened(run, library, tmp_path / "s")
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items())
    assert scores(tmp_path / "s") == scores(left_alone)
