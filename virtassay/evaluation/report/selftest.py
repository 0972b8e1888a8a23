"""The last full self-test as the report's appendix shows it: who is caught by what, and what follows the truth."""

from dataclasses import dataclass

import polars as pl

from virtassay.evaluation.report import tables
from virtassay.evaluation.selftest.caught import GLOSSARY
from virtassay.evaluation.selftest.last_run import LastRun

Lines = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class SelfTest:
    """generators: (name, grade) of each column. lines: a metric's label and, for each generator, ●, ○ or nothing.

    ●: the metric caught it, and the verdict because of it; ○: the metric alone. made: date, commit and command.
    dials: the faults that were dialled; dial_lines: a metric's label and its rank correlation with each.
    """

    made: str
    generators: tuple[tuple[str, str], ...]
    lines: Lines
    dials: tuple[str, ...]
    dial_lines: Lines


def selftest(run: LastRun) -> SelfTest:
    """Lay out the tables of a run, a line a metric."""
    mark = pl.when(pl.col("verdict")).then(pl.lit("●")).when(pl.col("caught")).then(pl.lit("○")).otherwise(pl.lit(""))
    generators = tuple(run.caught.select("generator", "grade").unique(maintain_order=True).iter_rows())
    dials = tuple(run.dials["dial"].unique(maintain_order=True))
    return SelfTest(
        run.made,
        tuple((str(name), str(grade)) for name, grade in generators),
        _lines(run.caught.select("metric", "generator", mark), [name for name, _ in generators]),
        dials,
        _lines(run.dials.select("metric", "dial", pl.col("rho").map_elements(tables.number, pl.String)), dials),
    )


def _lines(cells: pl.DataFrame, columns: list[str] | tuple[str, ...]) -> Lines:
    text = {(metric, column): cell for metric, column, cell in cells.iter_rows()}
    return tuple(
        (GLOSSARY[metric].label, tuple(text.get((metric, column), "") for column in columns))
        for metric in tables.in_order(cells["metric"])
    )
