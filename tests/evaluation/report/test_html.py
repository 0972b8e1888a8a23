"""The report: what stands in it, in which words, and that it holds nothing that could be loaded or run."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from tests.evaluation.report.toy_judgement import (
    EVIL,
    FEATURIZERS,
    GENERATORS,
    METRICS,
    TREATMENTS,
    judgement,
    row,
)
from virtassay.evaluation.baselines import BASELINES, floors_of
from virtassay.evaluation.report.html import html
from virtassay.evaluation.report.markdown import markdown
from virtassay.evaluation.report.sentences import NOTHING_CLEAR


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
