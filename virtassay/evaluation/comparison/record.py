"""What a comparison of generated folders holds and says, and its files: compare.json, compare.md and compare.html."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from virtassay.evaluation.comparison.dot_plot import Lane, dot_plot
from virtassay.evaluation.glossary import Description, Glossary
from virtassay.evaluation.judgement import CEILING, POOLED, Row, pooled
from virtassay.evaluation.metrics.effects import EFFECT_EXPLAINED
from virtassay.evaluation.metrics.pools import FD
from virtassay.evaluation.metrics.treatments import PDS
from virtassay.evaluation.report import tables
from virtassay.evaluation.report.plots import Estimate
from virtassay.files import write_text
from virtassay.report.numbers import flat, name, number
from virtassay.report.pages import as_json, page

HEADLINES = (EFFECT_EXPLAINED, PDS, FD)
PLOTTED = (EFFECT_EXPLAINED, PDS)  # fd has another unit in each featurizer


@dataclass(frozen=True)
class Comparison:
    """The outcome of comparing generated folders.

    folders: by name, the path and what the folder says of its origin. real: name of the real folder.
    rows: as `Judgement.rows`; `generator` is the name of a folder, of a baseline, or the replicate.
    differences: for each pair of folders in each headline metric and featurizer, as {"metric", "featurizer", "first",
    "second", "value": first − second, "lower", "upper", "better": a name, or None where chance cannot be excluded}.
    glossary: what the metrics mean.
    """

    folders: dict[str, dict[str, Any]]
    real: str
    split: str
    rows: list[Row]
    differences: list[dict[str, Any]]
    warnings: list[str]
    glossary: Glossary = field(default_factory=Glossary)

    @property
    def sentences(self) -> list[str]:
        """For each headline metric and pair of folders: which is better, and in which featurizers."""
        sentences: list[str] = []
        for metric in HEADLINES:
            for pair in combinations(self.folders, 2):
                key = (metric.name, *pair)
                own = [d for d in self.differences if (d["metric"], d["first"], d["second"]) == key]
                if own:
                    sentences.append(f"{metric.label}: {_sentence(pair, own)}")
        return sentences


def _sentence(pair: tuple[str, str], differences: Sequence[Mapping[str, Any]]) -> str:
    wins = {name: [d["featurizer"] for d in differences if d["better"] == name] for name in pair}
    ahead = [name for name in pair if wins[name]]
    if all(d["lower"] is None for d in differences):
        return f"{pair[0]} and {pair[1]} are not compared, for want of an interval (evaluation=full has one)."
    if not ahead:
        return f"{pair[0]} and {pair[1]} cannot be told apart."
    if len(ahead) == 2:
        where = " and ".join(f"{name} is better in {', '.join(wins[name])}" for name in ahead)
        return f"it depends on the featurizer: {where}."
    better = ahead[0]
    worse = pair[1] if better == pair[0] else pair[0]
    only = len(wins[better]) < len(differences)
    where = f" in {', '.join(wins[better])} only, of {len(differences)} featurizers" if only else ""
    return f"{better} is better than {worse}{where}."


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Write compare.json, compare.md and compare.html into `out` and return the path of the last."""
    out.mkdir(parents=True, exist_ok=True)
    stored = {**asdict(comparison), "sentences": comparison.sentences}
    del stored["glossary"]
    write_text(out / "compare.json", as_json(stored))
    write_text(out / "compare.md", _markdown(comparison))
    html = page("virtassay.evaluation.comparison", "compare.html.j2", _content(comparison))
    return write_text(out / "compare.html", html)


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]


def _markdown(comparison: Comparison) -> str:
    head = ["metric", "featurizer", *comparison.folders, "best trivial baseline", "real replicate"]
    lines: list[list[str]] = []
    for metric, featurizer in _headlines(comparison):
        *cells, ceiling = (_text(_cell(comparison, g, metric, featurizer)) for g in (*comparison.folders, CEILING))
        lines.append([metric, featurizer, *cells, number(_floor(comparison, metric, featurizer)), ceiling])
    parts = [f"# {', '.join(comparison.folders)} on the {comparison.split} split of {comparison.real}", ""]
    parts += [*(f"- {text}" for text in comparison.sentences), "", *markdown_table(head, lines), ""]
    return "\n".join([*parts, *(f"- {text}" for text in comparison.warnings), ""])


def _headlines(comparison: Comparison) -> list[tuple[str, str]]:
    """Headline metrics in each featurizer, in their order."""
    featurizers = tables.in_order(row["featurizer"] for row in comparison.rows)
    first = next(iter(comparison.folders))
    return [(m.name, f) for m in HEADLINES for f in featurizers if _row(comparison, first, m.name, f)]


def _row(comparison: Comparison, generator: str, metric: str, featurizer: str) -> Row:
    return pooled(comparison.rows).get((featurizer, metric, generator), {})


def _cell(comparison: Comparison, generator: str, metric: str, featurizer: str) -> Estimate:
    return tables.estimate(_row(comparison, generator, metric, featurizer))


def _floor(comparison: Comparison, metric: str, featurizer: str) -> float:
    floor = _row(comparison, next(iter(comparison.folders)), metric, featurizer).get("floor")
    return math.nan if floor is None else floor


def _text(cell: Estimate) -> str:
    interval = f" ({number(cell.lower)} to {number(cell.upper)})" if math.isfinite(cell.lower + cell.upper) else ""
    return number(cell.value) + interval


def _content(comparison: Comparison) -> dict[str, Any]:
    featurizers = tables.in_order(featurizer for _, featurizer in _headlines(comparison))
    metrics = tables.in_order(row["metric"] for row in comparison.rows if row["stratum"] == POOLED)
    shown = tables.in_order([*comparison.folders, *(row["generator"] for row in comparison.rows)])

    def lines(m: str, f: str) -> tuple[Description, list[Estimate], float]:
        return comparison.glossary[m], [_cell(comparison, g, m, f) for g in shown], _floor(comparison, m, f)

    return {
        "comparison": comparison,
        "figures": [(metric, _figure(comparison, metric, featurizers)) for metric in PLOTTED],
        "differences": [
            (metric.label, d, tables.estimate(d))
            for metric in HEADLINES
            for d in comparison.differences
            if d["metric"] == metric.name
        ],
        "shown": shown,
        "tables": [(f, [lines(m, f) for m in metrics]) for f in featurizers],
        "fingerprints": [(f, tables.fingerprint(comparison.rows, f)) for f in featurizers],
        "origins": [(folder, flat(origin)) for folder, origin in comparison.folders.items()],
    }


def _figure(comparison: Comparison, metric: Description, featurizers: Sequence[str]) -> str:
    lanes: list[Lane] = []
    for f in featurizers:
        cells = [(folder, _cell(comparison, folder, metric.name, f)) for folder in comparison.folders]
        marks = tuple(replace(cell, label=folder) for folder, cell in cells)
        ceiling = _cell(comparison, CEILING, metric.name, f).value
        lanes.append(Lane(name(f), marks, _floor(comparison, metric.name, f), ceiling))
    return dot_plot(lanes, metric.label)
