"""A screen from library to report: the same scores however the work is shared, killed or begun again."""

import json
import os
import signal
import time
from pathlib import Path

import fsspec
import numpy as np
import polars as pl
import pytest
from filelock import FileLock

from tests.processes import PROCESSES, execute
from tests.screening.toy import CHEAP, recipe, scores, screened
from virtassay.screening import (
    DatasetImages,
    Disagreement,
    Likeness,
    Local,
    Novelty,
    Rescue,
    Selectivity,
    Stage,
    pipeline,
)
from virtassay.screening.shards import share


def test_hits_are_ranked_and_nothing_is_lost(left_alone):
    hits = pl.read_parquet(left_alone / "hits.parquet")
    assert hits.height == 6 and hits["rank"].to_list() == [1, 2, 3, 4, 5, 6]
    assert hits["score"].is_sorted(descending=True) and (hits["lower"] < hits["score"]).all()
    first = pl.concat([pl.read_parquet(p) for p in sorted((left_alone / "stages" / "1").glob("*.parquet"))])
    assert first["compound"].to_list() == list(range(14))
    best = set(first.sort("score", descending=True)["compound"].head(6))
    assert set(hits["compound"]) == best
    assert hits.filter(pl.col("name") == "O2")["similarity"].to_list() in ([], [1.0])  # ethanol was seen
    assert pl.read_csv(left_alone / "rejected.csv")["name"].to_list() == ["x"]
    told = json.loads((left_alone / "report.json").read_text())
    assert any("has not been evaluated" in warning for warning in told["warnings"])
    page = (left_alone / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "http" not in page.replace("http://www.w3.org", "").replace(
        "http-equiv", ""
    )
    plate = pl.read_csv(left_alone / "plate.csv")
    assert plate["is_control"].sum() == 8 and plate["well"].n_unique() == plate.height == 12
    assert not (left_alone / "images").exists()


@pytest.mark.parametrize("engine", [Local(2)], ids=["two processes"])
def test_processes_change_nothing(run, library, tmp_path, left_alone, engine):
    assert screened(run, library, tmp_path / "s", engine=engine)
    assert scores(tmp_path / "s") == scores(left_alone)


def test_shares_of_an_array_change_nothing(run, library, tmp_path, left_alone):
    out = tmp_path / "s"
    assert screened(run, library, out, shard="1/2") is None
    assert screened(run, library, out, shard="0/2") is None  # finishes the first stage, and its share of the second
    assert screened(run, library, out, shard="1/2")
    assert scores(out) == scores(left_alone)
    assert [share(f"{k}/3", 7) for k in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    with pytest.raises(ValueError, match=r"shard='3/3': write k/n"):
        share("3/3", 7)


def _killed(run, library, out):
    screened(run, library, out)


def test_a_killed_screen_goes_on_and_repeats_no_finished_shard(run, library, tmp_path, left_alone):
    out = tmp_path / "s"
    rng = np.random.default_rng(0)
    seen: dict[Path, int] = {}
    for _ in range(3):
        process = PROCESSES.Process(target=_killed, args=(run, library, out))
        process.start()
        until = time.monotonic() + 60
        before = len(list(out.glob("stages/*/0*.parquet")))
        while process.is_alive() and time.monotonic() < until:
            if len(list(out.glob("stages/*/0*.parquet"))) > before:
                time.sleep(float(rng.uniform(0, 0.2)))
                break
            time.sleep(0.005)
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        for file, made in seen.items():
            assert file.stat().st_mtime_ns == made, "a finished shard was done again"
        seen = {file: file.stat().st_mtime_ns for file in out.glob("stages/*/0*.parquet")}
    assert seen
    screened(run, library, out)
    assert scores(out) == scores(left_alone)


def test_another_screen_into_the_same_folder_is_refused(run, library, left_alone):
    with pytest.raises(ValueError, match=r"holds another screen \(doses_um: \[1.0, 3.0\] there, \[2.0\] here"):
        screened(run, library, left_alone, recipe=recipe(run, doses_um=(2.0,)))


@pytest.mark.parametrize(
    "goal",
    [
        Likeness(["ethanol"]),
        Novelty(),
        Disagreement(),
        Selectivity(Likeness("ethanol"), Likeness("taxol")),
        Rescue("taxol", 3.0),
    ],
    ids=lambda goal: type(goal).__name__,
)
def test_every_goal_ranks(run, library, tmp_path, goal):
    assert screened(run, library, tmp_path, recipe=recipe(run, goal=goal), stages=(CHEAP, Stage(2, 2)))
    hits = pl.read_csv(tmp_path / "hits.csv")
    assert hits["score"].is_finite().all()
    told = json.loads((tmp_path / "report.json").read_text())["warnings"]
    assert any("measure some of both" in warning for warning in told) == isinstance(goal, Disagreement)


def test_likeness_finds_the_reference_itself(run, library, tmp_path):
    stages = (Stage(4, 3, keep=14), Stage(4, 3))
    assert screened(
        run, library, tmp_path, recipe=recipe(run, goal=Likeness("ethanol"), doses_um=(3.0,)), stages=stages
    )
    best = pl.read_csv(tmp_path / "hits.csv").row(0, named=True)
    assert best["name"] == "O2" and best["score"] > 0.9


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"stages": ()}, "give one or more"),
        ({"stages": (Stage(2, 2), Stage(2, 2))}, "for each but the last `keep`"),
        ({"shard_size": 0}, "numbers of 1 or more"),
    ],
)
def test_wrong_plans_are_told_before_anything_is_done(run, library, tmp_path, change, error):
    with pytest.raises(ValueError, match=error):
        screened(run, library, tmp_path / "s", **change)
    assert not (tmp_path / "s").exists()


def test_the_command_runs_as_configured(run, library, tmp_path):
    stages = "[{_target_: virtassay.screening.Stage, seeds: 2, steps: 2}]"
    command = ["screen", f"run={run}", f"library={library}", f"out={tmp_path / 'out'}"]
    more = [f"stages={stages}", "doses_um=[0.3,1,3,10]", "device=cpu", "plate=null"]
    code, log = execute([*command, *more], tmp_path)
    assert code == 0, log
    assert {"ec50_um", "q", "flags"} <= set(pl.read_csv(tmp_path / "out" / "hits.csv").columns)


def _share(run, library, out, part):
    screened(run, library, out, shard=part)


def test_hits_in_pieces_are_the_same(run, library, tmp_path, monkeypatch, left_alone):
    monkeypatch.setattr(pipeline, "PIECE", 4)
    assert screened(run, library, tmp_path / "s")
    assert scores(tmp_path / "s") == scores(left_alone)
    assert pl.read_parquet(tmp_path / "s" / "hits.parquet").equals(pl.read_parquet(left_alone / "hits.parquet"))
    assert json.loads((tmp_path / "s" / "report.json").read_text())["ranked"] == 6


def test_a_library_that_has_changed_is_told(run, library, tmp_path, left_alone):
    changed = tmp_path / library.name
    changed.write_text(library.read_text() + "CCCCCCCCCCCCO more\n")
    with pytest.raises(ValueError, match=r"holds another screen \(library_is: 'SHA-256 .* there, 'SHA-256 .* here"):
        screened(run, changed, left_alone)
    changed.write_text(library.read_text())
    assert screened(
        run, changed, left_alone, engine=Local(2)
    )  # the same bytes elsewhere, and more processes: it goes on
    with pytest.raises(FileNotFoundError, match="there is no library"):
        screened(run, tmp_path / "none.smi", left_alone)


def test_results_are_uploaded(run, library, left_alone):
    store = fsspec.filesystem("memory")
    try:
        assert screened(
            run, library, left_alone, publish="memory://bucket/screen", images=DatasetImages(top=1, cells=2)
        )
        assert store.cat_file("/bucket/screen/hits.csv") == scores(left_alone)
        assert {"report.html", "manifest.json", "rejected.csv", "hits.parquet", "images"} <= {
            Path(name).name for name in store.ls("/bucket/screen", detail=False)
        }
        assert store.exists("/bucket/screen/images/dataset.json")
        with pytest.raises(OSError, match=r"could not be uploaded to nostore://x .*All of them are in "):
            screened(run, library, left_alone, publish="nostore://x")
    finally:
        store.rm("/", recursive=True)


def test_shares_at_the_same_time_change_nothing(run, library, tmp_path, left_alone):
    out = tmp_path / "s"
    for _ in range(2):  # one array of jobs a stage
        jobs = [PROCESSES.Process(target=_share, args=(run, library, out, f"{k}/2")) for k in range(2)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        assert [job.exitcode for job in jobs] == [0, 0]
    assert screened(run, library, out)
    assert scores(out) == scores(left_alone)


def _hold(lock, held):
    with FileLock(lock):
        held.set()
        time.sleep(60)


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    held = PROCESSES.Event()
    process = PROCESSES.Process(target=_hold, args=(tmp_path / ".lock", held))
    process.start()
    assert held.wait(60)
    process.kill()
    process.join()
    with FileLock(tmp_path / ".lock", timeout=5):
        pass
