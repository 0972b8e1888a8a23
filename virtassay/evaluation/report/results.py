"""The files of a judgement: reports for people, and the numbers in them for programs."""

import os
from pathlib import Path

from virtassay.evaluation.judgement import Judgement
from virtassay.evaluation.report import tables
from virtassay.evaluation.report.html import html
from virtassay.evaluation.report.markdown import markdown
from virtassay.report.pages import as_json, write_whole


def write_results(judgement: Judgement, folder: Path) -> Path:
    """Write report.html, report.md, metrics.json, verdict.json and a parquet of each table; return the page's path.

    verdict.json holds the verdict and, as text, the provenance. The folder is made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("effects", "findings", "cells", "confounders"):
        unfinished = folder / f".{name}.parquet.part"
        getattr(judgement, name).write_parquet(unfinished)
        os.replace(unfinished, folder / f"{name}.parquet")
    write_whole(folder / "metrics.json", as_json(judgement.rows))
    told = judgement.verdict | {"provenance": dict(tables.flat(judgement.provenance))}
    write_whole(folder / "verdict.json", as_json(told))
    write_whole(folder / "report.md", markdown(judgement))
    return write_whole(folder / "report.html", html(judgement))
