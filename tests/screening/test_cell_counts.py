"""Cells left: shares with known answers, and silence where the data do not show it."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.screening.toy import screened
from virtassay.data.dataset.store import DatasetInfo, open_dataset, write_dataset
from virtassay.evaluation.featurizers.cells import CellStatistics
from virtassay.schema import validate
from virtassay.screening import cell_counts
from virtassay.screening.cell_counts import (
    CellCounts,
    CountAgreement,
    NucleiLeft,
    cells_in_wells,
    cells_left,
    count_agreement,
    wells_at_dose,
)
from virtassay.screening.confidence import TrainingCompounds
from virtassay.screening.effects import Context, EffectScale
from virtassay.screening.goals import interval
from virtassay.screening.recipe import Stage
from virtassay.screening.reference import ReferenceEffects
from virtassay.simulator import simulate

STAGES = (Stage(seeds=2, steps=2, keep=8), Stage(seeds=4, steps=3, keep=5))


def wells(tmp_path, counts, fields=None):
    """A dataset of wells (plate, well, name, dose) → images."""
    rows = [
        {"image_id": f"{plate}-{well}-{i}", "plate": plate, "well": well, "batch": "b", "perturbation": name,
         "is_control": name == "DMSO", "dose_um": dose, "split": "train"}
        for (plate, well, name, dose), n in counts.items() for i in range(n)
    ]  # fmt: skip
    index = validate(pl.DataFrame(rows, infer_schema_length=None))
    if fields is not None:
        index = index.with_columns(cells_in_field=pl.Series(fields))
    info = DatasetInfo("wells", ("DNA",), (1, 2, 2), "uint8")
    return open_dataset(write_dataset(tmp_path / "wells", info, np.zeros((len(rows), 1, 2, 2), np.uint8), index))


def test_cells_in_wells_by_hand(tmp_path):
    found = cells_in_wells(
        wells(
            tmp_path,
            {
                ("p1", "A1", "DMSO", None): 8,
                ("p1", "A2", "DMSO", None): 12,
                ("p2", "A1", "DMSO", None): 18,
                ("p2", "A2", "DMSO", None): 22,
                ("p1", "B1", "taxol", 1.0): 5,  # half of 10
                ("p2", "B1", "taxol", 1.0): 5,  # a quarter of 20
                ("p2", "B2", "taxol", 30.0): 2,
                ("p1", "B3", "KIF11", None): 10,
            },
        )
    )
    assert found is not None
    left = {(r["name"], r["dose_um"]): (r["cells_left"], r["error"]) for r in found.iter_rows(named=True)}
    spread = np.sqrt((0.2**2 * 2 + 0.1**2 * 2) / 2)  # of control wells about their plate's mean, two degrees of freedom
    assert left["taxol", 1.0] == pytest.approx((0.375, spread * np.sqrt(1 / 2 + 1 / 4)))
    assert left["taxol", 30.0] == pytest.approx((0.1, spread * np.sqrt(1 + 1 / 2)))
    assert left["KIF11", None][0] == pytest.approx(1)
    assert [wells_at_dose(found, "taxol", z)["dose_um"] for z in (0.2, 5.0, 6.0, 290)] == [1.0, 1.0, 30.0, 30.0]  # pyright: ignore[reportOptionalSubscript]
    assert wells_at_dose(found, "taxol", 301) is None and wells_at_dose(found, "ethanol", 1) is None
    assert wells_at_dose(found, "KIF11", 1e6) is not None


def test_crowded_fields_count_once_however_many_images_they_have(tmp_path):
    counts = {("p", "A1", "DMSO", None): 12, ("p", "A2", "DMSO", None): 4, ("p", "A3", "DMSO", None): 4,
              ("p", "B1", "taxol", 1.0): 3}  # fmt: skip
    fields = [10] * 10 + [2] * 2 + [4] * 4 + [8] * 4 + [3] * 3  # two fields of 10 and 2: 6 a field
    found = cells_in_wells(wells(tmp_path, counts, fields))
    assert found is not None and found["cells_left"].to_list() == pytest.approx([3 / 6])


@pytest.mark.parametrize("counts", [{"A1": 5, "A2": 5, "A3": 5}, {"A1": 5, "A2": 7}])
def test_chosen_or_too_few_counts_say_nothing(tmp_path, counts):
    controls = {("p", well, "DMSO", None): n for well, n in counts.items()}
    assert cells_in_wells(wells(tmp_path, controls | {("p", "B1", "taxol", 1.0): 3})) is None


def reference(effects, names, scale=2.0, untreated=4.0):
    """A reference that counts: effects in nuclei of seen treatments."""
    seen = np.array(effects, np.float64)[:, None] / scale
    vocabulary = SimpleNamespace(seen_dose=lambda name, asked_um: asked_um)
    predictor: Any = SimpleNamespace(assay=SimpleNamespace(vocabulary=vocabulary))
    return ReferenceEffects(
        predictor, EffectScale(np.array([scale])), (1.0, 10.0), tuple(names), seen, {None: np.full((6, 1), untreated)}
    )


def seen_wells(left):
    return pl.DataFrame(
        {"name": list("abcdef"), "dose_um": [10.0] * 6, "cells_left": left, "error": [0.1] * 6},
        schema_overrides={"dose_um": pl.Float64},
    )


def test_whether_nuclei_follow_the_wells():
    lost = np.array([0, 0.1, 0.2, 0.4, 0.6, 0.8])
    found = count_agreement(
        reference(-4.0 * lost / 2, "abcdef"), seen_wells(1 - lost)
    )  # crops show half of what is lost
    assert (found.n, found.clear) == (6, True)
    assert (found.correlation, found.slope, found.error) == pytest.approx((1, 2, 0), abs=1e-9)
    assert not count_agreement(reference(4.0 * lost / 2, "abcdef"), seen_wells(1 - lost)).clear  # the other way round
    assert not count_agreement(reference(np.tile([1.0, -1], 3), "abcdef"), seen_wells(1 - lost)).clear
    few = count_agreement(reference(-lost[:4], "abcd"), seen_wells(1 - lost))
    assert few.n == 4 and not few.clear and np.isnan(few.slope)
    assert count_agreement(reference(-lost, "uvwxyz"), seen_wells(1 - lost)).n == 0


def test_the_share_of_nuclei_left():
    rng = np.random.default_rng(0)
    untreated = rng.poisson(4, 64).astype(float)
    treated = rng.binomial(untreated.astype(int), 0.3, (500, 64))
    shown = replace(reference([0], "a"), untreated={None: untreated[:, None]})
    score = NucleiLeft(Context()).prepare(shown)
    effects = ((treated - untreated) / 2.0)[..., None]
    left = score(effects)
    assert left == pytest.approx(treated.mean(1) / untreated.mean())
    lower, upper = interval(score, [effects], 2)
    assert ((lower <= 0.3) & (upper >= 0.3)).mean() > 0.92
    of_four = NucleiLeft(Context(cell_type=None)).prepare(reference([0], "a"))
    assert of_four(np.full((6, 1), -1.0)) == pytest.approx(1 - 2 / 4)  # −1 in units of 2 nuclei, of 4


def test_cells_of_the_nearest_seen_compound_are_told_where_it_is_alike():
    hits = pl.DataFrame(
        {"compound": [4, 7, 9], "smiles": ["OCC", "CCO", "c1ccccc1CCCC"], "dose_um": [3.0, 1000.0, 3.0]}
    )
    there = pl.DataFrame({"name": ["ethanol"], "dose_um": [1.0], "cells_left": [0.31], "error": [0.1]})
    annotation = cells_left(hits, CellCounts(there, None, "crops of one cell"), TrainingCompounds(["ethanol"], ["CCO"]))
    table = annotation.table
    assert table["cells_left"].to_list() == [0.31, None, None]  # another dose; another molecule
    assert table["cells_lower"][0] == pytest.approx(0.31 - 0.196) and table["cells_upper"][0] == pytest.approx(0.506)
    assert table["cells_from"].to_list() == ["wells of ethanol at 1 µM", None, None]
    assert table["flags"].to_list() == ["toxic: 31 % of cells left (wells of ethanol at 1 µM)", "", ""]
    assert (
        "(1 of 3)" in annotation.sentence
        and "Generated images do not show it: crops of one cell" in annotation.sentence
    )


def test_crops_of_single_cells_do_not_show_it(left_alone):
    """The toy screen has one blob an image, and as many images in each well."""
    hits = pl.read_parquet(left_alone / "hits.parquet")
    assert hits["cells_left"].null_count() == hits.height and not hits["flags"].str.contains("toxic").any()
    told = json.loads((left_alone / "report.json").read_text())
    assert told["sentences"][-1].startswith(
        "Cells left: the data do not show it (too few wells of controls, or a chosen"
    )
    assert "Cells left</th>" not in (left_alone / "report.html").read_text()
    assert not (left_alone / "nuclei").exists()


class Brightness:
    """Stands for the count of nuclei."""

    name = "brightness"

    def fingerprint(self):
        return {}

    def __call__(self, images):
        return images[:, 0].astype(float).mean((1, 2))[:, None]


@pytest.fixture
def thinned(run, tmp_path):
    """The toy screen, with fewer images in some wells."""
    whole = open_dataset(run.parents[1] / "screen")
    index = whole.index.with_row_index("row")
    crop = pl.col("image_id").str.split("-").list.last().cast(pl.Int64)
    number = pl.col("well").str.slice(1).cast(pl.Int64)
    gone = ((pl.col("perturbation").list.first() == "taxol") & (crop > 1)) | (
        pl.col("is_control") & (crop + number > 9)
    )
    rows = index.filter(~gone)["row"].to_numpy()
    kept = whole.index[rows].drop("shard", "offset", "treatment")
    return str(write_dataset(tmp_path / "thinned", whole.info, whole.images(rows), kept))


def test_real_wells_speak_where_crops_do_not(run, library, thinned, tmp_path):
    assert screened(run, library, tmp_path / "s", stages=STAGES, dataset=thinned)
    told = json.loads((tmp_path / "s" / "report.json").read_text())["sentences"][-1]
    assert "by the real wells of the nearest seen compound" in told and "nuclei in an untreated image" in told
    assert not (tmp_path / "s" / "nuclei").exists()


def test_nuclei_of_generated_images_are_counted_where_they_follow(run, library, thinned, tmp_path, monkeypatch):
    """Brightness stands for nuclei here, and its following is taken for granted: a pass like any."""
    monkeypatch.setattr(CellStatistics, "of", classmethod(lambda cls, *_: Brightness()))
    monkeypatch.setattr(cell_counts, "SEVERAL", 0.0)
    out = tmp_path / "s"
    assert screened(run, library, out, stages=STAGES, dataset=thinned)
    assert not list(out.glob("nuclei/*.parquet"))  # two treatments were seen: nothing can follow
    told = json.loads((out / "report.json").read_text())["sentences"][-1]
    assert "2 seen treatments have wells at such doses, and 5 are needed to tell" in told

    monkeypatch.setattr(cell_counts, "count_agreement", lambda reference, wells: CountAgreement(9, 0.9, 1.0, 0.0, True))
    assert screened(run, library, out, stages=STAGES, dataset=thinned, shard="0/2") is None  # of two shards
    assert screened(run, library, out, stages=STAGES, dataset=thinned, shard="1/2")
    hits = pl.read_parquet(out / "hits.parquet")
    assert hits["cells_left"].null_count() == 3 and hits["cells_from"][0] == "nuclei of generated images"
    counted = pl.concat([pl.read_parquet(p) for p in sorted(out.glob("nuclei/*.parquet"))])
    best = hits.row(0, named=True)
    row = counted.filter(pl.col("compound") == best["compound"]).row(0, named=True)
    assert best["cells_left"] == pytest.approx(row["scores"][[1.0, 3.0].index(best["dose_um"])])
    assert "Cells left</th>" in (out / "report.html").read_text()


def test_the_simulated_toxicity_is_found_in_wells(tmp_path):
    sizes = {"n_batches": 1, "plates_per_batch": 2, "control_wells": 12, "wells_per_treatment": 4, "size": 16}
    plan = {"n_compounds": 8, "n_doses": 1, "knock_outs": 0, "combinations": 0, "toxicity": 1.0, "workers": 1}
    real = open_dataset(simulate(root=tmp_path / "sim", **sizes, **plan))
    found = cells_in_wells(real)
    assert found is not None
    of_truth = pl.col("truth_survival").first()
    treated = real.index.filter(~pl.col("is_control"))
    both = found.join(treated.group_by(name=pl.col("perturbation").list.first()).agg(of_truth), on="name")
    assert both.height == 8 and both["truth_survival"].to_numpy().min() < 0.6
    assert np.abs(both["cells_left"] - both["truth_survival"]).mean() < 0.12
