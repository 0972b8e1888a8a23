"""The report in Markdown: the verdict, the main numbers and the treatments, for a pull request or a notebook."""

import re
from collections.abc import Iterable, Sequence

from virtassay.evaluation.judgement import POOLED, Judgement
from virtassay.evaluation.report import sentences, tables
from virtassay.evaluation.report.tables import Line
from virtassay.report.numbers import flat, name, number

SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def markdown(judgement: Judgement) -> str:
    """Verdict, reservations, what was not looked at, the pooled metrics, what confounders explain, every treatment."""
    pooled = [row for row in judgement.rows if row["stratum"] == POOLED]
    featurizers = tables.in_order(row["featurizer"] for row in pooled)
    lines = {
        f: {line.name: line for line in tables.metric_lines(pooled, f, (), judgement.glossary)} for f in featurizers
    }
    metrics = tables.in_order(row["metric"] for row in pooled)
    findings = sentences.treatments(tables.with_all_columns(judgement.effects), judgement.findings)
    verdict = judgement.verdict
    parts = [
        f"# {verdict['grade']}: {_text(judgement.generated.info.name)} against {_text(judgement.real.info.name)}",
        *map(_text, verdict["sentences"]),
        *_section("Reservations", [reservation["sentence"] for reservation in verdict["reservations"]]),
        *_section("Not looked at", sentences.not_looked_at(judgement)),
        "## Numbers",
        "Model, 95 % interval, and what it lies between: the best trivial baseline (floor) and a real replicate "
        "(ceiling).",
        _table(
            ("Metric", "", *map(name, featurizers)),
            (_numbers([lines[f].get(metric) for f in featurizers]) for metric in metrics),
        ),
        *_section("Explained by brightness or cell count?", sentences.what_explains(judgement.confounders)),
        "## Treatments, worst first",
        _table(
            ("Treatment", *(judged.heading for judged in sentences.JUDGED), "In words"),
            ((f.row["treatment"], *(number(value) for _, value, _ in f.marks), f.sentence) for f in findings),
        ),
        *_section("Warnings", verdict["warnings"]),
        "## Provenance",
        _table(("What", "Value"), flat(judgement.provenance)),
    ]
    return "\n\n".join(parts) + "\n"


def _numbers(lines: Sequence[Line | None]) -> list[str]:
    metric = next(line.metric for line in lines if line)
    cells = [
        f"{number(line.model.value)}{_interval(line.model.lower, line.model.upper)}, "
        f"floor {number(line.floor)}, ceiling {number(line.ceiling.value)}"
        if line
        else "n/a"
        for line in lines
    ]
    return [metric.label, metric.better, *cells]


def _interval(lower: float, upper: float) -> str:
    return f" ({number(lower)} to {number(upper)})" if lower <= upper else ""  # NaN: no interval was computed


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {_text(sentence)}" for sentence in lines)] if lines else []


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(c if c == "---" else _text(c) for c in line) + " |" for line in lines)


def _text(text: str) -> str:
    """Text from the index or a folder, of which nothing is markup, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))
