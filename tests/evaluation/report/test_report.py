"""The report: what stands in it, in which words, and that it holds nothing that could be loaded or run."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from virtassay.data.dataset.store import DatasetInfo, open_dataset, write_dataset
from virtassay.evaluation.baselines import BASELINES, floors_of, informed_of
from virtassay.evaluation.judgement import CEILING, MODEL, Judgement
from virtassay.evaluation.report.html import html
from virtassay.evaluation.report.markdown import markdown
from virtassay.evaluation.report.pictures import by_stratum, worst_sheets
from virtassay.evaluation.report.results import write_results
from virtassay.evaluation.report.ridges import Ridge, ridges
from virtassay.evaluation.report.selftest import selftest
from virtassay.evaluation.report.sheets import open_studio
from virtassay.evaluation.report.tables import metric_lines, number
from virtassay.evaluation.report.words import ALL_RIGHT, NOT_MEASURED, NOTHING_CLEAR, treatments, what_explains
from virtassay.evaluation.selftest.caught import GLOSSARY
from virtassay.evaluation.selftest.last_run import LastRun

EVIL = "<b>x</b>"
FEATURIZERS = ("pixel_statistics", "texture")
METRICS = ("effect_explained", "fd", "effect_slope")


def dataset(root, treatments, generated=False, shape=(3, 20, 20), dtype="uint8", batches=("week1",)):
    """Four images of each treatment, and of controls, in each batch; treatments are (perturbation, dose, moa)."""
    every = [("DMSO", None, None), *treatments]
    rows = [(batch, *treatment, i) for batch in batches for treatment in every for i in range(4)]
    index = pl.DataFrame(
        {
            "image_id": [f"i{n}" for n in range(len(rows))],
            "plate": "p",
            "well": [f"{r[1]} {r[2]} {r[4]}" for r in rows],
            "batch": [r[0] for r in rows],
            "perturbation": [r[1] for r in rows],
            "is_control": [r[1] == "DMSO" for r in rows],
            "dose_um": pl.Series([r[2] for r in rows], dtype=pl.Float64),
            "moa": pl.Series([r[3] for r in rows], dtype=pl.String),
            "split": "generated" if generated else "test",
        }
    )
    images = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (len(rows), *shape), dtype=dtype)
    channels = tuple(f"channel{c}" for c in range(shape[0]))
    return open_dataset(write_dataset(root, DatasetInfo(root.name, channels, shape, dtype), images, index))


def row(generator, metric, featurizer, value, **given):
    interval = {"lower": None if value is None else value - 0.1, "upper": None if value is None else value + 0.1}
    return {
        **{"generator": generator, "metric": metric, "featurizer": featurizer, "stratum": "all", "value": value},
        **interval,
        **{"floor": 0.2, "ceiling": 0.9, "scaled": None if value is None else (value - 0.2) / 0.7},
        **{"n_real": 100, "n_generated": 90, "fingerprint": {"featurizer": featurizer, "weights": "none"}},
        **given,
    }


GENERATORS = (MODEL, *BASELINES, CEILING)


def judgement(tmp_path, treatments, batches=("week1",), featurizers=FEATURIZERS, **images):
    real = dataset(tmp_path / "real", treatments, batches=batches, **images)
    generated = dataset(tmp_path / "generated", treatments, True, batches=batches, **images)
    names = real.index.filter(~pl.col("is_control")).unique(["batch", "treatment"], keep="first", maintain_order=True)
    lines = [
        {
            **{"featurizer": f, "stratum": f"{b} | {t}", "batch": b, "treatment": t, "perturbation": p[0]},
            **{"dose_um": d[0], "moa": m, "true_effect": 2.0 + i, "generated_effect": 1.5 + i},
            **{"effect_explained": 0.7 - 0.1 * i, "lower": 0.5, "upper": 0.8, "n_real": 4, "n_generated": 4},
        }
        for f in featurizers
        for i, (b, t, p, d, m) in enumerate(
            names.select("batch", "treatment", "perturbation", "dose_um", "moa").iter_rows()
        )
    ]
    values = dict.fromkeys(BASELINES, 0.2) | {MODEL: 0.7, CEILING: 0.9}
    return Judgement(
        rows=[row(g, m, f, values[g]) for g in GENERATORS for m in METRICS for f in featurizers],
        effects=pl.DataFrame(lines, schema_overrides={"dose_um": pl.Float64, "moa": pl.String}),
        findings=pl.DataFrame([finding(f, t) for f in featurizers for t in names["treatment"].unique().sort()]),
        cells=pl.DataFrame(
            [
                {"featurizer": f, "stratum": f"{b} | {t}", "batch": b, "treatment": t, "side": side, "place": place}
                for f in featurizers
                for b, t in names.select("batch", "treatment").unique("treatment", keep="first").iter_rows()
                for side, middle in (("real", 2.0), ("generated", 1.5), ("control", 0.0))
                for place in middle + np.linspace(-1, 1, 5)
            ]
        ),
        confounders=pl.DataFrame(
            [
                {"featurizer": f, "treatment": t, "side": side, "confounder": c, **auc(0.9, 0.8, 0.85)}
                for f in featurizers
                for t in names["treatment"].unique().sort()
                for side in ("real", "generated")
                for c in ("brightness", "cell count")
            ]
        ),
        real=real,
        generated=generated,
        verdict={
            "passes": True,
            "grade": "PASS",
            "sentences": ["First sentence.", "Second sentence.", "Third sentence."],
            "reservations": [],
            "unchecked": ["memorisation", "effect_slope"],
            "per_featurizer": {f: {"apart": True} for f in featurizers},
            "warnings": ["a warning"],
        },
        provenance={"version": "0", "solver": {"nfe": 50}},
        glossary=GLOSSARY,
        floors=floors_of(BASELINES),
        informed=informed_of(BASELINES),
    )


def finding(featurizer, treatment, **given):
    right = {
        "slope": 1.0,
        "direction": 0.9,
        "pds": 0.95,
        "variance_ratio": 1.0,
        "real_rare": 0.2,
        "generated_rare": 0.1,
    }
    return {"featurizer": featurizer, "treatment": treatment, "clear": True, **right, **given}


def auc(told, alone, without):
    return {"all": told, "alone": alone, "without": without, "null_sd": 0.05}


TREATMENTS = [
    ("drug", 10.0, "moa A"),
    ("drug", 0.1, "moa A"),
    ("drug", 1.0, "moa A"),
    (EVIL, 3.0, EVIL),
    ("gene", None, None),
]


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """A judgement and its page."""
    given = judgement(tmp_path_factory.mktemp("usual"), TREATMENTS)
    return given, html(given)


class _Parsed(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action", "poster")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_file_needs_nothing_but_itself(usual):
    page = usual[1]
    parsed = _Parsed(page)
    assert "img" in parsed.tags and not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert all(value.startswith(("data:image/", "#")) for value in parsed.loads)
    assert not re.search(r"https?://|@import|url\(", page)
    drawn = [base64.b64decode(value.partition("base64,")[2]).decode() for value in parsed.loads if "svg+xml" in value]
    assert len(drawn) == 6 and not any(re.search(r"<script|<image|href=\"(?!#)", svg) for svg in drawn)


def test_the_verdict_comes_first_with_its_sentences(usual):
    given, page = usual
    order = ["PASS<", *given.verdict["sentences"], "<img", "<table", "a warning"]
    assert [page.index(text) for text in order] == sorted(page.index(text) for text in order)
    assert 'class="verdict pass"' in page and "Reservations." not in page


@pytest.mark.parametrize(
    ("grade", "colour", "badge"),
    [
        ("FAIL", "fail", "FAIL</div>"),
        ("PASS, WITH RESERVATIONS", "reserved", "PASS<small>"),
    ],
)
def test_each_grade_has_its_colour_and_its_reservations_as_sentences(tmp_path, grade, colour, badge):
    given = judgement(tmp_path, TREATMENTS[:1], featurizers=("texture",))
    held = [{"metric": "variance_ratio", "sentence": f"Too uniform ({EVIL}).", "featurizers": ["texture"]}]
    held = [] if grade == "FAIL" else held
    page = html(replace(given, verdict=given.verdict | {"grade": grade, "reservations": held}))
    assert f'class="verdict {colour}"' in page and f'<div class="badge">{badge}' in page
    assert ("Too uniform (&lt;b&gt;x&lt;/b&gt;)." in page) == bool(held) == ("Reservations." in page)


def test_checks_that_nobody_made_are_named_with_what_to_do(usual):
    for text in (usual[1], markdown(usual[0])):
        assert "did not look at: Distance to training images. Judge again with evaluation=full." in text
        assert "cannot answer: Effect slope." in text  # asked: it has rows


def test_names_from_the_index_are_escaped(tmp_path):
    given = judgement(tmp_path, TREATMENTS)
    given = replace(given, provenance={EVIL: EVIL, "$\\frac{$": "$"})
    page = html(given)
    assert EVIL not in page and "&lt;b&gt;x&lt;/b&gt; 3 µM" in page


def test_every_generator_and_metric_stands_in_the_tables(usual):
    text = " ".join(_Parsed(usual[1]).text)
    for words in (
        *(b.replace("_", " ") for b in floors_of(BASELINES)),
        "real replicate",
        "Effect explained",
        "Effect slope",
    ):
        assert text.count(words) >= len(FEATURIZERS)
    assert "↓" in text and "→ 1" in text and "solver.nfe" in text


def test_a_dose_ladder_starts_with_the_control_and_ascends(usual):
    ladder = usual[1][usual[1].index('id="doses"') : usual[1].index('id="spread"')]
    assert re.findall(r"<th>(.*?)</th>", ladder) == ["", "control", "0.1 µM", "1 µM", "10 µM"]


def test_vectors_without_doses_or_mechanisms_have_no_ladders_cells_or_confounders(tmp_path):
    given = judgement(tmp_path, [("a", None, None), ("b", None, None)])
    given = replace(given, effects=given.effects.drop("dose_um", "moa"))
    page = html(replace(given, cells=given.cells.clear(), confounders=given.confounders.clear()))
    assert "No compound has two or more doses" in page
    assert "No treatment has enough images for this." in page and "This was not asked" in page


def test_what_could_not_be_measured_is_called_so(tmp_path):
    given = judgement(tmp_path, [("a", None, None)])
    columns = ("true_effect", "generated_effect", "effect_explained", "lower", "upper")
    nothing = given.effects.with_columns(pl.lit(np.nan).alias(column) for column in columns)
    rows = [row(g, m, f, None, floor=None, ceiling=None) for g in GENERATORS for m in METRICS for f in FEATURIZERS]
    given = replace(
        given,
        rows=rows,
        effects=nothing,
        findings=given.findings.with_columns(clear=False),
        verdict=given.verdict | {"grade": "FAIL", "sentences": [], "warnings": [], "per_featurizer": {}},
    )
    text = " ".join(_Parsed(html(given)).text)
    assert "No treatment has a clear real effect here." in text and NOTHING_CLEAR in text
    assert "n/a" in text and not re.search(r"\b(nan|NaN|None|null)\b", text)


def test_many_treatments_stay_small_and_the_rest_is_named(tmp_path):
    treatments = [(f"drug {i}", dose, None) for i in range(60) for dose in (1.0, 3.0)]
    given = judgement(tmp_path, treatments, ("week1", "week2"), ("texture",), shape=(2, 40, 60))
    page = html(given)
    text = " ".join(_Parsed(page).text)
    assert len(page.encode()) < 6e6  # of pure noise, which no PNG makes smaller
    assert re.search(r"Shown:\s+17\s+of\s+240\s+strata", text) and re.search(r"of\s+60\s+with two or more doses", text)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 8, 8), "uint8"), ((12, 16, 24), "uint16"), ((2, 300, 200), "uint16")]
)
def test_any_number_of_channels_sizes_and_depths(tmp_path, shape, dtype):
    page = html(judgement(tmp_path, TREATMENTS[:2], featurizers=("texture",), shape=shape, dtype=dtype))
    assert ("shrunk to" in page) == (max(shape[1:]) > 96) and len(page.encode()) < 6e6


def test_a_scaled_interval_follows_the_direction_of_the_metric():
    def scaled(metric, value, lower, upper, floor, ceiling, score):
        given = row(MODEL, metric, "f", value, floor=floor, ceiling=ceiling, scaled=score, lower=lower, upper=upper)
        cell = metric_lines([given], "f", floors_of(BASELINES), GLOSSARY)[0].scaled
        return pytest.approx((cell.lower, cell.value, cell.upper))

    assert scaled("fd", 4.0, 3.0, 6.0, 5.0, 1.0, 0.25) == (-0.25, 0.25, 0.5)
    assert scaled("effect_slope", 0.8, 0.7, 1.1, 0.5, 0.9, 0.75) == (0.5, 0.75, 1.25)


def test_numbers_are_short_and_readable():
    given = (None, float("nan"), 0.0, -0.1234, 0.01234, 12.34, 1234.5, -1e-5, float("inf"))
    assert [number(x) for x in given] == ["n/a", "n/a", "0.00", "−0.12", "0.012", "12.3", "1,234", "−1.0e−05", "∞"]


def test_the_worst_five_are_those_whose_clear_effect_is_explained_least(tmp_path):
    given = judgement(tmp_path, [(f"drug {i}", None, None) for i in range(8)], ("week1", "week2"))
    unclear = ["drug 6", "drug 7"]  # explained worst of all, but there is no effect
    found = treatments(given.effects, given.findings.with_columns(clear=~pl.col("treatment").is_in(unclear)))
    shown = worst_sheets(open_studio(given.real, given.generated), by_stratum(given.effects), found)
    assert [(sheet.reason, sheet.treatment) for sheet, *_ in shown] == [
        (f"Worst {i + 1}", f"drug {5 - i}") for i in range(5)
    ]
    assert {sheet.batch for sheet, *_ in shown} == {"week2"}  # where they are worse
    assert all(said.startswith("Over its 2 batches: ") for *_, said in shown)


@pytest.mark.parametrize(
    ("given", "explained", "said"),
    [
        ({}, 0.7, ALL_RIGHT),
        (
            {"slope": 0.3},
            0.7,
            "Wrong: too weak. Right: the effect, direction, told apart from others, spread of cells.",
        ),
        (
            {"slope": 2.5, "variance_ratio": 0.1},
            0.3,
            "Wrong: too strong, cells too uniform. In part: the effect. Right: d",
        ),
        (
            {"direction": -0.2, "pds": 0.5},
            -1.0,
            "Wrong: hardly any of the effect, wrong direction, confused with others.",
        ),
        ({"clear": False, "slope": None, "direction": None, "pds": None}, 0.0, NOTHING_CLEAR),
        ({"slope": None, "direction": None, "pds": None}, -1.0, NOT_MEASURED),
    ],
)
def test_a_treatment_in_words(given, explained, said):
    effects = pl.DataFrame(
        {
            "treatment": "t",
            "perturbation": "t",
            "dose_um": None,
            "moa": None,
            "batch": "b",
            "effect_explained": [explained],
        }
        | {"true_effect": 1.0, "generated_effect": 1.0}
    )
    (found,) = treatments(effects, pl.DataFrame([finding("f", "t", **given)]))
    assert found.sentence.startswith(said)


@pytest.mark.parametrize(
    ("aucs", "said"),
    [
        ((0.9, 0.9, 0.55), "the effect is mostly brightness"),
        ((0.9, 0.8, 0.7), "the effect is partly brightness"),
        ((0.9, 0.9, 0.9), "the effect is more than brightness"),
        ((0.55, 0.5, 0.5), "there is no clear effect to explain"),
        ((np.nan, 0.9, 0.5), "brightness cannot be asked about in the real images"),
    ],
)
def test_what_a_confounder_explains_in_words(aucs, said):
    table = pl.DataFrame([{"confounder": "brightness", "side": "real", **auc(*aucs)}])
    (sentence,) = what_explains(table)
    assert said.lower() in sentence.lower() and "about in the generated images (too few" in sentence


def test_images_that_are_all_alike_are_a_narrow_ridge():
    places = {"real": np.arange(5.0), "control": np.arange(5.0) - 2, "generated": np.ones(5)}
    drawn = base64.b64decode(
        ridges([[Ridge("t", "f", places, ""), Ridge("t", "g", {}, "")]]).partition(",")[2]
    ).decode()
    assert "nan" not in drawn.lower() and drawn.count("<!-- n/a -->") == 1


def test_markdown_says_the_same_and_nothing_from_the_index_is_markup(tmp_path):
    given = judgement(tmp_path, [*TREATMENTS, ("a | b*c*", None, "[x](y)")])
    given = replace(given, provenance={EVIL: "`ls`\n# head"})
    text = markdown(given)
    assert text.startswith("# PASS: generated against real") and all(s in text for s in given.verdict["sentences"])
    assert "0.70 (0.60 to 0.80), floor 0.20, ceiling 0.90" in text and "\\<b\\>x\\</b\\> 3 µM" in text
    assert not re.search(r"(?<!\\)[<>*`\[]", text) and len(re.findall(r"^#+ ", text, re.M)) == 7
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    columns = [{len(re.findall(r"(?<!\\)\|", line)) for line in table} for table in tables]
    assert len(tables) == 3 and all(len(widths) == 1 for widths in columns)


def test_the_folder_holds_reports_and_all_numbers(usual, tmp_path):
    given, page = usual
    path = write_results(given, tmp_path / "new")
    assert path == tmp_path / "new" / "report.html" and path.read_text() == page  # the same each time
    tables = {"effects", "findings", "cells", "confounders"}
    files = {"report.html", "report.md", "metrics.json", "verdict.json", *(f"{table}.parquet" for table in tables)}
    assert {found.name for found in path.parent.iterdir()} == files
    assert json.loads((path.parent / "metrics.json").read_text()) == given.rows
    stored = json.loads((path.parent / "verdict.json").read_text())
    assert stored == given.verdict | {"provenance": {"version": "0", "solver.nfe": "50"}}
    for table in tables:
        assert pl.read_parquet(path.parent / f"{table}.parquet").equals(getattr(given, table))


def test_the_self_test_is_laid_out_by_metric_and_generator():
    caught = pl.DataFrame(
        {
            "generator": ["half", "half", "copy"],
            "grade": ["FAIL", "FAIL", "PASS"],
            "metric": ["effect_slope", "fd", "effect_slope"],
            "caught": [True, True, False],
            "verdict": [True, False, False],
        }
    )
    dials = pl.DataFrame({"dial": ["blur", "labels"], "metric": ["fd", "fd"], "rho": [0.95, -0.07]})
    found = selftest(LastRun("run at abc", caught, dials))
    assert found.made == "run at abc" and found.generators == (("half", "FAIL"), ("copy", "PASS"))
    assert found.lines == (("Effect slope", ("●", "")), ("Fréchet distance (FD)", ("○", "")))
    assert found.dials == ("blur", "labels") and found.dial_lines == (("Fréchet distance (FD)", ("0.95", "−0.070")),)
