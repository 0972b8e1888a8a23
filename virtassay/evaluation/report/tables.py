"""Tables of the report: numbers as people read them, each metric between floor and ceiling, and fingerprints."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import polars as pl

from virtassay.evaluation.glossary import Description, Glossary
from virtassay.evaluation.judgement import CEILING, MODEL, Row
from virtassay.evaluation.report import plots

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
    metric: Description
    model: Cell
    scaled: Cell
    floor: float
    ceiling: Cell
    baselines: tuple[tuple[str, Cell, bool], ...]  # name, cell, whether it is the floor
    n: str


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
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str).strip("[]")
    return text if len(text) <= 300 else text[:300] + "…"


def name(identifier: str) -> str:
    """Write an identifier as words: "control_copy" → "control copy"."""
    return identifier.replace("_", " ")


def in_order(names: Iterable[str], leave_out: Sequence[str] = ()) -> list[str]:
    """Each name once, in the order of its first appearance."""
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


def lane(rows: Sequence[Row], featurizer: str, floors: Sequence[str]) -> plots.Lane:
    """The main figure's lane of one featurizer, from pooled rows."""
    marks = [_mark(generator, _find(rows, generator, EXPLAINED, featurizer)) for generator in floors]
    marks = sorted((mark for mark in marks if math.isfinite(mark.value)), key=lambda mark: -mark.value)
    return plots.Lane(
        name(featurizer),
        _mark(MODEL, _find(rows, MODEL, EXPLAINED, featurizer)),
        marks[0] if marks else plots.Mark("none", math.nan),
        tuple(marks[1:]),
        _mark(CEILING, _find(rows, CEILING, EXPLAINED, featurizer)),
    )


def metric_lines(rows: Sequence[Row], featurizer: str, baselines: Sequence[str], glossary: Glossary) -> list[Line]:
    """One line for each metric of a featurizer, from pooled rows."""
    lines: list[Line] = []
    for metric in in_order(row["metric"] for row in rows if row["featurizer"] == featurizer):
        row = _find(rows, MODEL, metric, featurizer) or {}
        known = glossary[metric]
        ceiling = _cell(_find(rows, CEILING, metric, featurizer))
        if math.isnan(ceiling.value):
            ceiling = Cell(_float(row.get("ceiling")))
        floor, model = _float(row.get("floor")), _cell(row or None)
        cells = [(baseline, _cell(_find(rows, baseline, metric, featurizer))) for baseline in baselines]
        lines.append(
            Line(
                metric,
                known,
                model,
                _scaled(known, _float(row.get("scaled")), model, floor, ceiling.value),
                floor,
                ceiling,
                tuple((baseline, cell, math.isclose(cell.value, floor, rel_tol=1e-9)) for baseline, cell in cells),
                f"{row.get('n_real', 'n/a')} / {row.get('n_generated', 'n/a')}",
            )
        )
    return lines


def _scaled(metric: Description, score: float, model: Cell, floor: float, ceiling: float) -> Cell:
    """The scaled score with the interval that the model's interval gives it; floor and ceiling are held fixed."""
    ends = [model.lower, model.upper]
    if not all(map(math.isfinite, (score, floor, ceiling, *ends))):
        return Cell(score)
    if metric.best is not None:  # the best value may lie inside the interval
        ends.append(min(max(metric.best, model.lower), model.upper))
    low, high = metric.goodness(floor), metric.goodness(ceiling)
    if high == low:
        return Cell(score)
    scores = [(metric.goodness(end) - low) / (high - low) for end in ends]
    return Cell(score, min(scores), max(scores))


def with_all_columns(effects: pl.DataFrame) -> pl.DataFrame:
    """Add the columns a screen may lack (dose, mechanism) as nulls, and turn every NaN into a null."""
    optional = {"dose_um": pl.Float64, "moa": pl.String, "lower": pl.Float64, "upper": pl.Float64}
    effects = effects.with_columns(
        pl.lit(None, dtype).alias(column)
        if column not in effects.columns
        else pl.col(column).cast(dtype)  # a column that is all null has no type
        for column, dtype in optional.items()
    )
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
    prints: list[dict[str, Any]] = [
        dict(flat(row.get("fingerprint") or {})) for row in rows if row["featurizer"] == featurizer
    ]
    table: list[tuple[str, str]] = []
    for key in in_order(key for entry in prints for key in entry):
        values = in_order(entry[key] for entry in prints if key in entry)
        shown = " | ".join(values[:6])
        table.append((key, shown if len(values) <= 6 else f"{shown} | … {len(values)} in all, see metrics.json"))
    return table


def flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested dicts into (dotted key, text) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            pairs += flat(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", plain(value)))
    return pairs
