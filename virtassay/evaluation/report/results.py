"""The files of a judgement: reports for people, and the numbers in them for programs."""

from pathlib import Path

from virtassay.evaluation.judgement import Judgement
from virtassay.evaluation.report.html import html
from virtassay.evaluation.report.markdown import markdown
from virtassay.files import whole, write_text
from virtassay.report.numbers import flat
from virtassay.report.pages import as_json


def write_results(judgement: Judgement, folder: Path) -> Path:
    """Write report.html, report.md, metrics.json, verdict.json and a parquet of each table; return the page's path.

    verdict.json holds the verdict and, as text, the provenance. The folder is made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("effects", "findings", "cells", "confounders"):
        with whole(folder / f"{name}.parquet") as partial:
            getattr(judgement, name).write_parquet(partial)
    write_text(folder / "metrics.json", as_json(judgement.rows))
    verdict = judgement.verdict | {"provenance": dict(flat(judgement.provenance))}
    write_text(folder / "verdict.json", as_json(verdict))
    write_text(folder / "report.md", markdown(judgement))
    return write_text(folder / "report.html", html(judgement))
