"""The last full self-test, for the report's appendix: which metric catches which generator with a known fault."""

from dataclasses import dataclass
from importlib.resources import files
from io import StringIO

import polars as pl

from virtassay.evaluation.report import glossary, tables

FILE = "selftest.csv"  # beside this file, as benchmarks/selftest.py writes it


@dataclass(frozen=True)
class SelfTest:
    """generators: (name, grade) of each column. lines: a metric's label and, for each generator, ●, ○ or nothing.

    ●: the metric caught it, and the verdict because of it; ○: the metric alone. remarks: the head of the file.
    """

    remarks: tuple[str, ...]
    generators: tuple[tuple[str, str], ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]


def packaged() -> SelfTest | None:
    """The table of the last full run; None in a version that has none."""
    file = files("virtassay.evaluation").joinpath(FILE)
    return selftest(file.read_text("utf-8")) if file.is_file() else None


def selftest(text: str) -> SelfTest:
    """Lay out a CSV of the columns generator, grade, metric, caught, verdict; lines that start with # are remarks."""
    table = pl.read_csv(StringIO(text), comment_prefix="#")
    mark = pl.when(pl.col("verdict")).then(pl.lit("●")).when(pl.col("caught")).then(pl.lit("○")).otherwise(pl.lit(""))
    marks = {(g, m): x for g, m, x in table.select("generator", "metric", mark.alias("mark")).iter_rows()}
    generators = tuple(table.select("generator", "grade").unique(maintain_order=True).iter_rows())
    return SelfTest(
        tuple(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")),
        tuple((str(name), str(grade)) for name, grade in generators),
        tuple(
            (glossary.metric(metric).label, tuple(marks.get((name, metric), "") for name, _ in generators))
            for metric in tables.in_order(table["metric"])
        ),
    )
