"""Comparisons of folders whose order is known, and of folders that cannot be compared."""

import inspect
import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset, write_dataset
from virtassay.evaluation import baselines
from virtassay.evaluation.comparison.compare import compare, difference, names_of
from virtassay.evaluation.criteria import Criteria
from virtassay.evaluation.featurizers import features
from virtassay.evaluation.intervals import Score
from virtassay.evaluation.judge import assess, judge
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.pools import FD, distances
from virtassay.evaluation.metrics.treatments import PDS
from virtassay.evaluation.verdict import IncomparableScores

CRITERIA = Criteria(
    featurizers={"pixel_statistics": features.PixelStatistics(), "texture": features.Texture()},
    baselines={name: baselines.BASELINES[name] for name in ("control_copy", "mean_treated", "noise", "label_shuffled")},
    metrics={"distances": partial(distances, fd_intervals=True)},
    resamples=300, repeats=2, max_images=60, max_controls=30, max_training=30,
)  # fmt: skip
FEW = replace(CRITERIA, featurizers={"pixel_statistics": features.PixelStatistics()})
IMAGES = {
    "oracle": toy.draw,
    "half": partial(toy.draw, strength=0.5),
    "control": lambda p, *rest: toy.draw("DMSO", *rest),
}


def folder(place, name, plan=None, seed=1):
    return open_dataset(toy.write(place / name, plan or toy.generated_plan(12), seed, IMAGES.get(name, toy.draw)))


@pytest.fixture(scope="module")
def compared(real, tmp_path_factory):
    place = tmp_path_factory.mktemp("compared")
    folders = {name: folder(place, name) for name in IMAGES}
    page = compare(real, folders, place / "out", CRITERIA)
    return page, json.loads((place / "out" / "compare.json").read_text(encoding="utf-8")), folders


def pooled(rows, metric):
    keys = [r for r in rows if r["metric"] == metric and r["stratum"] == POOLED]
    return {(r["generator"], r["featurizer"]): r for r in keys}


def test_the_known_order_is_found_with_paired_intervals(compared):
    _, told, _ = compared
    better = {(d["metric"], d["first"], d["second"], d["featurizer"]): d["better"] for d in told["differences"]}
    assert len(better) == 3 * 3 * 2  # metrics, pairs, featurizers
    pairs = ("oracle", "half"), ("oracle", "control"), ("half", "control")
    for featurizer in CRITERIA.featurizers:
        assert [better["effect_explained", *pair, featurizer] for pair in pairs] == ["oracle", "oracle", "half"]
        # half an effect is in the right direction, so that it is recognised as well; a copied control is not
        assert [better["pds", *pair, featurizer] for pair in pairs] == [None, "oracle", "half"]
        # with six perturbations a distance of pools tells less
        assert better["fd", "oracle", "half", featurizer] == "oracle"
        assert better["fd", "half", "control", featurizer] != "control"
    for sentence in ("oracle is better than half.", "oracle is better than control.", "half is better than control."):
        assert f"Effect explained: {sentence}" in told["sentences"]


def test_a_paired_interval_is_narrower_than_an_unpaired_one(compared):
    rows, told = pooled(compared[1]["rows"], "effect_explained"), compared[1]["differences"]
    for d in told:
        if (d["first"], d["second"], d["metric"]) == ("half", "control", "effect_explained"):
            one, other = (rows[name, d["featurizer"]] for name in ("half", "control"))
            unpaired = np.hypot(one["upper"] - one["lower"], other["upper"] - other["lower"])
            assert d["upper"] - d["lower"] < 0.9 * unpaired
            assert d["lower"] < d["value"] < d["upper"]


def test_a_folder_scores_as_when_it_is_judged_alone(real, compared):
    _, told, folders = compared
    alone = assess(real, folders["half"], replace(CRITERIA, metrics={"distances": distances}))
    for metric in ("effect_explained", "pds", "fd", "kd", "effect_slope"):
        together = pooled(told["rows"], metric)
        for (generator, featurizer), row in pooled(alone.rows, metric).items():
            if generator in ("model", "control_copy", "real_replicate"):
                here = together["half" if generator == "model" else generator, featurizer]
                assert here["value"] == pytest.approx(row["value"], rel=1e-9), (metric, generator)
    assert not [r for r in told["rows"] if r["generator"] == "label_shuffled"]


def test_the_files_hold_all_folders_and_load_nothing(compared):
    page, told, folders = compared
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>") and text.count('<img class="plot" src="data:image/svg+xml') == 2
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", text)
    lines = (page.parent / "compare.md").read_text(encoding="utf-8").splitlines()
    head = next(line for line in lines if line.startswith("| metric"))
    assert head.split(" | ")[2:5] == list(folders) and "best trivial baseline" in head
    assert sum(line.startswith(("| effect_explained", "| pds", "| fd")) for line in lines) == 6
    assert set(told["folders"]) == set(folders)
    assert sorted(p.name for p in page.parent.iterdir()) == ["compare.html", "compare.json", "compare.md"]


def test_equal_folders_cannot_be_told_apart(real, tmp_path):
    folders = {name: folder(tmp_path, name) for name in ("a", "b")}
    page = compare(real, folders, tmp_path / "out", replace(FEW, metrics={"d": distances}))
    told = json.loads((page.parent / "compare.json").read_text(encoding="utf-8"))
    assert all(d["better"] is None and d["value"] == 0 for d in told["differences"])
    assert all(d["lower"] is None for d in told["differences"] if d["metric"] == "fd")  # no interval was asked for
    assert "Effect explained: a and b cannot be told apart." in told["sentences"]
    assert any(line.startswith("Fréchet distance (FD): a and b are not compared") for line in told["sentences"])


def test_only_strata_that_all_hold_are_compared_and_the_others_named(real, tmp_path):
    plan = toy.generated_plan(12)
    folders = {"a": folder(tmp_path, "a", plan[1:]), "b": folder(tmp_path, "b", plan[:-1])}
    page = compare(real, folders, tmp_path / "out", replace(FEW, metrics={}))
    told = json.loads((page.parent / "compare.json").read_text(encoding="utf-8"))
    strata = {r["stratum"] for r in told["rows"]} - {POOLED}
    assert len(strata) == len(plan) - 2
    warned = " ".join(told["warnings"])
    assert "2 strata that not all folders hold are left out for all: week1 | a 1 µM, week2 | f 1 µM." in warned
    assert "a: 1 of 12 strata have no generated images: week1 | a 1 µM." in warned
    assert all(
        r["value"] is None or r["value"] > 0.5
        for r in pooled(told["rows"], "effect_explained").values()
        if r["generator"] in folders
    )


def test_folders_that_cannot_be_compared_are_refused(real, tmp_path):
    a, fewer = folder(tmp_path, "a"), folder(tmp_path, "fewer", toy.generated_plan(10))
    run = partial(compare, real, out=tmp_path / "out", criteria=CRITERIA)
    with pytest.raises(ValueError, match="give two or more"):
        run({})
    with pytest.raises(ValueError, match="give two or more"):
        run({"a": a})
    with pytest.raises(ValueError, match="name of its own"):
        twice = {"x": features.Texture(), "y": features.Texture()}
        compare(real, {"a": a, "b": a}, tmp_path, replace(CRITERIA, featurizers=twice))
    with pytest.raises(ValueError, match=r"\['noise'\] would be taken for baselines"):
        run({"a": a, "noise": a})
    with pytest.raises(IncomparableScores, match=r"a against fewer: .*n_generated: 144 against 120.*max_images"):
        run({"a": a, "fewer": fewer})
    other = [("a", "week1", 200, "generated", 3)], [("b", "week1", 201, "generated", 3)]
    with pytest.raises(ValueError, match="no batch and treatment in common"):
        run({"x": folder(tmp_path, "x", other[0]), "y": folder(tmp_path, "y", other[1])})
    images, index = a.images(), a.index.drop("shard", "offset", "treatment")
    write_dataset(tmp_path / "c", type(a.info)("c", ("dna", "er"), a.info.image_shape, "uint8"), images, index)
    with pytest.raises(ValueError, match="channels of"):
        run({"a": a, "c": open_dataset(tmp_path / "c")})
    assert not (tmp_path / "out").exists()


def test_numbers_that_were_measured_differently_are_refused(real, tmp_path):
    def differs(candidate, space):
        rows = candidate.rows("generated")
        return {("fd", POOLED): Score(1.0, 0.0, 2.0, 1, 1, {"resize": str(rows.min())})}

    folders = {name: folder(tmp_path, name) for name in ("a", "b")}
    with pytest.raises(IncomparableScores, match=r"a against b: .*resize: "):
        compare(real, folders, tmp_path, replace(CRITERIA, metrics={"odd": differs}))


def test_the_settings_are_those_of_judge():
    ours, theirs = (dict(inspect.signature(f).parameters) for f in (compare, judge))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].default == theirs[name].default for name in ours)


def test_the_better_one_has_the_smaller_distance_and_chance_is_no_answer():
    def score(value, samples):
        return Score(value, 0, 0, 1, 1, {}, np.asarray(samples, float))

    noise = np.random.default_rng(0).normal(size=1000)
    near, far = score(1.0, 1 + noise), score(2.0, 2 + noise + 0.1 * noise[::-1])
    assert difference(FD, "f", ("near", "far"), near, far)["better"] == "near"
    assert difference(PDS, "f", ("near", "far"), near, far)["better"] == "far"
    blurred = score(2.0, 2 + noise[::-1])
    told = difference(FD, "f", ("near", "blurred"), near, blurred)
    assert told["better"] is None and told["lower"] < told["value"] == -1 < 0 < told["upper"]
    nothing = difference(FD, "f", ("near", "none"), near, Score(float("nan"), 0, 0, 1, 1, {}))
    assert nothing["better"] is nothing["value"] is nothing["lower"] is None


def test_paths_are_called_by_what_tells_them_apart():
    assert names_of(["runs/a/generated", "runs/b/generated"]) == ["a", "b"]
    assert names_of(["runs/a/x", "other/a/y"]) == ["runs/a/x", "other/a/y"]
    with pytest.raises(ValueError, match="given twice"):
        names_of(["runs/a", "runs/b", "runs/../runs/a/"])
