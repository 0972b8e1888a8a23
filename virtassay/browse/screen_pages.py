"""The pages of a screen's folder: the ranked table with structures, one compound, and the plate for the lab."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from virtassay.browse.dataset_pages import turn
from virtassay.browse.plate_map import colourable, draw_plate
from virtassay.browse.query import Query
from virtassay.report.pages import page
from virtassay.screening.figures import dose_curves, structure
from virtassay.screening.hits import LISTS

NEEDED = ("rank", "name", "smiles", "score", "dose_um", "flags")
SORTS = ("rank", "name", "score", "dose_um", "ec50_um", "similarity", "q")
HIGHEST_FIRST = ("score", "similarity")
ON_A_PAGE = 25
# what the report may do in a browser: nothing but be looked at
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"


class BrokenScreen(ValueError):
    """A screen's folder that cannot be used; the message names the file and the fix."""


@dataclass(frozen=True)
class ScreenPages:
    """A screen's results. summary: its report.json; plate: the map for the lab, None where there is none."""

    root: Path
    hits: pl.DataFrame
    plate: pl.DataFrame | None
    summary: dict[str, Any]

    @classmethod
    def open(cls, root: Path) -> Self:
        """Read hits.parquet, plate.csv and report.json. Raises BrokenScreen."""
        try:
            hits = pl.read_parquet(inside(root, "hits.parquet"))
            report, layout = inside(root, "report.json"), inside(root, "plate.csv")
            summary = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
            plate = pl.read_csv(layout, infer_schema_length=None) if layout.is_file() else None
        except (pl.exceptions.PolarsError, json.JSONDecodeError) as error:
            raise BrokenScreen(f"the screen in {root} cannot be read ({error}). Run it again: it goes on.") from error
        if missing := [name for name in NEEDED if name not in hits.columns]:
            raise BrokenScreen(f"{root}/hits.parquet lacks the columns {missing}; there are {hits.columns}.")
        plate = None if plate is None else _mapped(plate, hits)
        return cls(root, hits.sort("rank"), plate, summary)

    @property
    def tabs(self) -> dict[str, str]:
        """The pages that there are."""
        plate = {} if self.plate is None else {"/plate": "Plate for the lab"}
        return {"/hits": "Hits"} | plate | ({"/report": "Report"} if (self.root / "report.html").is_file() else {})

    def routes(self) -> list[Route]:
        """The pages."""
        return [
            Route("/", lambda request: RedirectResponse("/hits")),
            Route("/hits", self.table),
            Route("/hit/{rank}", self.hit),
            Route("/plate", self.layout),
            Route("/report", self.report),
        ]

    async def table(self, request: Request) -> Response:
        """The ranked table, filtered by name, SMILES and flags, a page at a time."""
        query, hits = Query.of(request.query_params), self.hits
        if query.name:
            matches = [_has(column, query.name) for column in ("name", "smiles")]
            hits = hits.filter(pl.any_horizontal(matches))
        flagged = pl.col("flags").fill_null("") != ""
        if query.flags:
            hits = hits.filter(flagged if query.flags == "some" else ~flagged)
        sorts = [name for name in SORTS if name in hits.columns]
        if query.sort not in sorts:
            raise HTTPException(404, f"hits are sorted by one of {sorts}, not {query.sort!r}.")
        by = pl.col(query.sort)
        by = by.fill_nan(None) if hits.schema[query.sort].is_float() else by
        hits = hits.sort(by, descending=query.sort in HIGHEST_FIRST, nulls_last=True, maintain_order=True)
        query, pages, shown = turn(query, hits.height, ON_A_PAGE)
        lines = [line | {"drawing": _drawing(line["smiles"])} for line in hits[shown].iter_rows(named=True)]
        content = {"lines": lines, "pages": pages, "total": hits.height, "sorts": sorts}
        return self._page("hits", "/hits", query, content)

    async def hit(self, request: Request) -> Response:
        """One compound: structure, dose curve, and all that is known of its score."""
        query, text = Query.of(request.query_params), request.path_params["rank"]
        rank = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
        hit = self.hits.filter(pl.col("rank") == rank)
        if not hit.height:
            raise HTTPException(404, f"there is no hit of rank {text[:20]!r}; there are {self.hits.height}.")
        line, ranks = hit.row(0, named=True), self.hits["rank"].to_list()
        at = ranks.index(line["rank"])
        content = {"line": line, "drawing": _drawing(line["smiles"], 360, 240), "curve": self._curve(line),
                   "facts": {key: value for key, value in line.items() if key not in LISTS},
                   "before": ranks[at - 1] if at else None, "after": (*ranks, None)[at + 1]}  # fmt: skip
        return self._page("hit", "/hits", query, content)

    def _curve(self, line: dict[str, Any]) -> str | None:
        doses = self.summary.get("screen", {}).get("doses_um", [])
        scores, *ends = ([line.get(name) or []] for name in LISTS)
        if not 1 < len(doses) == len(scores[0]) == len(ends[0][0]) == len(ends[1][0]):
            return None
        return dose_curves([line["name"] or ""], doses, np.array(scores, float), np.array(ends, float), "score")

    async def layout(self, request: Request) -> Response:
        """The plate map, its wells coloured by a column; a well leads to its compound."""
        query = Query.of(request.query_params)
        if self.plate is None:
            raise HTTPException(404, "this screen has no plate.csv.")
        plates = self.plate["plate"].unique(maintain_order=True).to_list()
        chosen = query.plate or plates[0]
        table = self.plate.filter(pl.col("plate") == chosen)
        columns = [name for name in colourable(table) if name not in ("images", "name", "smiles")]
        if not table.height or query.colour not in columns:
            raise HTTPException(404, f"there is no plate {chosen!r}, or no column {query.colour!r}: {columns}.")
        ranks = dict(table.select("well", "rank").iter_rows())
        plate = draw_plate(table, query.colour, lambda well: f"/hit/{ranks[well]}" if ranks[well] else "/plate")
        return self._page("plate", "/plate", query, {"plate": plate, "plates": plates, "columns": columns})

    async def report(self, request: Request) -> Response:
        """The screen's own report.html, which may run nothing."""
        file = inside(self.root, "report.html")
        if not file.is_file():
            raise HTTPException(404, "this screen has no report.html.")
        return FileResponse(file, headers={"Content-Security-Policy": REPORT_POLICY})

    def _page(self, template: str, tab: str, query: Query, content: dict[str, Any]) -> Response:
        shared = {"query": query, "tabs": self.tabs, "tab": tab, "title": self.root.name, "screen": self, "most": 500}
        return HTMLResponse(page("virtassay.browse", f"{template}.html.j2", shared | content))


def inside(root: Path, name: str) -> Path:
    """A file of the folder. Raises BrokenScreen where a link leads out of it."""
    if not (root / name).resolve().is_relative_to(root.resolve()):
        raise BrokenScreen(f"{root / name} is a link that leads outside the folder: refused.")
    return root / name


def _mapped(plate: pl.DataFrame, hits: pl.DataFrame) -> pl.DataFrame:
    """The plate map with each compound's rank, score and whether it is flagged."""
    first = hits.unique("smiles", keep="first", maintain_order=True)
    known = first.select("smiles", "rank", "score", flagged=pl.col("flags").fill_null("") != "")
    dose = pl.when(pl.col("dose_um").is_null()).then(pl.lit("")).otherwise(pl.format(" {} µM", "dose_um"))
    return plate.join(known, on="smiles", how="left").with_columns(treatment=pl.col("name") + dose)


def _has(column: str, words: str) -> pl.Expr:
    return pl.col(column).str.to_lowercase().str.contains(words.lower(), literal=True)


def _drawing(smiles: str, width: int = 170, height: int = 110) -> str | None:
    try:
        return structure(smiles, width, height)
    except (ValueError, TypeError, RuntimeError):  # RDKit's own: a SMILES of a damaged or foreign table
        return None
