import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from virtassay.data.store import DatasetInfo, open_dataset, write_dataset
from virtassay.evaluation.judgement import BASELINES, CEILING, GENERATORS, MODEL, Judgement
from virtassay.evaluation.report import write_report
from virtassay.evaluation.tables import metric_lines, number

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


def judgement(tmp_path, treatments, batches=("week1",), **images):
    real = dataset(tmp_path / "real", treatments, batches=batches, **images)
    generated = dataset(tmp_path / "generated", treatments, True, batches=batches, **images)
    names = real.index.filter(~pl.col("is_control")).unique(["batch", "treatment"], keep="first", maintain_order=True)
    lines = [
        {
            **{"featurizer": f, "stratum": f"{b} | {t}", "batch": b, "treatment": t, "perturbation": p[0]},
            **{"dose_um": d[0], "moa": m, "true_effect": 2.0 + i, "generated_effect": 1.5 + i},
            **{"effect_explained": 0.7 - 0.1 * i, "lower": 0.5, "upper": 0.8, "n_real": 4, "n_generated": 4},
        }
        for f in FEATURIZERS
        for i, (b, t, p, d, m) in enumerate(
            names.select("batch", "treatment", "perturbation", "dose_um", "moa").iter_rows()
        )
    ]
    values = dict.fromkeys(BASELINES, 0.2) | {MODEL: 0.7, CEILING: 0.9}
    return Judgement(
        rows=[row(g, m, f, values[g]) for g in GENERATORS for m in METRICS for f in FEATURIZERS],
        effects=pl.DataFrame(lines, schema_overrides={"dose_um": pl.Float64, "moa": pl.String}),
        real=real,
        generated=generated,
        verdict={
            "passes": True,
            "sentences": ["First sentence.", "Second sentence.", "Third sentence."],
            "per_featurizer": {f: {"apart": True} for f in FEATURIZERS},
            "warnings": ["a warning"],
        },
        provenance={"version": "0", "solver": {"nfe": 50}},
    )


TREATMENTS = [("drug", 0.1, "moa A"), ("drug", 1.0, "moa A"), (EVIL, 3.0, EVIL), ("gene", None, None)]


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


def test_the_file_needs_nothing_but_itself(tmp_path):
    page = write_report(judgement(tmp_path, TREATMENTS), tmp_path / "new" / "report.html").read_text()
    parsed = _Parsed(page)
    assert "img" in parsed.tags and not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert all(value.startswith(("data:image/", "#")) for value in parsed.loads)
    assert not re.search(r"https?://|@import|url\(", page)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_the_verdict_comes_first_with_its_sentences(tmp_path):
    given = judgement(tmp_path, TREATMENTS)
    page = write_report(given, tmp_path / "r.html").read_text()
    order = ["PASS<", *given.verdict["sentences"], "<img", "<table", "a warning"]
    assert [page.index(text) for text in order] == sorted(page.index(text) for text in order)
    failed = replace(given, verdict=given.verdict | {"passes": False})
    page = write_report(failed, tmp_path / "r.html").read_text()
    assert "FAIL<" in page and "PASS<" not in page


def test_names_from_the_index_are_escaped(tmp_path):
    given = judgement(tmp_path, TREATMENTS)
    given = replace(given, provenance={EVIL: EVIL, "$\\frac{$": "$"})
    page = write_report(given, tmp_path / "r.html").read_text()
    assert EVIL not in page and "&lt;b&gt;x&lt;/b&gt; 3 µM" in page


def test_every_generator_and_metric_stands_in_the_tables(tmp_path):
    text = " ".join(_Parsed(write_report(judgement(tmp_path, TREATMENTS), tmp_path / "r.html").read_text()).text)
    for words in (*(b.replace("_", " ") for b in BASELINES), "real replicate", "Effect explained", "Effect slope"):
        assert text.count(words) >= len(FEATURIZERS)
    assert "↓" in text and "→ 1" in text and "solver.nfe" in text


def test_a_dose_ladder_starts_with_the_control_and_ascends(tmp_path):
    treatments = [("drug", dose, None) for dose in (10.0, 0.1, 1.0)]
    page = write_report(judgement(tmp_path, treatments), tmp_path / "r.html").read_text()
    ladder = page[page.index('id="doses"') : page.index('id="effects"')]
    assert re.findall(r"<th>(.*?)</th>", ladder) == ["", "control", "0.1 µM", "1 µM", "10 µM"]


@pytest.mark.parametrize("missing", [["dose_um", "moa"], []])
def test_a_screen_without_doses_or_mechanisms(tmp_path, missing):
    given = judgement(tmp_path, [("a", None, None), ("b", None, None)])
    given = replace(given, effects=given.effects.drop(missing))
    assert "No compound has two or more doses" in write_report(given, tmp_path / "r.html").read_text()


def test_what_could_not_be_measured_is_called_so(tmp_path):
    given = judgement(tmp_path, [("a", None, None)])
    columns = ("true_effect", "generated_effect", "effect_explained", "lower", "upper")
    nothing = given.effects.with_columns(pl.lit(np.nan).alias(column) for column in columns)
    rows = [row(g, m, f, None, floor=None, ceiling=None) for g in GENERATORS for m in METRICS for f in FEATURIZERS]
    given = replace(given, rows=rows, effects=nothing, verdict={"passes": False, "sentences": [], "warnings": []})
    text = " ".join(_Parsed(write_report(given, tmp_path / "r.html").read_text()).text)
    assert "n/a" in text and not re.search(r"\b(nan|NaN|None|null)\b", text)


def test_many_treatments_stay_small_and_the_rest_is_named(tmp_path):
    treatments = [(f"drug {i}", dose, None) for i in range(60) for dose in (1.0, 3.0)]
    given = judgement(tmp_path, treatments, ("week1", "week2"), shape=(2, 40, 60))
    path = write_report(given, tmp_path / "r.html")
    text = " ".join(_Parsed(path.read_text()).text)
    assert path.stat().st_size < 6e6  # of pure noise, which no PNG makes smaller
    assert re.search(r"Shown:\s+20\s+of\s+240\s+strata", text) and re.search(r"of\s+60\s+with two or more doses", text)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 8, 8), "uint8"), ((12, 16, 24), "uint16"), ((2, 300, 200), "uint16")]
)
def test_any_number_of_channels_sizes_and_depths(tmp_path, shape, dtype):
    path = write_report(judgement(tmp_path, TREATMENTS[:2], shape=shape, dtype=dtype), tmp_path / "r.html")
    page = path.read_text()
    assert ("shrunk to" in page) == (max(shape[1:]) > 128) and path.stat().st_size < 6e6


def test_a_scaled_interval_follows_the_direction_of_the_metric():
    def scaled(metric, value, lower, upper, floor, ceiling, score):
        given = row(MODEL, metric, "f", value, floor=floor, ceiling=ceiling, scaled=score, lower=lower, upper=upper)
        cell = metric_lines([given], "f", BASELINES)[0].scaled
        return pytest.approx((cell.lower, cell.value, cell.upper))

    assert scaled("fd", 4.0, 3.0, 6.0, 5.0, 1.0, 0.25) == (-0.25, 0.25, 0.5)
    assert scaled("effect_slope", 0.8, 0.7, 1.1, 0.5, 0.9, 0.75) == (0.5, 0.75, 1.25)


def test_numbers_are_short_and_readable():
    given = (None, float("nan"), 0.0, -0.1234, 0.01234, 12.34, 1234.5, -1e-5, float("inf"))
    assert [number(x) for x in given] == ["n/a", "n/a", "0.00", "−0.12", "0.012", "12.3", "1,234", "−1.0e−05", "∞"]
