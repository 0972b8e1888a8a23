"""Tables of the report: each metric between floor and ceiling, treatments, fingerprints, and the last self-test."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from virtassay.evaluation.glossary import Description, Glossary
from virtassay.evaluation.judgement import CEILING, MODEL, Row
from virtassay.evaluation.report.plots import EffectExplained, Estimate
from virtassay.evaluation.selftest.caught import GLOSSARY
from virtassay.evaluation.selftest.last_run import LastRun
from virtassay.report.numbers import flat, name, number

TREATMENTS = 300  # lines of the table of treatments
EXPLAINED = "effect_explained"
LabelledLines = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Line:
    """One metric in one featurizer: the model, what it is compared with, and the scaled score with its interval."""

    name: str
    metric: Description
    model: Estimate
    scaled: Estimate
    floor: float
    ceiling: Estimate
    baselines: tuple[tuple[str, Estimate, bool], ...]  # name, value, whether it is the floor
    n: str


def in_order(names: Iterable[str], leave_out: Sequence[str] = ()) -> list[str]:
    """Each name once, in the order of its first appearance."""
    return [x for x in dict.fromkeys(names) if x not in leave_out]


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _find(rows: Iterable[Row], generator: str, metric: str, featurizer: str) -> Row | None:
    key = (generator, metric, featurizer)
    return next((row for row in rows if (row["generator"], row["metric"], row["featurizer"]) == key), None)


def estimate(row: Mapping[str, Any] | None, label: str = "") -> Estimate:
    """The value of a row with its interval; NaN for what it lacks, and where there is no row."""
    return Estimate(*(_float((row or {}).get(key)) for key in ("value", "lower", "upper")), label=label)


def effect_explained(rows: Sequence[Row], featurizer: str, floors: Sequence[str]) -> EffectExplained:
    """The main figure's line of one featurizer, from pooled rows; floors: the trivial baselines."""
    explained = {g: estimate(_find(rows, g, EXPLAINED, featurizer), g) for g in (MODEL, *floors, CEILING)}
    baselines = [explained[baseline] for baseline in floors if math.isfinite(explained[baseline].value)]
    best, *others = sorted(baselines, key=lambda baseline: -baseline.value) or [Estimate(label="none")]
    return EffectExplained(name(featurizer), explained[MODEL], best, tuple(others), explained[CEILING])


def metric_lines(rows: Sequence[Row], featurizer: str, baselines: Sequence[str], glossary: Glossary) -> list[Line]:
    """One line for each metric of a featurizer, from pooled rows."""
    lines: list[Line] = []
    for metric in in_order(row["metric"] for row in rows if row["featurizer"] == featurizer):
        row = _find(rows, MODEL, metric, featurizer) or {}
        described = glossary[metric]
        ceiling = estimate(_find(rows, CEILING, metric, featurizer))
        if math.isnan(ceiling.value):
            ceiling = Estimate(_float(row.get("ceiling")))
        floor, model = _float(row.get("floor")), estimate(row)
        estimates = [(baseline, estimate(_find(rows, baseline, metric, featurizer))) for baseline in baselines]
        scaled = _scaled(described, _float(row.get("scaled")), model, floor, ceiling.value)
        compared = tuple((b, x, math.isclose(x.value, floor, rel_tol=1e-9)) for b, x in estimates)
        n = f"{row.get('n_real', 'n/a')} / {row.get('n_generated', 'n/a')}"
        lines.append(Line(metric, described, model, scaled, floor, ceiling, compared, n))
    return lines


def _scaled(metric: Description, score: float, model: Estimate, floor: float, ceiling: float) -> Estimate:
    """The scaled score with the interval that the model's interval gives it; floor and ceiling are held fixed."""
    ends = [model.lower, model.upper]
    if not all(map(math.isfinite, (score, floor, ceiling, *ends))):
        return Estimate(score, label=metric.label)
    if metric.best is not None:  # the best value may lie inside the interval
        ends.append(min(max(metric.best, model.lower), model.upper))
    low, high = metric.goodness(floor), metric.goodness(ceiling)
    if high == low:
        return Estimate(score, label=metric.label)
    scores = [(metric.goodness(end) - low) / (high - low) for end in ends]
    return Estimate(score, min(scores), max(scores), metric.label)


def with_all_columns(effects: pl.DataFrame) -> pl.DataFrame:
    """Add the columns a screen may lack (dose, mechanism) as nulls, and turn every NaN into a null."""
    optional = pl.Schema({"dose_um": pl.Float64, "moa": pl.String, "lower": pl.Float64, "upper": pl.Float64})
    lacking = [pl.lit(None).alias(column) for column in optional if column not in effects.columns]
    effects = effects.with_columns(lacking).cast(optional)  # a column that is all null has no type
    return effects.with_columns(pl.col(pl.Float64, pl.Float32).fill_nan(None))


def treatment_lines(effects: pl.DataFrame, strata: pl.DataFrame) -> list[dict[str, Any]]:
    """Lines of the table of treatments, worst first: the facts of a stratum, and its effects in each featurizer."""
    by_key = {(row["batch"], row["treatment"], row["featurizer"]): row for row in effects.to_dicts()}
    featurizers = in_order(effects["featurizer"])
    worst_first = strata.sort(EXPLAINED, nulls_last=False, maintain_order=True).head(TREATMENTS)
    return [
        {**line, "cells": [by_key.get((line["batch"], line["treatment"], featurizer)) for featurizer in featurizers]}
        for line in worst_first.to_dicts()
    ]


def fingerprint(rows: Sequence[Row], featurizer: str) -> list[tuple[str, str]]:
    """What was the same for every number of a featurizer, and the range of what was not."""
    fingerprints: list[dict[str, Any]] = [
        dict(flat(row.get("fingerprint") or {})) for row in rows if row["featurizer"] == featurizer
    ]
    table: list[tuple[str, str]] = []
    for key in in_order(key for entry in fingerprints for key in entry):
        values = in_order(entry[key] for entry in fingerprints if key in entry)
        shown = " | ".join(values[:6])
        table.append((key, shown if len(values) <= 6 else f"{shown} | … {len(values)} in all, see metrics.json"))
    return table


@dataclass(frozen=True)
class SelfTestTable:
    """generators: (name, grade) of each column. lines: a metric's label and, for each generator, ●, ○ or nothing.

    ●: the metric caught it, and the verdict because of it; ○: the metric alone. made: date, commit and command.
    dials: the faults that were dialled; dial_lines: a metric's label and its rank correlation with each.
    """

    made: str
    generators: tuple[tuple[str, str], ...]
    lines: LabelledLines
    dials: tuple[str, ...]
    dial_lines: LabelledLines


def selftest_table(run: LastRun) -> SelfTestTable:
    """Lay out the last full self-test, a line a metric: who is caught by what, and what follows the truth."""
    mark = pl.when("verdict").then(pl.lit("●")).when("caught").then(pl.lit("○")).otherwise(pl.lit(""))
    rho = pl.col("rho").map_elements(number, pl.String)
    generators = tuple(run.caught.select("generator", "grade").unique(maintain_order=True).iter_rows())
    lines = _labelled(run.caught.select("metric", "generator", mark))
    dial_lines = _labelled(run.dials.select("metric", "dial", rho))
    return SelfTestTable(run.made, generators, lines, tuple(in_order(run.dials["dial"])), dial_lines)


def _labelled(cells: pl.DataFrame) -> LabelledLines:
    """Lay out rows of metric, column, text: a line for each metric, "" where it has no text."""
    metric, column, text = cells.columns
    table = cells.pivot(column, index=metric, values=text, maintain_order=True).fill_null("")
    return tuple((GLOSSARY[name].label, tuple(texts)) for name, *texts in table.iter_rows())
