"""A screen from library to report: the same scores however the work is shared, killed or begun again."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from virtassay.evaluation.featurizers.features import PixelStatistics
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import ab2
from virtassay.screening.engines import Local
from virtassay.screening.recipe import Recipe, Scorer, Stage
from virtassay.screening.screen import screen
from virtassay.screening.shards import share
from virtassay.screening.wanted import Effect, Like, New, Rescued, Selective, Unsure

CHEAP, LAST = Stage(seeds=2, steps=2, keep=6), Stage(seeds=4, steps=3)


def recipe(run, **other):
    settings = {"wanted": Effect(), "featurizer": PixelStatistics(), "doses_um": (1.0, 3.0), "sampler": Sampler(ab2),
                "minibatch_size": 64, "device": "cpu"}  # fmt: skip
    return Recipe(run=str(run), **(settings | other))


def done(run, library, out, **other):
    settings: dict[str, Any] = {"stages": (CHEAP, LAST), "engine": Local(), "shard_size": 4, "threads": 1}
    settings |= {"recipe": recipe(run)} | other
    return screen(library=library, out=out, **settings)


def scores(out: Path) -> bytes:
    return (out / "hits.csv").read_bytes()


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


def test_truth_is_held_against_the_ranking_and_changes_nothing(run, library, tmp_path, left_alone):
    lines = [line.split(" ") for line in library.read_text().splitlines()]
    best = pl.read_parquet(left_alone / "hits.parquet")["name"][0]
    rows = "".join(f"{smiles},{name},{int(name == best)}\n" for smiles, name in lines)
    (tmp_path / "library.csv").write_text("smiles,name,works\n" + rows)
    assert done(run, tmp_path / "library.csv", tmp_path / "s", truth="works")
    hits = pl.read_parquet(tmp_path / "s" / "hits.parquet")
    assert hits.drop("truth").equals(pl.read_parquet(left_alone / "hits.parquet"))
    assert hits.filter(pl.col("truth") == 1)["rank"].to_list() == [1]
    told = json.loads((tmp_path / "s" / "report.json").read_text())
    assert told["enrichment"] == {
        "compounds": 14, "actives": 1, "yes_or_no": True, "roc_auc": 1.0, "ef1": 14.0, "ef5": 14.0
    }  # fmt: skip
    assert "Against what is known" in (tmp_path / "s" / "report.html").read_text()
    assert "Against what is known" not in (left_alone / "report.html").read_text()
    assert any("doses within a factor of 1:" in warning for warning in told["warnings"])  # the toy screen has one dose


def test_a_compound_scores_the_same_alone(run, left_alone):
    hits = pl.read_parquet(left_alone / "hits.parquet")
    scorer = Scorer.of(recipe(run), LAST, left_alone / "stages" / "2" / "bench.npz")
    one = hits.row(2, named=True)
    again = scorer(pl.DataFrame({"compound": [one["compound"]], "smiles": [one["smiles"]]}))
    assert again["score"][0] == pytest.approx(one["score"], abs=0.02)  # other minibatches: rounding of pixels


@pytest.mark.parametrize("engine", [Local(2)], ids=["two processes"])
def test_processes_change_nothing(run, library, tmp_path, left_alone, engine):
    assert done(run, library, tmp_path / "s", engine=engine)
    assert scores(tmp_path / "s") == scores(left_alone)


def test_shares_of_an_array_change_nothing(run, library, tmp_path, left_alone):
    out = tmp_path / "s"
    assert done(run, library, out, shard="1/2") is None
    assert done(run, library, out, shard="0/2") is None  # finishes the first stage, and its share of the second
    assert done(run, library, out, shard="1/2")
    assert scores(out) == scores(left_alone)
    assert [share(f"{k}/3", 7) for k in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    with pytest.raises(ValueError, match=r"shard='3/3': write k/n"):
        share("3/3", 7)


def _killed(run, library, out):
    done(run, library, out)


def test_a_killed_screen_goes_on_and_repeats_no_finished_shard(run, library, tmp_path, left_alone):
    out = tmp_path / "s"
    rng = np.random.default_rng(0)
    seen: dict[Path, int] = {}
    for _ in range(3):
        process = multiprocessing.get_context("spawn").Process(target=_killed, args=(run, library, out))
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
    done(run, library, out)
    assert scores(out) == scores(left_alone)


def test_another_screen_into_the_same_folder_is_refused(run, library, left_alone):
    with pytest.raises(ValueError, match=r"holds another screen \(doses_um: \[1.0, 3.0\] there, \[2.0\] here"):
        done(run, library, left_alone, recipe=recipe(run, doses_um=(2.0,)))


@pytest.mark.parametrize(
    "wanted",
    [Like(["ethanol"]), New(), Unsure(), Selective(Like("ethanol"), Like("taxol")), Rescued("taxol", 3.0)],
    ids=lambda w: type(w).__name__,
)
def test_every_goal_ranks(run, library, tmp_path, wanted):
    assert done(run, library, tmp_path, recipe=recipe(run, wanted=wanted), stages=(CHEAP, Stage(2, 2)))
    hits = pl.read_csv(tmp_path / "hits.csv")
    assert hits["score"].is_finite().all()
    told = json.loads((tmp_path / "report.json").read_text())["warnings"]
    assert any("measure some of both" in warning for warning in told) == isinstance(wanted, Unsure)


def test_likeness_finds_the_reference_itself(run, library, tmp_path):
    stages = (Stage(4, 3, keep=14), Stage(4, 3))
    assert done(run, library, tmp_path, recipe=recipe(run, wanted=Like("ethanol"), doses_um=(3.0,)), stages=stages)
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
        done(run, library, tmp_path / "s", **change)
    assert not (tmp_path / "s").exists()


def test_wrong_recipes_are_told(run, library, tmp_path):
    with pytest.raises(ValueError, match="give one dose in µM or more"):
        recipe(run, doses_um=())
    with pytest.raises(ValueError, match=r"batches=\['week9'\]: the model was trained on"):
        done(run, library, tmp_path / "a", recipe=recipe(run, batches=("week9",)))
    with pytest.raises(ValueError, match="says nothing of chance"):
        done(run, library, tmp_path / "b", recipe=recipe(run, batches=("week1",)), stages=(Stage(1, 2),))
    with pytest.raises(ValueError, match="'nonsense' is no perturbation that the model has seen"):
        done(run, library, tmp_path / "c", recipe=recipe(run, wanted=Like("nonsense")))


def test_the_command_runs_as_configured(run, library, tmp_path, repo):
    stages = "[{_target_: virtassay.screening.recipe.Stage, seeds: 2, steps: 2}]"
    command = [sys.executable, str(repo / "screen.py"), f"run={run}", f"library={library}", f"out={tmp_path / 'out'}"]
    more = [f"stages={stages}", "doses_um=[0.3,1,3,10]", "device=cpu", "plate=null"]
    done_ = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True)
    assert done_.returncode == 0, done_.stderr
    assert {"ec50_um", "q", "flags"} <= set(pl.read_csv(tmp_path / "out" / "hits.csv").columns)


def test_compounds_known_to_do_nothing_give_p_and_q(run, library, tmp_path):
    inactives = tmp_path / "inactives.csv"
    inactives.write_text("name,smiles\n" + "".join(f"i{n},{'C' * n}S\n" for n in range(1, 9)))
    stages = (Stage(seeds=2, steps=2, keep=6), Stage(seeds=4, steps=2))
    assert done(run, library, tmp_path / "s", stages=stages, inactives=inactives)
    hits = pl.read_csv(tmp_path / "s" / "hits.csv")
    assert (hits["p"] >= 1 / 9).all() and (hits["q"] >= hits["p"]).all()
    assert (hits["q"] >= 14 / 9 / 6 - 1e-9).all()  # of fourteen tried, six are left
    told = json.loads((tmp_path / "s" / "report.json").read_text())
    assert any("held against 8 compounds that do nothing" in warning for warning in told["warnings"])
