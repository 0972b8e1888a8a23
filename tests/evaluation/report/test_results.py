"""The files of a judgement."""

import json

import polars as pl

from virtassay.evaluation.report.results import write_results


def test_the_folder_holds_reports_and_all_numbers(usual, tmp_path):
    given, page = usual
    path = write_results(given, tmp_path / "new")
    assert path == tmp_path / "new" / "report.html" and path.read_text() == page  # the same each time
    tables = {"effects", "findings", "cells", "confounders"}
    files = {"report.html", "report.md", "metrics.json", "verdict.json", *(f"{table}.parquet" for table in tables)}
    assert {found.name for found in path.parent.iterdir()} == files
    assert json.loads((path.parent / "metrics.json").read_text()) == given.rows
    stored = json.loads((path.parent / "verdict.json").read_text())
    assert stored == given.verdict | {"provenance": {"version": "0", "solver.nfe": "50"}}
    for table in tables:
        assert pl.read_parquet(path.parent / f"{table}.parquet").equals(getattr(given, table))
