"""The judgement of generators with a known answer, and of input that does not fit."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pytest

from tests.evaluation import toy
from virtassay.data.dataset.store import DatasetInfo, open_dataset, write_dataset
from virtassay.evaluation.baselines import BASELINES, floors_of
from virtassay.evaluation.criteria import Criteria
from virtassay.evaluation.featurizers import features
from virtassay.evaluation.judge import assess, judge
from virtassay.evaluation.judgement import CEILING, MODEL
from virtassay.evaluation.metrics.counterfactual import moved
from virtassay.evaluation.metrics.pools import distances
from virtassay.evaluation.verdict import IncomparableScores, comparable, verdict

PAIR = {"pixel_statistics": features.PixelStatistics(), "texture": features.Texture()}
CRITERIA = Criteria(
    featurizers=PAIR, baselines=BASELINES, metrics={"distances": distances},
    resamples=200, max_images=100, max_controls=60, max_training=60, max_memory=400,
)  # fmt: skip


def another(perturbation):
    names = toy.PERTURBATIONS
    return names[(names.index(perturbation) + 1) % len(names)]


IMAGES = {
    "oracle": toy.draw,
    "control": lambda p, *rest: toy.draw("DMSO", *rest),
    "shuffled": lambda p, *rest: toy.draw(another(p), *rest),
    "half": lambda p, *rest: toy.draw(p, *rest, strength=0.3),
    "unconditional": lambda p, b, w, n, rng: np.concatenate(
        [toy.draw(str(rng.choice(toy.PERTURBATIONS)), b, w, 1, rng) for _ in range(n)]
    ),
}


@pytest.fixture(scope="session")
def judged(real, tmp_path_factory):
    def of(name):
        if name not in made:
            folder = toy.write(tmp_path_factory.mktemp("toy") / name, toy.generated_plan(), 1, IMAGES[name])
            made[name] = assess(real, open_dataset(folder), CRITERIA)
        return made[name]

    made = {}
    return of


def pooled(judgement, metric, generator="model"):
    rows = [r for r in judgement.rows if (r["metric"], r["generator"], r["stratum"]) == (metric, generator, "all")]
    return {r["featurizer"]: r for r in rows}


def test_the_oracle_passes_and_scores_like_a_replicate(judged):
    decided = judged("oracle").verdict
    assert decided["passes"], decided
    assert all(p["apart"] and p["model"] > 0.8 for p in decided["per_featurizer"].values())
    for metric, least in (("effect_explained", 0.8), ("pds", 0.9), ("pearson_delta_centred", 0.7)):
        assert min(r["value"] for r in pooled(judged("oracle"), metric).values()) > least
    for row in pooled(judged("oracle"), "effect_explained").values():
        assert row["scaled"] == pytest.approx(1, abs=0.3)
    for row in pooled(judged("oracle"), "effect_slope").values():
        assert row["value"] == pytest.approx(1, abs=0.15)


def test_images_worse_than_none_are_not_given_a_negative_share(judged):
    rows = [
        row | {"value": -3.0} if row["generator"] == "model" and row["metric"] == "effect_explained" else row
        for row in judged("oracle").rows
    ]
    sentence = verdict(rows, floors_of(BASELINES), [])["sentences"][1]
    assert "none of the real effect (they lie farther" in sentence and "-300" not in sentence


@pytest.mark.parametrize("name", ["control", "shuffled", "unconditional"])
def test_generators_that_ignore_the_treatment_fail(judged, name):
    decided = judged(name).verdict
    assert not decided["passes"]
    assert not any(p["apart"] for p in decided["per_featurizer"].values())


def test_a_copied_control_explains_nothing_and_its_distance_to_the_truth_is_the_effect(judged):
    for row in pooled(judged("control"), "effect_explained").values():
        assert abs(row["value"]) < 0.15
    for row in pooled(judged("control"), "effect_slope").values():
        assert abs(row["value"]) < 0.15


def test_a_weak_effect_has_a_slope_below_one(judged):
    for row in pooled(judged("half"), "effect_slope").values():
        assert 0.1 < row["value"] < 0.6


def test_pooled_distances_cannot_see_shuffled_labels(judged):
    rows = judged("oracle").rows
    value = {(r["generator"], r["featurizer"]): r["value"] for r in rows if r["metric"] == "fd"}
    for f in PAIR.values():
        assert value["label_shuffled", f.name] == value["model", f.name]


def test_rows_are_complete_and_plain_json(judged):
    judgement = judged("oracle")
    assert json.loads(json.dumps(judgement.rows, allow_nan=False)) == judgement.rows
    keys = {"generator", "metric", "featurizer", "stratum", "value", "lower", "upper", "floor", "ceiling", "scaled"}
    assert set(judgement.rows[0]) == keys | {"n_real", "n_generated", "fingerprint"}
    assert {r["generator"] for r in judgement.rows} == {MODEL, *BASELINES, CEILING}
    n_strata = len(toy.BATCHES) * len(toy.PERTURBATIONS)
    per = [r for r in judgement.rows if r["metric"] == "energy" and r["generator"] == "model" and r["stratum"] != "all"]
    assert len(per) == n_strata * len(PAIR)
    assert judgement.effects.height == n_strata * len(PAIR)
    inside = [r for r in judgement.rows if None not in (r["lower"], r["value"], r["upper"])]
    assert all(r["lower"] - 1e-9 <= r["value"] <= r["upper"] + 1e-9 for r in inside if r["stratum"] == "all")
    metrics = {r["metric"] for r in judgement.rows}
    assert {"fd", "kd", "energy", "effect_explained", "pds", "pearson_delta", "effect_slope", "nsc", "nscb"} <= metrics


def test_scaled_is_zero_at_the_floor_and_one_at_the_ceiling(judged):
    for row in judged("oracle").rows:
        if row["value"] is None or row["scaled"] is None:
            continue
        if row["metric"] != "effect_slope":
            expected = (row["value"] - row["floor"]) / (row["ceiling"] - row["floor"])
            assert row["scaled"] == pytest.approx(expected, rel=1e-6, abs=1e-9)
        if row["generator"] == "real_replicate":
            assert row["scaled"] == pytest.approx(1)


def test_the_same_seed_gives_the_same_numbers(real, judged, tmp_path):
    folder = toy.write(tmp_path / "oracle", toy.generated_plan(), 1)
    again = assess(real, open_dataset(folder), CRITERIA)
    assert [r["value"] for r in again.rows] == [r["value"] for r in judged("oracle").rows]


def test_effects_agree_with_the_truth_for_the_oracle(judged):
    table = judged("oracle").effects
    correlation = table.select(pl.corr("true_effect", "generated_effect")).item()
    assert correlation > 0.9
    assert table["true_effect"].min() > 0


def test_images_that_say_which_control_they_began_at_are_paired_with_it(real, tmp_path):
    """A copy of the control itself has not moved; one that began elsewhere has moved as far as controls differ."""
    controls = real.where(pl.col("is_control"))
    plain = open_dataset(toy.write(tmp_path / "plain", toy.generated_plan(10)))
    rng = np.random.default_rng(0)

    def paired(same):
        rows = np.concatenate(
            [
                rng.choice(np.flatnonzero((controls.index["batch"] == batch).to_numpy()), 10, replace=False)
                for batch in plain.index.group_by("batch", "treatment", maintain_order=True).first()["batch"]
            ]
        )
        told = rows if same else np.roll(rows, 1)
        index = plain.index.drop("shard", "offset", "treatment").with_columns(
            control_id=controls.index["image_id"].gather(told)
        )
        info = DatasetInfo("copies", toy.CHANNELS, (2, toy.SIZE, toy.SIZE), "uint8")
        made = open_dataset(write_dataset(tmp_path / str(same), info, controls.images(rows), index))
        few = replace(
            CRITERIA,
            featurizers={"pixel_statistics": PAIR["pixel_statistics"]},
            metrics={"moved": moved},
            resamples=50,
        )
        judged = assess(real, made, few)
        return {m: pooled(judged, m)["pixel_statistics"]["value"] for m in ("response", "pairing")}

    at_home, elsewhere = paired(True), paired(False)
    assert at_home == {"response": 0.0, "pairing": pytest.approx(1)}
    assert elsewhere["response"] == pytest.approx(2**0.5, rel=0.1) and abs(elsewhere["pairing"]) < 0.2


def test_a_single_well_is_replicated_by_other_splits_or_by_image_and_said(tmp_path):
    plan = [row for row in toy.real_plan(6) if row[0] in ("a", "DMSO") or (row[0], row[3]) == ("b", "train")]
    first = {b: next(row for row in plan if row[0] == "a" and row[1] == b and row[3] == "test") for b in toy.BATCHES}
    plan = [row for row in plan if row[0] != "a" or row[3] != "test" or row == first[row[1]]]
    plan = [row for row in plan if (row[0], row[1]) != ("a", "week2") or row[3] == "test"]
    real = open_dataset(toy.write(tmp_path / "real", plan))
    generated = open_dataset(toy.write(tmp_path / "g", [("a", b, 200, "generated", 6) for b in toy.BATCHES]))
    judgement = assess(real, generated, CRITERIA)
    told = " ".join(judgement.verdict["warnings"])
    assert "wells of other splits are the replicate" in told
    assert "halved" in told
    how = {
        r["stratum"]: r["fingerprint"]["replicate_by"]
        for r in judgement.rows
        if r["generator"] == "real_replicate" and r["metric"] == "energy" and r["stratum"] != "all"
    }
    assert how == {"week1 | a 1 µM": ["other_splits"], "week2 | a 1 µM": ["images"]}
    # one perturbation: resampling it says nothing, so images are resampled
    row = pooled(judgement, "effect_explained")["texture"]
    assert row["fingerprint"]["interval"] == "bootstrap over images"
    assert row["upper"] > row["lower"]


def test_missing_and_lonely_strata_get_the_worst_value_and_are_named(real, tmp_path):
    plan = toy.generated_plan()
    plan = [(p, b, w, s, 1 if (p, b) == ("b", "week1") else n) for p, b, w, s, n in plan if (p, b) != ("a", "week1")]
    plan.append(("a", "week2", 300, "generated", 3))
    judgement = assess(real, open_dataset(toy.write(tmp_path / "g", plan, 1)), CRITERIA)
    told = " ".join(judgement.verdict["warnings"])
    assert "no generated images: week1 | a 1 µM" in told
    assert "fewer than two generated images" in told
    values = {r["stratum"]: r for r in judgement.rows if (r["generator"], r["metric"]) == ("model", "effect_explained")}
    for name in ("week1 | a 1 µM", "week1 | b 1 µM"):
        assert values[name]["value"] <= -1
    complete = assess(real, open_dataset(toy.write(tmp_path / "c", toy.generated_plan(), 1)), CRITERIA)
    for f in PAIR.values():
        part, whole = (pooled(j, "effect_explained")[f.name]["value"] for j in (judgement, complete))
        assert part < whole - 0.03  # leaving strata out does not pay


class Broken:
    """A user's featurizer that fails on bright images."""

    name = "broken"

    def fingerprint(self):
        return {"trained": False}

    def __call__(self, images):
        mean = images.mean((2, 3))
        return np.where(mean[:, :1] > 150, np.nan, np.c_[mean, np.ones(len(mean))])


def test_features_that_are_no_numbers_or_constant_are_counted_not_dropped(real, tmp_path):
    def bright(p, b, w, n, rng):
        images = toy.draw(p, b, w, n, rng)
        return np.full_like(images, 250) if (p, b) == ("c", "week1") else images

    generated = open_dataset(toy.write(tmp_path / "g", toy.generated_plan(), 1, bright))
    judgement = assess(real, generated, replace(CRITERIA, featurizers={"broken": Broken()}))
    told = " ".join(judgement.verdict["warnings"])
    assert "no numbers" in told
    assert "1 of 3 features are constant" in told
    row = next(
        r
        for r in judgement.rows
        if (r["generator"], r["metric"], r["stratum"]) == ("model", "effect_explained", "week1 | c 1 µM")
    )
    assert row["value"] <= -1
    assert pooled(judgement, "fd")["broken"]["value"] is None
    assert not judgement.verdict["passes"]  # texture was not looked at


def test_folders_that_do_not_fit_are_refused(real, tmp_path):
    index = pl.DataFrame({"image_id": ["x"], "plate": "p", "well": "w", "batch": "week1", "perturbation": "a"})
    index = index.with_columns(is_control=False, dose_um=1.0, split=pl.lit("generated"))
    for info, match in (
        (DatasetInfo("g", ("dna", "tubulin"), (2, 16, 16), "uint8"), "channels"),
        (DatasetInfo("g", toy.CHANNELS, (2, 8, 8), "uint8"), "image shape"),
        (DatasetInfo("g", toy.CHANNELS, (2, 16, 16), "uint16"), "pixel type"),
    ):
        folder = tmp_path / match
        write_dataset(folder, info, np.zeros((1, *info.image_shape), info.dtype), index)
        with pytest.raises(ValueError, match=match):
            assess(real, open_dataset(folder), CRITERIA)
    other = toy.write(tmp_path / "other", [("z", "week1", 1, "generated", 3)], image=lambda p, *r: toy.draw("a", *r))
    with pytest.raises(ValueError, match=r"week1 \| z"):
        assess(real, open_dataset(other), CRITERIA)
    fine = open_dataset(toy.write(tmp_path / "fine", toy.generated_plan(2)))
    with pytest.raises(ValueError, match="train"):
        assess(real, fine, replace(CRITERIA, split="val"))
    with pytest.raises(ValueError, match="name of its own"):
        assess(real, fine, replace(CRITERIA, featurizers={"a": PAIR["texture"], "b": PAIR["texture"]}))


def test_numbers_measured_differently_are_not_put_side_by_side(judged):
    rows = judged("oracle").rows
    comparable(rows[0]["fingerprint"], dict(rows[0]["fingerprint"]))
    with pytest.raises(IncomparableScores, match="split: 'test' against 'val'"):
        comparable(rows[0]["fingerprint"], rows[0]["fingerprint"] | {"split": "val"})
    with pytest.raises(IncomparableScores, match=r"resize.*absent"):
        comparable({"resize": "none"}, {})


def test_judge_writes_its_files(real, tmp_path):
    generated = open_dataset(toy.write(tmp_path / "g", toy.generated_plan(), 1))
    report = judge(
        real,
        generated,
        tmp_path / "out",
        replace(CRITERIA, metrics={"distances": partial(distances, fd_intervals=True)}, resamples=50),
    )
    assert report == tmp_path / "out" / "report.html"
    assert report.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html")
    rows = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    fd = next(r for r in rows if r["metric"] == "fd" and r["generator"] == "model")
    assert fd["lower"] < fd["value"] < fd["upper"]
    assert pl.read_parquet(tmp_path / "out" / "effects.parquet").height == 24
    assert not list((tmp_path / "out").glob(".*"))
