"""p-values of chance, rates of false discovery that hold, and which training compound is near."""

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import false_discovery_control

from tests.screening.toy import LAST, recipe, screened
from virtassay.data.dataset.rows import Rows
from virtassay.screening import Disagreement, Rescue, Stage, Strength, confidence
from virtassay.screening.confidence import (
    Calibration,
    Confidence,
    TrainingCompounds,
    nearest_by_embedding,
    p_values,
    q_values,
)
from virtassay.screening.effects import Context, TreatmentQuery
from virtassay.screening.goals import Goal


def test_the_nearest_seen_compound_is_named():
    known = TrainingCompounds(["ethanol", "toluene"], ["CCO", "Cc1ccccc1"])
    names, values = known.nearest(["OCC", "CCc1ccccc1", "CCCO"])
    assert names == ["ethanol", "toluene", "ethanol"]
    assert values[0] == 1 and 0 < values[1] < 1
    with pytest.raises(ValueError, match="no compound with a structure"):
        TrainingCompounds([], [])


def test_a_compound_is_taken_for_what_the_encoder_makes_of_it(run, monkeypatch):
    predictor = recipe(run).predictor(LAST)
    known = TrainingCompounds(["taxol", "ethanol"], ["CCN(CC)CC", "CCO"])
    smiles = ["OCC", "CCN(CC)CC", "CCCO", "c1ccccc1"]
    names, cosines = nearest_by_embedding(predictor, known, smiles, [1.0, 3.0, 3.0, 1.0])
    assert names[:2] == ["ethanol", "taxol"] and cosines[:2] == pytest.approx([1, 1])
    assert (np.abs(cosines) <= 1 + 1e-9).all() and (cosines[2:] < 1 - 1e-6).all()

    encode: Any = predictor.assay.network.condition
    queries = [TreatmentQuery((s,), (s,), (3.0,)) for s in ("CCCO", "CCO")]
    control = TreatmentQuery(("DMSO",), (None,), (None,))
    rows = predictor.requests([control, *queries], np.array([len(predictor.units) - 1]))
    with torch.inference_mode():
        table = predictor.assay.vocabulary.encode(Rows.of(rows), predictor.assay.molecules)
        zero, own, ethanol = encode(table.condition(slice(None))).double().numpy()
    right = (own - zero) @ (ethanol - zero) / np.linalg.norm(own - zero) / np.linalg.norm(ethanol - zero)
    assert nearest_by_embedding(predictor, TrainingCompounds(["ethanol"], ["CCO"]), ["CCCO"], [3.0])[
        1
    ] == pytest.approx(right, abs=1e-5)  # in another batch: the same
    monkeypatch.setattr(confidence, "AT_ONCE", 1)
    again = nearest_by_embedding(predictor, known, smiles, [1.0, 3.0, 3.0, 1.0])
    assert again[0] == names and again[1] == pytest.approx(cosines)


def test_the_expected_error_is_that_of_held_out_compounds_alike():
    rng = np.random.default_rng(0)
    similarity = rng.random(4000)
    predicted = rng.normal(size=4000)
    observed = predicted + rng.normal(size=4000) * (1.1 - similarity)
    found = Calibration(similarity, predicted, observed).expected_error([0.3, 0.8])
    assert found == pytest.approx([0.8, 0.3], rel=0.12)
    few = Calibration(np.array([0.2, 0.2]), np.zeros(2), np.ones(2))
    assert np.isnan(few.expected_error([0.2, 0.9])).all()


def test_p_values_of_inactive_compounds_are_uniform_and_never_zero():
    rng = np.random.default_rng(0)
    p = p_values(rng.normal(size=4000), rng.normal(size=999))
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert p_values([100.0], np.zeros(9)) == pytest.approx(0.1)
    assert np.isnan(p_values([np.nan], np.zeros(9))).all()


def test_q_values_by_hand_and_the_rate_holds():
    assert q_values([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert np.isnan(q_values([0.5, np.nan])[1])
    p = np.random.default_rng(0).random(200) ** 3
    assert q_values(p) == pytest.approx(false_discovery_control(p))
    padded = false_discovery_control(np.concatenate([p, np.ones(300)]))[:200]
    assert q_values(p, tried=500) == pytest.approx(padded)
    assert q_values([0.01, 0.02], tried=100) == pytest.approx([1, 1])  # the best two of a hundred, one by chance each
    assert q_values([1e-4, 2e-3], tried=100) == pytest.approx([0.01, 0.1])
    rates = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        active = np.arange(1000) < 100
        scores = rng.normal(size=1000) + 4 * active
        hits = q_values(p_values(scores, rng.normal(size=5000))) < 0.1
        rates.append((hits & ~active).sum() / max(1, hits.sum()))
        assert hits[active].mean() > 0.6
    assert np.mean(rates) < 0.12


def test_compounds_known_to_do_nothing_give_p_and_q(run, library, tmp_path):
    inactives = tmp_path / "inactives.csv"
    inactives.write_text("name,smiles\n" + "".join(f"i{n},{'C' * n}S\n" for n in range(1, 9)))
    stages = (Stage(seeds=2, steps=2, keep=6), Stage(seeds=4, steps=2))
    assert screened(run, library, tmp_path / "s", stages=stages, inactives=inactives)
    hits = pl.read_csv(tmp_path / "s" / "hits.csv")
    assert (hits["p"] >= 1 / 9).all() and (hits["q"] >= hits["p"]).all()
    assert (hits["q"] >= 14 / 9 / 6 - 1e-9).all()  # of fourteen tried, six are left
    told = json.loads((tmp_path / "s" / "report.json").read_text())
    assert any("held against 8 compounds that do nothing" in warning for warning in told["warnings"])


def test_the_expected_error_by_hand():
    # three compounds just as like, of errors 1, 2 and 3, and one a bandwidth away that weighs e^(−½), of error 4
    three = Calibration(np.full(3, 0.5), np.array([1.0, 2, 3]), np.zeros(3))
    assert three.expected_error([0.5]) == pytest.approx(np.sqrt(14 / 3)), "three are enough"
    assert np.isnan(three.expected_error(0.51)), "a little less than three are not"
    four = Calibration(np.array([0.5, 0.5, 0.5, 0.6]), np.array([1.0, 2, 3, 4]), np.zeros(4))
    weight = np.exp(-0.5)
    assert four.expected_error(0.5) == pytest.approx(np.sqrt((14 + 16 * weight) / (3 + weight)))


def test_inactive_compounds_that_score_the_same_count_and_four_are_too_few():
    assert p_values([2.0, 2.5, 0.0], [1.0, 2, 2, 3]) == pytest.approx([4 / 5, 2 / 5, 1])
    null = pl.DataFrame({"score": [1.0, 2, 2, 3, 4]})
    assert confidence.p_of(np.array([2.5]), null) == pytest.approx(3 / 6)
    assert np.isnan(confidence.p_of(np.array([2.5]), null.head(4))).all()


def test_the_spread_of_doses_is_the_median_of_compounds_trained_on_alone():
    def of(index):
        train: Any = SimpleNamespace(index=pl.DataFrame(index))
        return confidence._dose_spread(train)

    names = [["a"], ["a"], ["b"], ["b"], ["b"], ["c"], ["a", "b"], ["DMSO"]]
    doses = [[0.1], [10.0], [1.0], [4.0], [0.0], [3.0], [1.0, 1e6], [1e9]]
    index = {"perturbation": names, "dose_um": doses, "is_control": [False] * 7 + [True]}
    assert of(index) == pytest.approx(4), "of 100, 4 and 1"
    assert of({name: values[:5] for name, values in index.items()}) == pytest.approx(52), "of 100 and 4"
    assert of({name: values for name, values in index.items() if name != "dose_um"}) is None
    assert of({name: values[-2:] for name, values in index.items()}) is None


STRONG = Strength()


def test_warnings_say_what_is_not_known():
    none: Any = None

    def warnings(inactive=5, spread=10.0, calibration=none, seen=True, goal: Goal = STRONG):
        null = pl.DataFrame({"score": np.zeros(inactive)})
        names = tuple((f"i{k}", "CCS") for k in range(inactive))
        return " ".join(Confidence(none, null, names, seen, calibration, spread).warnings(goal))

    assert "no p can be below 0.167" in warnings() and "p and q are too small" in warnings()
    assert "unlike ones may score higher" in warnings(seen=False)
    assert "4 compounds that do nothing are known, and 5 are needed" in warnings(4)
    assert "a factor of" not in warnings() and "within a factor of 9.9:" in warnings(spread=9.9)
    assert "a factor of" not in warnings(spread=none)
    assert "nobody knows how wrong" in warnings()
    x = np.array([1.0, 2, 3])
    assert "correlate at -1.00" in warnings(calibration=Calibration(x, x, -x))
    for predicted in (x[:2], np.ones(3)):  # of two, or of a constant, there is none
        assert "correlate at nan" in warnings(calibration=Calibration(predicted, predicted, x[: len(predicted)]))
        assert "correlate at nan" in warnings(calibration=Calibration(predicted, x[: len(predicted)], predicted))
    assert "measure some of both" in warnings(goal=Disagreement()) and "measure some of both" not in warnings()
    assert "combinations of two" in warnings(goal=Rescue("sick")) and "combinations of two" not in warnings()


@dataclass
class Images:
    """A dataset of which only the index is looked at."""

    index: pl.DataFrame

    def where(self, rows: pl.Expr) -> "Images":
        return Images(self.index.filter(rows))


def test_real_effects_are_those_of_the_compound_alone_at_its_highest_dose():
    few = confidence.FEWEST_IMAGES
    rows = [(["a"], [1.0])] * 9 + [(["a"], [3.0])] * few + [(["b"], [9.0])] * 9 + [(["a", "b"], [9.0, 9.0])] * 9
    rows += [(["DMSO"], [None])] * 4
    index = pl.DataFrame(rows, schema=["perturbation", "dose_um"], orient="row")
    index = index.with_columns(is_control=pl.col("perturbation").list.first() == "DMSO")
    reference: Any = SimpleNamespace(units_of_images=lambda own, names: (own.index.rows(), names))

    def effects(table):
        images: Any = Images(table)
        return confidence._real_effects(reference, images, "a")

    expected = index.filter((pl.col("is_control")) | (pl.col("dose_um") == [3.0])).rows()
    assert effects(index) == (3.0, (expected, ["a"])) and len(expected) == few + 4
    assert effects(index.slice(0, 9 + few - 1)) is None, "too few at the highest dose"
    without = index.drop("dose_um")
    dose, (own, _) = effects(without)  # pyright: ignore[reportGeneralTypeIssues]
    assert dose is None and own == [(["a"], False)] * (9 + few) + [(["DMSO"], True)] * 4
    assert effects(without.slice(9 + few)) is None


def test_a_compound_does_nothing_where_chance_explains_its_effect(monkeypatch):
    noise = np.random.default_rng(0).normal(size=(12, 4))
    for units, nothing in ((noise, True), (noise + 3, False), (None, False)):
        shown = None if units is None else (1.0, units)
        monkeypatch.setattr(confidence, "_real_effects", lambda *_, shown=shown: shown)
        none: Any = None
        assert confidence._does_nothing(none, none, "a") is nothing


class Directions:
    """A predictor whose condition encoder makes of each compound the vector of its name, turned at 3 µM."""

    def __init__(self, **vectors):
        self.vectors = vectors

    def directions(self, queries):
        assert all(query.smiles[0].upper() == query.perturbation[0].upper() for query in queries)
        vectors = [self.vectors[query.smiles[0]] for query in queries]
        turned = [v[::-1] if query.dose_um == (3.0,) and query.smiles == ("B",) else v for v, query in
                  zip(vectors, queries, strict=True)]  # fmt: skip
        return np.array(turned, dtype=float)


def test_what_the_encoder_likens_a_compound_to_by_hand(monkeypatch):
    vectors: Any = Directions(A=(0.3, 0.0), B=(0.0, 0.04), x=(0.03, 0.04), y=(5.0, 0.0), none=(0.0, 0.0))
    known = TrainingCompounds(["a", "b"], ["A", "B"])
    smiles, doses = ["x", "y", "x", "none", "x"], [1.0, 1.0, 3.0, 1.0, 1.0]
    # x is 3, 4, 5: cosines 0.6 with a and 0.8 with b, which at 3 µM lies along a; "none" is as the control
    right = ["b", "a", "a", "a", "b"], [0.8, 1.0, 0.6, 0.0, 0.8]
    for at_once in (2048, 2, 1):
        monkeypatch.setattr(confidence, "AT_ONCE", at_once)
        names, cosines = nearest_by_embedding(vectors, known, smiles, doses)
        assert (names, cosines.tolist()) == (right[0], pytest.approx(right[1]))


def test_cosines_that_are_the_same_to_six_digits_are_a_tie():
    # (1, 1 + e) is at cos 45° (1 − e/2) of (1, 0), and at cos 45° (1 + e/2) of (0, 1)
    for e, name in ((2.8e-7, "a"), (2.8e-6, "b")):
        vectors: Any = Directions(A=(1.0, 0.0), B=(0.0, 1.0), x=(1.0, 1 + e))
        names, cosines = nearest_by_embedding(vectors, TrainingCompounds(["a", "b"], ["A", "B"]), ["x"], 1.0)
        assert names == [name] and cosines[0] == pytest.approx(np.sqrt(0.5) * (1 + e / 2), abs=1e-6)


def test_no_held_out_compounds_no_expected_error():
    assert np.isnan(Calibration(np.zeros(0), np.zeros(0), np.zeros(0)).expected_error([0.0, 1.0])).all()


@dataclass
class Splits(Images):
    """A dataset of which only the index and its sides are looked at."""

    def split(self, name: str) -> Images:
        return Images(self.index.filter(pl.col("split") == name))


class Scoring:
    """A scorer whose effects are the predicted ones of `predicted`, and whose score is their mean."""

    def __init__(self, *contexts: Context):
        vocabulary = SimpleNamespace(perturbations=("DMSO", "a", "b", "gene"), smiles=(None, "CCO", "CCN", None))
        self.goal = SimpleNamespace(contexts=contexts)
        self.reference = SimpleNamespace(
            predictor=SimpleNamespace(assay=SimpleNamespace(vocabulary=vocabulary)),
            query=lambda *query: query,
            effects=self.effects,
        )

    def effects(self, queries):
        self.queries = queries
        return np.array([[[float(len(name))]] * 2 for name, _, _, _ in queries])

    def score(self, units):
        return units.mean((-1, -2))

    def __call__(self, table):
        return table.with_columns(score=pl.col("compound").cast(pl.Float64))


def real_screen() -> Any:
    rows = [
        ("a", "CCO", "train", 2.0), ("a", "CCO", "train", 6.0), ("b", "CCN", "train", 1.0), ("a", "CCO", "test", 1.0),
        ("long", "CCCCN", "test", 1.0), ("few", "CCS", "test", 1.0), ("CCO", "CCO", "val", 1.0),
        ("x", None, "test", 1.0), ("DMSO", None, "train", None),
    ]  # fmt: skip
    table = [
        {"perturbation": [name], "smiles": [text], "split": side, "dose_um": [dose], "is_control": name == "DMSO"}
        for name, text, side, dose in rows
    ]
    return Splits(pl.DataFrame(table))


def test_what_real_images_say_of_a_model(monkeypatch):
    real, tried = real_screen(), []

    def does_nothing(reference, train, name):
        tried.append((name, train.index.height))
        return name == "b"

    def real_effects(reference, dataset, name):
        assert dataset is real
        return None if name == "few" else (3.0 if name == "long" else None, np.full((5, 1), 10.0 + len(name)))

    monkeypatch.setattr(confidence, "_does_nothing", does_nothing)
    monkeypatch.setattr(confidence, "_real_effects", real_effects)
    context = Context(cell_type="U2OS")
    scorer: Any = Scoring(context)
    of = Confidence.of(scorer, real)
    assert (list(of.training.names), list(of.training.smiles)) == (["a", "b"], ["CCO", "CCN"])
    assert tried == [("a", 4), ("b", 4)], "those of the training images, in these"
    assert (of.inactive, of.seen, of.dose_spread) == ((("b", "CCN"),), True, 2.0)  # of 3 and 1
    assert of.null.to_dicts() == [{"compound": 0, "smiles": "CCN", "score": 0.0}]
    assert scorer.queries == [("long", "CCCCN", 3.0, context), ("CCO", "CCO", None, context)]
    assert of.calibration is not None and of.calibration.predicted.tolist() == [4, 3]
    assert of.calibration.observed.tolist() == [14, 13]
    assert of.calibration.similarity[1] == 1 > of.calibration.similarity[0] > 0
    named = Confidence.of(scorer, real, [("i", "CCC"), ("j", "CCF")])
    assert named.inactive == (("i", "CCC"), ("j", "CCF")) and not named.seen
    assert named.null["smiles"].to_list() == ["CCC", "CCF"] and named.null["compound"].to_list() == [0, 1]
    assert named.calibration is not None
    for contexts in ((Context("sick"),), (context, Context(cell_type="A549")), (context, context)):
        several: Any = Scoring(*contexts)
        assert Confidence.of(several, real).calibration is None
    monkeypatch.setattr(confidence, "_real_effects", lambda *_: None)
    assert Confidence.of(scorer, real).calibration is None


def test_without_real_structures_only_named_compounds_are_known_to_do_nothing():
    scorer: Any = Scoring(Context())
    bare: Any = Splits(real_screen().index.drop("smiles"))
    for real in (None, bare):
        of = Confidence.of(scorer, real)
        assert (of.inactive, of.seen, of.calibration, of.dose_spread) == ((), True, None, None)
        assert of.null.height == 0
        named = Confidence.of(scorer, real, [("i", "CCC")])
        assert (named.inactive, named.seen, named.null.height) == ((("i", "CCC"),), False, 1)


def test_compounds_are_named_once_in_the_order_of_their_images():
    names = [f"d{n % 50}" for n in range(200)]
    compounds = pl.DataFrame({"name": names, "smiles": ["CC"] * 200, "split": ["train"] * 200})
    assert confidence._unique(compounds) == [(f"d{n}", "CC") for n in range(50)]
