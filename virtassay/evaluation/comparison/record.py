"""What a comparison of generated folders holds and says, and its files: compare.json, compare.md and compare.html."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from virtassay.evaluation.comparison.contests import Contest, contest_figure
from virtassay.evaluation.judgement import CEILING, GENERATORS, POOLED, Row
from virtassay.evaluation.report import glossary, tables
from virtassay.evaluation.report.plots import Estimate
from virtassay.files import write_text
from virtassay.report.numbers import flat, name, number
from virtassay.report.pages import as_json, page

HEADLINES = ("effect_explained", "pds", "fd")
PLOTTED = ("effect_explained", "pds")  # fd has another unit in each featurizer


@dataclass(frozen=True)
class Comparison:
    """The outcome of comparing generated folders.

    folders: by name, the path and what the folder says of its origin. real: name of the real folder.
    rows: as `Judgement.rows`; `generator` is the name of a folder, of a baseline, or the replicate.
    differences: for each pair of folders in each headline metric and featurizer, as {"metric", "featurizer", "first",
    "second", "value": first − second, "lower", "upper", "better": a name, or None where chance cannot be excluded}.
    """

    folders: dict[str, dict[str, Any]]
    real: str
    split: str
    rows: list[Row]
    differences: list[dict[str, Any]]
    warnings: list[str]

    @property
    def sentences(self) -> list[str]:
        """For each headline metric and pair of folders: which is better, and in which featurizers."""
        told: list[str] = []
        for metric in HEADLINES:
            for pair in combinations(self.folders, 2):
                asked = [d for d in self.differences if (d["metric"], d["first"], d["second"]) == (metric, *pair)]
                if asked:
                    told.append(f"{glossary.metric(metric).label}: {_said(pair, asked)}")
        return told


def _said(pair: tuple[str, str], asked: Sequence[Mapping[str, Any]]) -> str:
    wins = {one: [d["featurizer"] for d in asked if d["better"] == one] for one in pair}
    ahead = [one for one in pair if wins[one]]
    if all(d["lower"] is None for d in asked):
        return f"{pair[0]} and {pair[1]} are not compared, for want of an interval (evaluation=full has one)."
    if not ahead:
        return f"{pair[0]} and {pair[1]} cannot be told apart."
    if len(ahead) == 2:
        where = " and ".join(f"{one} is better in {', '.join(wins[one])}" for one in ahead)
        return f"it depends on the featurizer: {where}."
    better = ahead[0]
    worse = pair[1] if better == pair[0] else pair[0]
    only = len(wins[better]) < len(asked)
    where = f" in {', '.join(wins[better])} only, of {len(asked)} featurizers" if only else ""
    return f"{better} is better than {worse}{where}."


def write_comparison(found: Comparison, out: Path) -> Path:
    """Write compare.json, compare.md and compare.html into `out` and return the path of the last."""
    out.mkdir(parents=True, exist_ok=True)
    stored = {**asdict(found), "sentences": found.sentences}
    write_text(out / "compare.json", as_json(stored))
    write_text(out / "compare.md", _markdown(found))
    return write_text(out / "compare.html", page("virtassay.evaluation.comparison", "compare.html.j2", _content(found)))


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]


def _markdown(found: Comparison) -> str:
    head = ["metric", "featurizer", *found.folders, "best trivial baseline", "real replicate"]
    lines: list[list[str]] = []
    for metric, featurizer in _asked(found):
        cells = [_text(_cell(found, one, metric, featurizer)) for one in (*found.folders, CEILING)]
        lines.append([metric, featurizer, *cells[:-1], number(_floor(found, metric, featurizer)), cells[-1]])
    parts = [f"# {', '.join(found.folders)} on the {found.split} split of {found.real}", ""]
    parts += [*(f"- {text}" for text in found.sentences), "", *markdown_table(head, lines), ""]
    return "\n".join([*parts, *(f"- {text}" for text in found.warnings), ""])


def _asked(found: Comparison) -> list[tuple[str, str]]:
    """Headline metrics in each featurizer, in their order."""
    there = tables.in_order(row["featurizer"] for row in found.rows)
    return [(m, f) for m in HEADLINES for f in there if _row(found, next(iter(found.folders)), m, f)]


def _row(found: Comparison, generator: str, metric: str, featurizer: str) -> Row:
    for row in found.rows:
        if (row["generator"], row["metric"], row["featurizer"], row["stratum"]) == (
            generator,
            metric,
            featurizer,
            POOLED,
        ):
            return row
    return {}


def _cell(found: Comparison, generator: str, metric: str, featurizer: str) -> Estimate:
    return tables.estimate(_row(found, generator, metric, featurizer))


def _floor(found: Comparison, metric: str, featurizer: str) -> float:
    floor = _row(found, next(iter(found.folders)), metric, featurizer).get("floor")
    return math.nan if floor is None else floor


def _text(cell: Estimate) -> str:
    interval = f" ({number(cell.lower)} to {number(cell.upper)})" if math.isfinite(cell.lower + cell.upper) else ""
    return number(cell.value) + interval


def _content(found: Comparison) -> dict[str, Any]:
    featurizers = tables.in_order(featurizer for _, featurizer in _asked(found))
    metrics = tables.in_order(row["metric"] for row in found.rows if row["stratum"] == POOLED)
    beside = [g for g in GENERATORS if any(row["generator"] == g for row in found.rows)]
    shown = [*found.folders, *beside]
    return {
        "found": found,
        "figures": [
            (metric, _figure(found, name, featurizers)) for name in PLOTTED for metric in [glossary.metric(name)]
        ],
        "differences": [
            (glossary.metric(metric).label, d, tables.estimate(d))
            for metric in HEADLINES
            for d in found.differences
            if d["metric"] == metric
        ],
        "shown": shown,
        "tables": [
            (f, [(glossary.metric(m), [_cell(found, g, m, f) for g in shown], _floor(found, m, f)) for m in metrics])
            for f in featurizers
        ],
        "fingerprints": [(f, tables.fingerprint(found.rows, f)) for f in featurizers],
        "origins": [(one, flat(told)) for one, told in found.folders.items()],
    }


def _figure(found: Comparison, metric: str, featurizers: Sequence[str]) -> str:
    contests: list[Contest] = []
    for f in featurizers:
        cells = [(one, _cell(found, one, metric, f)) for one in found.folders]
        marks = tuple(replace(cell, label=one) for one, cell in cells)
        contests.append(Contest(name(f), marks, _floor(found, metric, f), _cell(found, CEILING, metric, f).value))
    return contest_figure(contests, glossary.metric(metric).label)
