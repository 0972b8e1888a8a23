"""The report: one HTML file that says how far generated images can be trusted, and shows why.

It holds everything it needs (pictures as data URIs, no script) and loads nothing. Text from the index and from folders
is escaped. Numbers are never recomputed here: they are those of `metrics.json`.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import polars as pl

from virtassay.evaluation import plots, sheets
from virtassay.evaluation.glossary import METRICS, Metric
from virtassay.evaluation.judgement import BASELINES, CEILING, MODEL, POOLED, Judgement, Row

GALLERY = 16  # treatments shown small
LADDERS = 5
PIXELS = 700_000  # of the gallery, and of all ladders: some 2 MB each
TREATMENTS = 300  # lines of the table of treatments
EXPLAINED = "effect_explained"


@dataclass(frozen=True)
class Cell:
    """A number of a table, with its interval."""

    value: float = math.nan
    lower: float = math.nan
    upper: float = math.nan


@dataclass(frozen=True)
class Line:
    """One metric in one featurizer: the model, what it is compared with, and the scaled score with its interval."""

    name: str
    metric: Metric
    model: Cell
    scaled: Cell
    floor: float
    ceiling: Cell
    baselines: tuple[tuple[str, Cell, bool], ...]  # name, cell, whether it is the floor
    n: str


def write_report(judgement: Judgement, path: Path) -> Path:
    """Write the judgement as one self-contained HTML file and return its path; the folder is made if it is missing."""
    path = Path(path)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("virtassay.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, plain=plain, name=name)
    text = environment.get_template("report.html.j2").render(_content(judgement))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path


def _content(judgement: Judgement) -> dict[str, Any]:
    effects = _with_all_columns(judgement.effects)
    pooled = [row for row in judgement.rows if row["stratum"] == POOLED]
    featurizers = _in_order(row["featurizer"] for row in pooled)
    strata = _strata(effects)
    studio = sheets.open_studio(judgement.real, judgement.generated)
    large = _large_sheets(studio, strata)
    small = _small_sheets(studio, strata, {stratum["treatment"] for _, stratum in large})
    lanes = [_lane(pooled, featurizer) for featurizer in featurizers]
    baselines = _in_order([*BASELINES, *(row["generator"] for row in pooled)], leave_out=(MODEL, CEILING))
    tables = [(featurizer, _lines(pooled, featurizer, baselines)) for featurizer in featurizers]
    ladders, n_ladders = _ladders(studio, effects)
    used = _in_order(row["metric"] for row in pooled)
    return {
        "verdict": judgement.verdict,
        "warnings": [str(warning) for warning in judgement.verdict.get("warnings", [])],
        "names": (judgement.real.info.name, judgement.generated.info.name),
        "counts": {
            "real": int((~judgement.real.index["is_control"]).sum()),
            "generated": int((~judgement.generated.index["is_control"]).sum()),
            "controls": int(judgement.real.index["is_control"].sum()),
            "strata": strata.height,
            "treatments": strata["treatment"].n_unique(),
            "batches": strata["batch"].n_unique(),
        },
        "channels": judgement.real.info.channels,
        "main_figure": plots.effect_explained_figure(lanes),
        "lanes": [(lane, _verdict_of(judgement, lane.featurizer)) for lane in lanes],
        "large": [(sheet, _facts(stratum)) for sheet, stratum in large],
        "small": [(sheet, _facts(stratum)) for sheet, stratum in small],
        "ladders": ladders,
        "n_ladders": n_ladders,
        "scatter": plots.effect_scatter(clouds) if (clouds := _clouds(effects)) else None,
        "baselines": baselines,
        "tables": tables,
        "treatments": _treatments(effects, strata),
        "effect_featurizers": _in_order(effects["featurizer"]),
        "glossary": [METRICS[metric] for metric in used if metric in METRICS],
        "fingerprints": [(featurizer, _fingerprint(judgement.rows, featurizer)) for featurizer in featurizers],
        "provenance": _flat(judgement.provenance),
    }


def number(value: Any) -> str:
    """Write a number for people: three figures or fewer, a true minus sign, "n/a" for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    x = float(value)
    if math.isinf(x):
        text = "∞" if x > 0 else "-∞"
    elif abs(x) >= 1e6 or 0 < abs(x) < 1e-3:
        text = f"{x:.1e}"
    elif abs(x) >= 100:
        text = f"{x:,.0f}"
    elif abs(x) >= 10:
        text = f"{x:.1f}"
    else:
        text = f"{x:.2f}" if abs(x) >= 0.1 or x == 0 else f"{x:.3f}"
    return text.replace("-", "−")


def plain(value: Any) -> str:
    """Write any value of a fingerprint or a provenance on one line, cut after 300 characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 300 else text[:300] + "…"


def name(identifier: str) -> str:
    """Write an identifier as words: "control_copy" → "control copy"."""
    return identifier.replace("_", " ")


def _in_order(names: Iterable[str], leave_out: Sequence[str] = ()) -> list[str]:
    return [x for x in dict.fromkeys(names) if x not in leave_out]


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _find(rows: Iterable[Row], generator: str, metric: str, featurizer: str) -> Row | None:
    wanted = (generator, metric, featurizer)
    return next((row for row in rows if (row["generator"], row["metric"], row["featurizer"]) == wanted), None)


def _cell(row: Row | None) -> Cell:
    return Cell() if row is None else Cell(_float(row["value"]), _float(row.get("lower")), _float(row.get("upper")))


def _mark(label: str, row: Row | None) -> plots.Mark:
    cell = _cell(row)
    return plots.Mark(label, cell.value, cell.lower, cell.upper)


def _lane(rows: Sequence[Row], featurizer: str) -> plots.Lane:
    generators = _in_order((row["generator"] for row in rows), leave_out=(MODEL, CEILING))
    marks = [_mark(generator, _find(rows, generator, EXPLAINED, featurizer)) for generator in generators]
    marks = sorted((mark for mark in marks if math.isfinite(mark.value)), key=lambda mark: -mark.value)
    return plots.Lane(
        name(featurizer),
        _mark(MODEL, _find(rows, MODEL, EXPLAINED, featurizer)),
        marks[0] if marks else plots.Mark("none", math.nan),
        tuple(marks[1:]),
        _mark(CEILING, _find(rows, CEILING, EXPLAINED, featurizer)),
    )


def _verdict_of(judgement: Judgement, featurizer: str) -> bool | None:
    by_name = {name(key): value for key, value in judgement.verdict.get("per_featurizer", {}).items()}
    entry: Mapping[str, Any] = by_name.get(featurizer, {})
    return entry.get("apart")


def _lines(rows: Sequence[Row], featurizer: str, baselines: Sequence[str]) -> list[Line]:
    lines: list[Line] = []
    for metric in _in_order(row["metric"] for row in rows if row["featurizer"] == featurizer):
        row = _find(rows, MODEL, metric, featurizer) or {}
        ceiling = _cell(_find(rows, CEILING, metric, featurizer))
        if math.isnan(ceiling.value):
            ceiling = Cell(_float(row.get("ceiling")))
        floor, model = _float(row.get("floor")), _cell(row or None)
        cells = [(baseline, _cell(_find(rows, baseline, metric, featurizer))) for baseline in baselines]
        span = ceiling.value - floor
        ends = sorted((end - floor) / span if span else math.nan for end in (model.lower, model.upper))
        lines.append(
            Line(
                metric,
                METRICS.get(metric, Metric(name(metric), "", "")),
                model,
                Cell(_float(row.get("scaled")), *ends),
                floor,
                ceiling,
                tuple((baseline, cell, math.isclose(cell.value, floor, rel_tol=1e-9)) for baseline, cell in cells),
                f"{row.get('n_real', 'n/a')} / {row.get('n_generated', 'n/a')}",
            )
        )
    return lines


def _with_all_columns(effects: pl.DataFrame) -> pl.DataFrame:
    """Add the columns a screen may lack (dose, mechanism) as nulls, and turn every NaN into a null."""
    optional = {"dose_um": pl.Float64, "moa": pl.String, "lower": pl.Float64, "upper": pl.Float64}
    effects = effects.with_columns(
        pl.lit(None, dtype).alias(column)
        if column not in effects.columns
        else pl.col(column).cast(dtype)  # a column that is all null has no type
        for column, dtype in optional.items()
    )
    return effects.with_columns(pl.col(pl.Float64, pl.Float32).fill_nan(None))


def _strata(effects: pl.DataFrame) -> pl.DataFrame:
    """One line a stratum: its effects averaged over featurizers, largest true effect first."""
    return (
        effects.group_by("batch", "treatment", maintain_order=True)
        .agg(
            pl.col("perturbation", "dose_um", "moa", "n_real", "n_generated").first(),
            pl.col("true_effect", "generated_effect", EXPLAINED).mean(),
        )
        .sort("true_effect", descending=True, nulls_last=True, maintain_order=True)
    )


def _facts(stratum: Mapping[str, Any]) -> str:
    parts = [
        f"effect explained {number(stratum[EXPLAINED])}",
        f"effect {number(stratum['generated_effect'])} generated, {number(stratum['true_effect'])} true (s.d.)",
        f"n = {stratum['n_real']} real, {stratum['n_generated']} generated",
    ]
    return " · ".join([stratum["moa"]] * bool(stratum["moa"]) + parts)


def _large_sheets(studio: sheets.Studio, strata: pl.DataFrame) -> list[tuple[sheets.Sheet, dict[str, Any]]]:
    """Choose by rule, never by eye: strongest, median and worst explained; a treatment is shown once where possible."""
    by_effect = strata.filter(pl.col("true_effect").is_not_null()).to_dicts()
    ranked = strata.filter(pl.col(EXPLAINED).is_not_null()).sort(EXPLAINED, maintain_order=True).to_dicts()
    middle = sorted(ranked, key=lambda stratum: abs(ranked.index(stratum) - len(ranked) // 2))
    rules = (("Strongest real effect", by_effect), ("Median", middle), ("Worst explained", ranked))
    chosen: list[tuple[sheets.Sheet, dict[str, Any]]] = []
    for reason, candidates in sorted(rules, key=lambda rule: rule[0] == "Median"):  # the median gives way
        seen = {stratum["treatment"] for _, stratum in chosen}
        fresh = [stratum for stratum in candidates if stratum["treatment"] not in seen]
        if fresh:
            stratum = fresh[0]
            sheet = sheets.contact_sheet(studio, reason, stratum["treatment"], stratum["batch"], per_channel=True)
            chosen.append((sheet, stratum))
    order = [reason for reason, _ in rules]
    return sorted(chosen, key=lambda pair: order.index(pair[0].reason))


def _small_sheets(
    studio: sheets.Studio, strata: pl.DataFrame, shown: set[str]
) -> list[tuple[sheets.Sheet, dict[str, Any]]]:
    """Show every other treatment once, evenly spaced over the strength of the effect when there are too many."""
    rest = strata.filter(~pl.col("treatment").is_in(list(shown))).unique("treatment", maintain_order=True).to_dicts()
    most = max(2, min(GALLERY, PIXELS // (12 * studio.size**2)))
    taken = np.unique(np.linspace(0, len(rest) - 1, min(most, len(rest))).round().astype(int))
    return [
        (sheets.small_sheet(studio, rest[i]["treatment"], rest[i]["batch"]), rest[i]) for i in (int(i) for i in taken)
    ]


def _ladders(studio: sheets.Studio, effects: pl.DataFrame) -> tuple[list[tuple[sheets.Ladder, str]], int]:
    """Each compound with two or more doses in one batch (its fullest one), strongest first, with its dose curves."""
    dosed = effects.filter(pl.col("dose_um").is_not_null() & (pl.col("dose_um") > 0))
    series = (
        dosed.group_by("perturbation", "batch", maintain_order=True)
        .agg(pl.col("treatment").n_unique().alias("doses"), pl.col("n_real").sum(), pl.col("true_effect").max())
        .filter(pl.col("doses") > 1)
        .sort("doses", "n_real", descending=True, maintain_order=True)
        .unique("perturbation", keep="first", maintain_order=True)
        .sort("true_effect", descending=True, nulls_last=True, maintain_order=True)
        .to_dicts()
    )
    most = max(1, min(LADDERS, PIXELS // (24 * studio.size**2)))
    ladders: list[tuple[sheets.Ladder, str]] = []
    for entry in series[:most]:
        one = pl.col("perturbation") == entry["perturbation"]
        own = dosed.filter(one & (pl.col("batch") == entry["batch"])).sort("dose_um", "treatment")
        combined = " + " in entry["perturbation"]
        steps = own.unique("treatment", maintain_order=True).select("treatment", "dose_um").iter_rows()
        labelled = [(treatment if combined else f"{dose:g} µM", treatment) for treatment, dose in steps]
        ladder = sheets.dose_ladder(studio, entry["perturbation"], entry["batch"], labelled)
        columns = ("dose_um", "true_effect", "generated_effect")
        curves = [
            plots.DoseCurve(name(featurizer), *(table[column].cast(pl.Float64).to_numpy() for column in columns))
            for featurizer in _in_order(own["featurizer"])
            for table in (own.filter(pl.col("featurizer") == featurizer),)
        ]
        ladders.append((ladder, plots.dose_response(curves)))
    return ladders, len(series)


def _clouds(effects: pl.DataFrame) -> list[plots.Cloud]:
    batches = effects["batch"].n_unique()
    clouds: list[plots.Cloud] = []
    for featurizer in _in_order(effects["featurizer"]):
        own = effects.filter(pl.col("featurizer") == featurizer)
        names = [f"{t}, {b}" if batches > 1 else t for t, b in own.select("treatment", "batch").iter_rows()]
        true, generated = (own[c].cast(pl.Float64).to_numpy() for c in ("true_effect", "generated_effect"))
        clouds.append(plots.Cloud(name(featurizer), true, generated, names))
    return clouds


def _treatments(effects: pl.DataFrame, strata: pl.DataFrame) -> list[dict[str, Any]]:
    """Lines of the table of treatments, worst first: the facts of a stratum, and its effects in each featurizer."""
    by_key = {(row["batch"], row["treatment"], row["featurizer"]): row for row in effects.to_dicts()}
    featurizers = _in_order(effects["featurizer"])
    worst_first = strata.sort(EXPLAINED, nulls_last=False, maintain_order=True).head(TREATMENTS)
    return [
        {**line, "cells": [by_key.get((line["batch"], line["treatment"], featurizer)) for featurizer in featurizers]}
        for line in worst_first.to_dicts()
    ]


def _fingerprint(rows: Sequence[Row], featurizer: str) -> list[tuple[str, str]]:
    """What was the same for every number of a featurizer, and the range of what was not."""
    prints: list[dict[str, Any]] = [
        dict(_flat(row.get("fingerprint") or {})) for row in rows if row["featurizer"] == featurizer
    ]
    table: list[tuple[str, str]] = []
    for key in _in_order(key for entry in prints for key in entry):
        values = _in_order(entry[key] for entry in prints if key in entry)
        shown = ", ".join(values[:6])
        table.append((key, shown if len(values) <= 6 else f"{shown}, … {len(values)} values in all (in metrics.json)"))
    return table


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested dicts into (dotted key, text) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            branch: Mapping[str, Any] = value
            pairs += _flat(branch, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", plain(value)))
    return pairs
