"""Sentences of the report: right and wrong of each treatment, what was not looked at, what brightness explains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from virtassay.evaluation.judgement import POOLED, Judgement
from virtassay.evaluation.metrics.findings import NUMBERS
from virtassay.evaluation.reservations import RESERVATIONS

NOTHING_CLEAR = "The real effect is no larger than its noise: there is nothing to get right or wrong."
ALL_RIGHT = "All of it looks right."
NOT_MEASURED = "The generated images could not be measured."
GUESSING = 0.5  # the AUC of a guess
LITTLE = 0.1  # an AUC this near to guessing leaves nothing to explain
_ranges = {reservation.metric.name: reservation for reservation in RESERVATIONS}
_slope, _spread = _ranges["effect_slope"], _ranges["variance_ratio"]


@dataclass(frozen=True)
class Judged:
    """A number of a treatment: right from `low` to `high`, wrong below `wrong_below` or above `high`, else neither."""

    column: str
    heading: str
    low: float
    high: float
    wrong_below: float
    right: str
    below: str
    above: str = ""


JUDGED = (
    Judged("effect_explained", "Effect explained", 0.5, math.inf, 0.2, "the effect", "hardly any of the effect"),
    Judged("slope", "Strength", _slope.low, _slope.high, _slope.low, "strength", "too weak", "too strong"),
    Judged("direction", "Direction", 0.7, math.inf, 0.4, "direction", "wrong direction"),
    Judged("pds", "Told apart", 0.8, math.inf, 0.6, "told apart from others", "confused with others"),
    Judged(
        *("variance_ratio", "Spread", _spread.low, _spread.high, _spread.low),
        *("spread of cells", "cells too uniform", "cells too varied"),
    ),
)


@dataclass(frozen=True)
class Finding:
    """One treatment: its facts and medians over featurizers (`row`), how each number is judged, and that in words."""

    row: dict[str, Any]
    marks: tuple[tuple[Judged, float | None, bool | None], ...]  # the number, right or wrong (None: neither)
    sentence: str


def treatments(effects: pl.DataFrame, findings: pl.DataFrame) -> list[Finding]:
    """One finding a treatment, worst effect explained first; those without a clear real effect come last.

    Medians over featurizers (of effects: over batches too); clear in at least half of the featurizers. effects has
    nulls and no NaN.
    """
    facts = effects.group_by("treatment").agg(
        pl.col("perturbation", "dose_um", "moa").first(),
        pl.col("effect_explained", "true_effect", "generated_effect").median(),
        pl.col("batch").n_unique().alias("batches"),
    )
    medians = findings.group_by("treatment").agg(
        pl.col(NUMBERS).fill_nan(None).median(), (pl.col("clear").mean() >= 0.5).alias("clear")
    )
    rows = (
        facts.join(medians, on="treatment", how="left")
        .with_columns(pl.col("clear").fill_null(value=False))
        .sort(~pl.col("clear"), "effect_explained", "treatment", nulls_last=False)
    )
    return [_finding(row) for row in rows.to_dicts()]


def _finding(row: dict[str, Any]) -> Finding:
    marks = tuple((judged, row[judged.column], _right(judged, row)) for judged in JUDGED)
    if not row["clear"]:
        return Finding(row, marks, NOTHING_CLEAR)
    if row["slope"] is None:
        return Finding(row, marks, NOT_MEASURED)
    right = [judged.right for judged, _, good in marks if good]
    wrong = [
        judged.above if value is not None and value > judged.high else judged.below
        for judged, value, good in marks
        if good is False
    ]
    between = [judged.right for judged, value, good in marks if good is None and value is not None]
    if not wrong and not between:
        return Finding(row, marks, ALL_RIGHT)
    parts = (("Wrong", wrong), ("In part", between), ("Right", right))
    return Finding(row, marks, " ".join(f"{label}: {', '.join(named)}." for label, named in parts if named))


def _right(judged: Judged, row: dict[str, Any]) -> bool | None:
    value = row[judged.column]
    if value is None or not row["clear"]:
        return None
    if value < judged.wrong_below or value > judged.high:
        return False
    return True if value >= judged.low else None


def not_looked_at(judgement: Judgement) -> list[str]:
    """Sentences that name the checks nobody made: not asked for, or asked for and without an answer here."""
    measured = {row["metric"] for row in judgement.rows if row["stratum"] == POOLED}
    names: Sequence[str] = judgement.verdict["unchecked"]
    label = {name: reservation.metric.label for name, reservation in _ranges.items()}
    left_out, unanswered = [n for n in names if n not in measured], [n for n in names if n in measured]
    sentences = (
        ("The verdict did not look at: {}. Judge again with evaluation=full.", left_out),
        ("The verdict asked, and these images cannot answer: {}.", unanswered),
    )
    return [text.format(", ".join(label[n] for n in named)) for text, named in sentences if named]


def what_explains(confounders: pl.DataFrame) -> list[str]:
    """A sentence for each confounder: the medians of its AUCs, of real and of generated images, and what they say."""
    sentences: list[str] = []
    columns = ("all", "alone", "without")
    medians = confounders.group_by("confounder", "side", maintain_order=True).agg(
        pl.col(columns).fill_nan(None).median()
    )
    for name in confounders["confounder"].unique(maintain_order=True):
        parts: list[str] = []
        for side in ("real", "generated"):
            own = medians.filter((pl.col("confounder") == name) & (pl.col("side") == side))
            every, alone, without = own.select(columns).row(0) if own.height else (None, None, None)
            if every is None or alone is None or without is None:
                parts.append(f"{name} cannot be asked about in the {side} images (too few wells or images)")
                continue
            parts.append(
                f"{side} images are told from controls with an AUC of {every:.2f}, by {name} alone with {alone:.2f}, "
                f"and with {name} taken away with {without:.2f}: {_explains(name, every, without)}"
            )
        sentences.append(" ".join(f"{text[0].upper()}{text[1:]}." for text in parts))
    return sentences


def _explains(name: str, every: float, without: float) -> str:
    if every - GUESSING < LITTLE:
        return "there is no clear effect to explain"
    left = (without - GUESSING) / (every - GUESSING)
    return f"the effect is {'mostly' if left < 1 / 3 else 'partly' if left < 2 / 3 else 'more than'} {name}"
