"""The report of a screen: what was found, how far it can be trusted, and the best compounds one by one."""

from pathlib import Path
from typing import Any

import polars as pl

from virtassay.evaluation.report.pages import as_json, write_whole
from virtassay.screening.bench import Bench
from virtassay.screening.hits import Trust
from virtassay.screening.library import Library


def write_report(
    out: Path, hits: pl.DataFrame, library: Library, told: dict[str, Any], warnings: list[str], bench: Bench, trust: Trust
) -> Path:
    """Write report.json (for now)."""
    return write_whole(out / "report.json", as_json({"warnings": warnings, "manifest": told, "n": hits.height}))
