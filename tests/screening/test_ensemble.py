"""Other models' say of the best: columns with known answers, and the same however the work is shared or killed."""

import json
from html import escape
from multiprocessing import get_context

import numpy as np
import polars as pl
import pytest

from tests.screening.toy import LAST, recipe, scores, screened
from tests.toy_screen import write_screen
from tests.training.test_runs import train
from virtassay.screening.engines import Ray, StagePlan
from virtassay.screening.ensemble import (
    FinalScores,
    Member,
    agreement,
    ensemble_recipes,
    mean_scores,
    rank_correlation,
)
from virtassay.screening.recipe import Stage, at_best_dose
from virtassay.screening.shards import Shards

STAGES = (Stage(seeds=2, steps=2, keep=8), Stage(seeds=4, steps=3, keep=5))


@pytest.fixture(scope="module")
def other(run) -> str:
    """A run of the same data from another seed."""
    return str(train(run.parents[1], "optimizer.lr=3e-3", "images_total=80", "name=other", "seed=1"))


@pytest.fixture(scope="module")
def agreed(run, other, library, tmp_path_factory):
    out = tmp_path_factory.mktemp("agreed") / "screen"
    assert screened(run, library, out, stages=STAGES, others=[other])
    return out


def of(*values, errors=None):
    """Scores of compounds 0, 1 …, at one dose, as Scorer gives them."""
    reach = 1.96 * np.array([0.1] * len(values) if errors is None else errors)[:, None]
    scores = np.array(values)[:, None]
    return at_best_dose(pl.Series(np.arange(len(values))), [1.0], scores, scores - reach, scores + reach)


def member(name, scores, null):
    return Member(f"runs/{name}", name * 12, scores, of(*null))


def test_columns_by_hand():
    null = [*np.linspace(0, 0.9, 8), 3.5]
    first = member("a", of(3.0, 2.0, 1.0, 0.5), null)
    alike = member("b", of(3.1, 2.0, 0.9, 0.6), np.linspace(-1, 0.5, 40))
    unlike = member("c", of(0.1, 2.1, 5.0, float("nan"), errors=[0.1, 0.1, 0.1, float("nan")]), np.zeros(2))
    annotation = agreement([first, alike, unlike])
    table = annotation.table
    assert table["rank_1"].to_list() == table["rank_2"].to_list() == [1, 2, 3, 4]
    assert table["rank_3"].to_list() == [3, 2, 1, None]
    assert table["score_1"].to_list() == [3.0, 2.0, 1.0, 0.5] and table["score_2"].to_list() == [3.1, 2.0, 0.9, 0.6]
    assert table["p_1"].to_list() == pytest.approx([0.2, 0.2, 0.2, 0.6])
    assert table["p_2"].to_list() == pytest.approx([1 / 41] * 4) and np.isnan(table["p_3"].to_numpy()).all()
    assert table["between_models"][0] == pytest.approx(np.std([3, 3.1, 0.1], ddof=1))
    assert table["flags"].to_list() == [
        "another model sees no clear effect; models differ by more than the interval",
        "",
        "models differ by more than the interval",
        "",
    ]
    assert "scored by 2 other models" in annotation.sentence and "ranked by the mean" in annotation.sentence
    assert "1.00 (runs/b, model bbbbbbbbbbbb), -1.00 (runs/c, model cccccccccccc)" in annotation.sentence
    assert len(annotation.warnings) == 1 and "do not agree" in annotation.warnings[0]
    assert agreement([first, alike]).warnings == []


def test_a_p_that_says_inactive_is_flagged():
    first = member("a", of(3.0, 0.4), np.zeros(40) + 0.5)
    high = member("b", of(3.0, 2.0), np.full(40, 2.5))
    assert agreement([first, high]).table["flags"].to_list()[0] == ""
    higher = member("b", of(3.0, 2.0), np.full(40, 3.5))
    assert agreement([first, higher]).table["flags"].to_list()[0] == "another model sees no clear effect"


def test_rank_correlation_of_few_or_equal_scores_is_no_number():
    x = np.array([1.0, 2, 3, np.nan])
    assert rank_correlation(x, np.array([1.0, 4, 9, 0])) == pytest.approx(1)
    assert np.isnan(rank_correlation(x, np.array([1.0, np.nan, 9, 0])))
    assert np.isnan(rank_correlation(x, np.ones(4)))


def test_together_they_have_the_mean_of_each_dose():
    tables = [
        at_best_dose(pl.Series([4]), [1.0, 10.0], np.array([a]), np.array([a]) - 1, np.array([a]) + 2)
        for a in ([3.0, 1.0], [0.0, 4.0])
    ]
    told = mean_scores([1.0, 10.0], tables).row(0, named=True)
    assert told["scores"] == [1.5, 2.5] and told["compound"] == 4
    assert (told["score"], told["dose_um"], told["lower"], told["upper"]) == (2.5, 10.0, 1.5, 4.5)
    assert mean_scores([1.0], [of(), of()]).columns == of().columns


def test_the_best_alone_are_scored_by_the_others(agreed, run, other, left_alone):
    hits = pl.read_parquet(agreed / "hits.parquet")
    assert hits.height == 8 and hits["rank_2"].null_count() == 3
    checked = hits.head(5)
    assert sorted(checked["rank_1"]) == sorted(checked["rank_2"]) == [1, 2, 3, 4, 5]
    assert (checked["between_models"] > 0).all()
    told = json.loads((agreed / "report.json").read_text())
    right = rank_correlation(checked["score_1"].to_numpy(), checked["score_2"].to_numpy())
    assert f"{right:.2f} ({other}, model " in told["sentences"][0]
    page = (agreed / "report.html").read_text()
    assert escape(told["sentences"][0]).replace("&#x27;", "&#39;") in page and "Each model" in page
    assert "Each model" not in (left_alone / "report.html").read_text()
    predictor = recipe(other).predictor(LAST)
    assert [p.name for p in (agreed / "others").iterdir()] == [predictor.assay.model_sha256[:12]]


def test_they_are_ranked_by_the_mean_of_all(agreed, run, other, library, tmp_path):
    stages = (*STAGES[:1], Stage(seeds=4, steps=3))
    assert screened(run, library, tmp_path, stages=stages)
    alone = pl.read_parquet(tmp_path / "hits.parquet")
    hits = pl.read_parquet(agreed / "hits.parquet")
    first, rest = hits.head(5), hits.tail(3)
    number = np.sort(first["compound"].to_numpy())
    kept = [_at(agreed / "stages" / "2", number), *(_at(one, number) for one in (agreed / "others").iterdir())]
    means = np.mean([one["scores"].to_list() for one in kept], 0)
    assert np.array(first.sort("compound")["scores"].to_list()) == pytest.approx(means)
    assert first.sort("compound")["score"].to_numpy() == pytest.approx(means.max(1))
    assert first["score"].is_sorted(descending=True)
    assert first["score"].to_list() != first["score_1"].to_list()
    assert rest["smiles"].to_list() == alone.tail(3)["smiles"].to_list()
    assert rest["score"].to_list() == alone.tail(3)["score"].to_list() and hits["rank"].to_list() == [*range(1, 9)]
    own = first.select("smiles", "score_1").join(alone, on="smiles")
    assert own["score_1"].to_list() == own["score"].to_list()


def test_the_null_of_all_is_of_all():
    low, high = of(*np.linspace(0, 0.9, 9)), of(*np.linspace(2, 2.9, 9))
    members = [Member("a", "a", of(1.0, 3.0), low), Member("b", "b", of(2.0, 0.0), high)]
    scores = FinalScores.of(_Shards(of(1.0, 3.0, 0.5)), [1.0], members)  # pyright: ignore[reportArgumentType]
    ranked = scores.ranked(tried=3)
    assert ranked["compound"].to_list() == [0, 1, 2] and ranked["score"].to_list() == [1.5, 1.5, 0.5]
    assert ranked["p"].to_numpy() == pytest.approx([0.5, 0.5, 0.5])  # means of both nulls reach from 1 to 1.9
    assert ranked["rank"].to_list() == [1, 2, 3]


def _at(folder, number):
    """What a pass has of some compounds."""
    return Shards(folder, 4).scores(["compound", "scores"], number)


class _Shards:
    def __init__(self, table):
        self.table = table

    def scores(self, columns, only=None):
        return self.table.select(columns)


def test_others_score_as_a_screen_of_theirs_would(agreed, run, other, library, tmp_path):
    stages = (Stage(seeds=4, steps=3),)
    assert screened(other, library, tmp_path, stages=stages)
    theirs = pl.read_parquet(tmp_path / "hits.parquet").select("compound", alone="score")
    hits = pl.read_parquet(agreed / "hits.parquet").head(5).join(theirs, on="compound")
    assert hits["score_2"].to_numpy() == pytest.approx(hits["alone"].to_numpy(), abs=0.02)  # other minibatches


def test_shares_change_nothing(run, other, library, tmp_path):
    plan = {"stages": STAGES, "others": [other], "shard_size": 2}
    whole = tmp_path / "whole"
    assert screened(run, library, whole, **plan)
    out = tmp_path / "s"
    for _ in range(2):
        assert screened(run, library, out, **plan, shard="1/2") is None
        screened(run, library, out, **plan, shard="0/2")
    assert screened(run, library, out, **plan, shard="1/2")
    assert scores(out) == scores(whole)
    kept = {p: p.stat().st_mtime_ns for p in out.glob("*/*/*.parquet")}
    assert screened(run, library, out, **plan)
    assert {p: p.stat().st_mtime_ns for p in out.glob("*/*/*.parquet")} == kept


@pytest.mark.slow
def test_ray_gives_the_same_bytes(agreed, run, other, library, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install virtassay[cluster]")
    process = get_context("spawn").Process(target=_with_ray, args=(run, library, tmp_path / "s", other))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert scores(tmp_path / "s") == scores(agreed)


def _with_ray(run, library, out, other):
    screened(run, library, out, stages=STAGES, others=[other], engine=Ray(concurrency=2))


def test_what_was_killed_among_the_others_goes_on(agreed, run, other, library, tmp_path, monkeypatch):
    finish = StagePlan.finish

    def killed(self):
        if self.name.startswith("the best by"):
            raise KeyboardInterrupt
        return finish(self)

    monkeypatch.setattr(StagePlan, "finish", killed)
    with pytest.raises(KeyboardInterrupt):
        screened(run, library, tmp_path, stages=STAGES, others=[other])
    monkeypatch.undo()
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.glob("stages/*/*")}
    assert kept and not (tmp_path / "hits.csv").exists()
    assert screened(run, library, tmp_path, stages=STAGES, others=[other])
    assert scores(tmp_path) == scores(agreed)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("stages/*/*")} == kept


def test_others_may_be_named_when_the_screen_is_done(agreed, run, other, library, tmp_path):
    assert screened(run, library, tmp_path, stages=STAGES)
    assert "score_2" not in pl.read_parquet(tmp_path / "hits.parquet").columns
    assert screened(run, library, tmp_path, stages=STAGES, others=[other])
    assert scores(tmp_path) == scores(agreed)


def test_wrong_others_are_told_before_anything_is_done(run, other, library, tmp_path):
    with pytest.raises(ValueError, match=r"holds the same weights as .*agree with themselves"):
        screened(run, library, tmp_path / "s", others=[str(run)])
    with pytest.raises(ValueError, match="holds the same weights"):
        ensemble_recipes(recipe(run), [other, other], LAST)
    with pytest.raises(ValueError, match=r"others=\[.*none\] cannot do .*: .* is no run folder: it does not exist"):
        screened(run, library, tmp_path / "s", others=[str(tmp_path / "none")])
    with pytest.raises(ValueError, match=r"numbers of 1 or more"):
        screened(run, library, tmp_path / "s", stages=(Stage(2, 2, keep=0),))
    write_screen(tmp_path / "screen", channels=["DNA"])
    with pytest.raises(ValueError, match=r"makes images \(\('DNA',\), \(1, 12, 12\)\), and .* name runs alike"):
        screened(run, library, tmp_path / "s", others=[str(train(tmp_path, "images_total=80"))])
    assert not (tmp_path / "s").exists()
