"""The pages of a dataset folder: plates, treatments by dose beside what a model says of them, and filtered images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from virtassay.browse.dataset_view import DatasetView
from virtassay.browse.plate_map import colourable, draw_plate
from virtassay.browse.query import Query
from virtassay.data.dataset.store import open_dataset
from virtassay.report.pages import page

ON_A_PAGE, IN_A_ROW, BATCHES, OPTIONS = 50, 9, 6, 500
THUMBNAIL = 192  # pixels
TABS = {"/plates": "Plates", "/treatments": "Treatments", "/images": "Images"}
SIDES = ("folder", "beside")


@dataclass(frozen=True)
class ImageRow:
    """Images in a row: whose they are, what stands at their left, and the rows of the index, some of `total`."""

    side: str
    label: str
    rows: Sequence[int]
    total: int


@dataclass(frozen=True)
class DatasetPages:
    """The open folder, and the one that is shown beside it."""

    folder: DatasetView
    beside: DatasetView | None

    @classmethod
    def open(cls, folder: Path, second: Path | None) -> Self:
        """Open one dataset folder or two. Raises ValueError where the second shows other channels or numbers."""
        first = DatasetView.of(open_dataset(folder, verify=False))
        if second is None:
            return cls(first, None)
        other = DatasetView.of(open_dataset(second, verify=False))
        a, b = first.dataset.info, other.dataset.info
        if a.dtype != b.dtype or not set(b.channels) <= set(a.channels):
            raise ValueError(
                f"{second} ({b.dtype}, channels {list(b.channels)}) cannot stand beside {folder} ({a.dtype}, channels "
                f"{list(a.channels)}): both must have one contrast. Generate for this folder, or leave beside out."
            )
        return cls(first, other)

    def side(self, name: str) -> DatasetView:
        """The folder "folder" or "beside". Raises HTTPException 404."""
        view = {"folder": self.folder, "beside": self.beside}.get(name)
        if view is None:
            raise HTTPException(404, f"there is no {name!r} here.")
        return view

    def label(self, side: str) -> str:
        """What the images of a side are: "real", "generated", or the folder's name where both are the same."""
        words = {name: "generated" if self.side(name).is_generated else "real" for name in self.sides}
        same = len(words) > len(set(words.values()))
        return self.side(side).dataset.root.name if same else words[side]

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that there are."""
        return SIDES if self.beside is not None else SIDES[:1]

    def routes(self) -> list[Route]:
        """The pages."""
        return [
            Route("/", lambda request: RedirectResponse("/plates")),
            Route("/plates", self.plates),
            Route("/treatments", self.by_treatment),
            Route("/images", self.images),
            Route("/image/{side}/{row}", self.image),
            Route("/pixels/{side}/{row}.png", self.pixels),
        ]

    def plates(self, request: Request) -> Response:
        """One plate, its wells coloured by a column; the images of the well that was clicked."""
        query, view = Query.of(request.query_params), self.folder
        plates = view.values("plate")
        query = replace(query, plate=_known("plate", query.plate, plates))
        table = view.dataset.where(pl.col("plate") == query.plate).index
        columns = colourable(table)
        colour = _known("colour", query.colour, columns)
        plate = draw_plate(table, colour, lambda well: query.url("/plates", well=well, page=1))
        place = plates.index(query.plate)
        content = {"plate": plate, "plates": plates, "columns": columns, "well": None, "image_rows": [],
                   "before": plates[place - 1] if place else None, "after": (*plates, None)[place + 1]}  # fmt: skip
        if query.well:
            content |= self._well(query)
        return self._page("plates", "/plates", query, content)

    def _well(self, query: Query) -> dict[str, Any]:
        """A well's images, other ones of its batch and treatment from the folder beside, and controls of its batch."""
        in_well = (pl.col("plate") == query.plate) & (pl.col("well") == query.well)
        image_rows = [self._image_row("folder", in_well, 2 * IN_A_ROW, ", this well")]
        if not image_rows[0].total:
            raise HTTPException(404, f"plate {query.plate!r} has no well {query.well!r}.")
        well = self.folder.line(image_rows[0].rows[0])
        if self.beside is not None:
            alike = (pl.col("batch") == well["batch"]) & (pl.col("treatment") == well["treatment"])
            image_rows.append(self._image_row("beside", alike, 2 * IN_A_ROW))
        if not well["is_control"]:
            image_rows.append(self._controls(well["batch"]))
        return {"well": well, "image_rows": image_rows}

    def _controls(self, batch: str) -> ImageRow:
        return self._image_row("folder", (pl.col("batch") == batch) & pl.col("is_control"), IN_A_ROW, " controls")

    def _image_row(self, side: str, chosen: pl.Expr, most: int, words: str = "") -> ImageRow:
        """At most some images of a side, spread over wells: every k-th row."""
        rows = self.side(side).where(chosen)
        some = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
        return ImageRow(side, self.label(side) + words, some.tolist(), len(rows))

    def by_treatment(self, request: Request) -> Response:
        """A perturbation at one of its doses: for each batch controls, real and generated images in rows."""
        query, view = Query.of(request.query_params), self.folder
        names = view.perturbations
        treated = view.treatments.filter(~pl.col("is_control"))["name"]
        query = replace(query, perturbation=_known("perturbation", query.perturbation, names, *treated.head(1)))
        ladder = view.doses(query.perturbation)
        if query.dose not in ladder["written"]:  # another compound was chosen: its highest dose
            query = replace(query, dose=ladder["written"][-1])
        at = ladder["written"].to_list().index(query.dose)
        treatment = ladder["treatment"][at]
        rows = view.rows(replace(query, plate="", well=""))
        batches = view.dataset.rows.take(rows).shared["batch"].unique().sort().to_list()
        shown = [(batch, self._image_rows(treatment, batch, query.split)) for batch in batches[:BATCHES]]
        content = {"names": names, "ladder": ladder.iter_rows(named=True), "doses": ladder.height, "at": at,
                   "treatment": treatment, "groups": shown, "left_out": len(batches) - len(shown)}  # fmt: skip
        return self._page("treatments", "/treatments", query, content)

    def _image_rows(self, treatment: str, batch: str, split: str) -> list[ImageRow]:
        every = (pl.col("batch") == batch) & (pl.col("treatment") == treatment)
        chosen = {"folder": every & (pl.col("split") == split) if split else every, "beside": every}
        return [self._controls(batch), *(self._image_row(side, chosen[side], IN_A_ROW) for side in self.sides)]

    def images(self, request: Request) -> Response:
        """The images that the filters keep, a page at a time."""
        query, view = Query.of(request.query_params), self.folder
        if query.perturbation:
            _known("perturbation", query.perturbation, view.perturbations)
        rows = view.rows(query)
        query, pages, shown = turn(query, len(rows))
        image_row = ImageRow("folder", "", rows[shown].tolist(), len(rows))
        doses = view.doses(query.perturbation) if query.perturbation else view.treatments.sort("dose")
        content = {"names": view.perturbations, "image_row": image_row, "pages": pages,
                   "doses": doses["written"].unique(maintain_order=True).to_list()[:OPTIONS]}  # fmt: skip
        return self._page("images", "/images", query, content)

    def image(self, request: Request) -> Response:
        """One image: the composite, each channel alone, and its row of the index."""
        query = Query.of(request.query_params)
        side, row = self._place(request)
        line = self.side(side).line(row)
        content = {"side": side, "row": row, "line": line, "label": self.label(side),
                   "channels": self.side(side).dataset.info.channels}  # fmt: skip
        return self._page("image", "", query, content)

    def pixels(self, request: Request) -> Response:
        """One image as a PNG, at the folder's contrast."""
        query = Query.of(request.query_params)
        side, row = self._place(request)
        channels, shown = self.folder.dataset.info.channels, self.side(side).dataset.info.channels
        if query.channel:
            _known("channel", query.channel, shown)
        limits = self.folder.limits(query.low, query.high)[[channels.index(name) for name in shown]]
        size = 0 if query.full else THUMBNAIL
        return Response(self.side(side).png(row, query.channel, limits, size), media_type="image/png")

    def _place(self, request: Request) -> tuple[str, int]:
        side, text = request.path_params["side"], request.path_params["row"]
        n_images = len(self.side(side).dataset)
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) < n_images):
            raise HTTPException(404, f"there is no image {text[:20]!r}; they are numbered from 0 to {n_images - 1}.")
        return side, int(text)

    def _page(self, template: str, tab: str, query: Query, content: dict[str, Any]) -> Response:
        view = self.folder
        if query.channel:
            _known("channel", query.channel, view.dataset.info.channels)
        shared = {"query": query, "tabs": TABS, "tab": tab, "title": view.dataset.root.name, "folders": self,
                  "info": view.dataset.info, "batches": view.values("batch"), "splits": view.values("split"),
                  "most": OPTIONS}  # fmt: skip
        return HTMLResponse(page("virtassay.browse", f"{template}.html.j2", shared | content))


def turn(query: Query, total: int, size: int = ON_A_PAGE) -> tuple[Query, int, slice]:
    """Keep the page inside those there are; return how many there are and which lines stand on it."""
    pages = max(1, -(-total // size))
    query = replace(query, page=min(max(query.page, 1), pages))
    return query, pages, slice((query.page - 1) * size, query.page * size)


def _known(field: str, value: str, known: Sequence[str], first: str = "") -> str:
    """Return the value, or the first one where none was given. Raises HTTPException 404 for one that is not there."""
    if not value:
        return first or known[0]
    if value not in known:
        near = [name for name in known if value.lower() in name.lower()][:5]
        hint = f" There are {', '.join(near)}." if near else ""
        raise HTTPException(404, f"there is no {field} {value!r} in this folder.{hint}")
    return value
