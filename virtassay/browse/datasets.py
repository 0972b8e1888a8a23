"""The pages of a dataset folder: plates, treatments by dose beside what a model says of them, and filtered images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from virtassay.browse.asked import Asked
from virtassay.browse.collection import Collection
from virtassay.browse.wells import colourable, draw_plate
from virtassay.data.dataset.store import open_dataset
from virtassay.report.pages import page

ON_A_PAGE, IN_A_STRIP, BATCHES, OPTIONS = 50, 9, 6, 500
THUMBNAIL = 192  # pixels
TABS = {"/plates": "Plates", "/treatments": "Treatments", "/images": "Images"}
SIDES = ("folder", "beside")


@dataclass(frozen=True)
class Strip:
    """Images in a row: whose they are, what stands at their left, and the rows of the index, some of `total`."""

    side: str
    label: str
    rows: Sequence[int]
    total: int
    url: str = ""


@dataclass(frozen=True)
class Shelf:
    """The open folder, and the one that is shown beside it."""

    folder: Collection
    beside: Collection | None

    @classmethod
    def open(cls, folder: Path, beside: Path | None) -> Self:
        """Open one dataset folder or two. Raises ValueError where the second shows other channels or numbers."""
        first = Collection.of(open_dataset(folder, verify=False))
        if beside is None:
            return cls(first, None)
        second = Collection.of(open_dataset(beside, verify=False))
        a, b = first.dataset.info, second.dataset.info
        if a.dtype != b.dtype or not set(b.channels) <= set(a.channels):
            raise ValueError(
                f"{beside} ({b.dtype}, channels {list(b.channels)}) cannot stand beside {folder} ({a.dtype}, channels "
                f"{list(a.channels)}): both must have one contrast. Generate for this folder, or leave beside out."
            )
        return cls(first, second)

    def side(self, name: str) -> Collection:
        """The folder "folder" or "beside". Raises HTTPException 404."""
        found = {"folder": self.folder, "beside": self.beside}.get(name)
        if found is None:
            raise HTTPException(404, f"there is no {name!r} here.")
        return found

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
        asked, one = Asked.of(request.query_params), self.folder
        plates = one.values("plate")
        asked = replace(asked, plate=_known("plate", asked.plate, plates))
        table = one.dataset.where(pl.col("plate") == asked.plate).index
        columns = colourable(table)
        colour = _known("colour", asked.colour, columns)
        plate = draw_plate(table, colour, lambda well: asked.url("/plates", well=well, page=1))
        here = plates.index(asked.plate)
        content = {"plate": plate, "plates": plates, "columns": columns, "well": None, "strips": []}
        content |= {"before": plates[here - 1] if here else None, "after": (*plates, None)[here + 1]}
        if asked.well:
            rows = one.rows(Asked(plate=asked.plate, well=asked.well))
            if not len(rows):
                raise HTTPException(404, f"plate {asked.plate!r} has no well {asked.well!r}.")
            content |= {"well": one.line(int(rows[0])), "strips": self._well(rows)}
        return self._page("plates", "/plates", asked, content)

    def _well(self, rows: NDArray[np.int64]) -> list[Strip]:
        """A well's images, other ones of its batch and treatment from the folder beside, and controls of its batch."""
        at = self.folder.line(int(rows[0]))
        strips = [Strip("folder", f"{self.label('folder')}, this well", _some(rows, 2 * IN_A_STRIP), len(rows))]
        matched = (pl.col("batch") == at["batch"]) & (pl.col("treatment") == at["treatment"])
        if self.beside is not None:
            there = self.beside.where(matched)
            strips.append(Strip("beside", self.label("beside"), _some(there, 2 * IN_A_STRIP), len(there)))
        return strips if at["is_control"] else [*strips, self._controls(at["batch"])]

    def _controls(self, batch: str) -> Strip:
        rows = self.folder.where((pl.col("batch") == batch) & pl.col("is_control"))
        return Strip("folder", f"{self.label('folder')} controls", _some(rows, IN_A_STRIP), len(rows))

    def by_treatment(self, request: Request) -> Response:
        """A perturbation at one of its doses: for each batch controls, real and generated images in rows."""
        asked, one = Asked.of(request.query_params), self.folder
        names = one.perturbations
        treated = one.treatments.filter(~pl.col("is_control"))["name"]
        asked = replace(asked, perturbation=_known("perturbation", asked.perturbation, names, *treated.head(1)))
        ladder = one.doses(asked.perturbation)
        if asked.dose not in ladder["written"]:  # another compound was chosen: its highest dose
            asked = replace(asked, dose=ladder["written"][-1])
        at = ladder["written"].to_list().index(asked.dose)
        treatment = ladder["treatment"][at]
        rows = one.rows(replace(asked, plate="", well=""))
        batches = one.dataset.rows.take(rows).shared["batch"].unique().sort().to_list()
        shown = [(batch, self._strips(treatment, batch, asked.split)) for batch in batches[:BATCHES]]
        content = {"names": names, "ladder": ladder.iter_rows(named=True), "doses": ladder.height, "at": at,
                   "treatment": treatment, "groups": shown, "left_out": len(batches) - len(shown)}  # fmt: skip
        return self._page("treatments", "/treatments", asked, content)

    def _strips(self, treatment: str, batch: str, split: str) -> list[Strip]:
        matched = (pl.col("batch") == batch) & (pl.col("treatment") == treatment)
        strips: list[Strip] = []
        for side in self.sides:
            one = self.side(side)
            only = matched & (pl.col("split") == split) if split and side == "folder" else matched
            rows = one.where(only)
            strips.append(Strip(side, self.label(side), _some(rows, IN_A_STRIP), len(rows)))
        return [self._controls(batch), *strips]

    def images(self, request: Request) -> Response:
        """The images that the filters keep, a page at a time."""
        asked = Asked.of(request.query_params)
        one = self.folder
        if asked.perturbation:
            _known("perturbation", asked.perturbation, one.perturbations)
        rows = one.rows(asked)
        asked, pages, shown = turn(asked, len(rows))
        strip = Strip("folder", "", rows[shown].tolist(), len(rows))
        doses = one.doses(asked.perturbation) if asked.perturbation else one.treatments.sort("dose")
        content = {"names": one.perturbations, "strip": strip, "pages": pages,
                   "doses": doses["written"].unique(maintain_order=True).to_list()[:OPTIONS]}  # fmt: skip
        return self._page("images", "/images", asked, content)

    def image(self, request: Request) -> Response:
        """One image: the composite, each channel alone, and its row of the index."""
        asked = Asked.of(request.query_params)
        side, row = self._place(request)
        line = self.side(side).line(row)
        content = {"side": side, "row": row, "line": line, "label": self.label(side),
                   "channels": self.side(side).dataset.info.channels}  # fmt: skip
        return self._page("image", "", asked, content)

    def pixels(self, request: Request) -> Response:
        """One image as a PNG, at the folder's contrast."""
        asked = Asked.of(request.query_params)
        side, row = self._place(request)
        channels, those = self.folder.dataset.info.channels, self.side(side).dataset.info.channels
        if asked.channel:
            _known("channel", asked.channel, those)
        limits = self.folder.limits(asked.low, asked.high)[[channels.index(name) for name in those]]
        size = 0 if asked.full else THUMBNAIL
        return Response(self.side(side).png(row, asked.channel, limits, size), media_type="image/png")

    def _place(self, request: Request) -> tuple[str, int]:
        side, text = request.path_params["side"], request.path_params["row"]
        known = len(self.side(side).dataset)
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) < known):
            raise HTTPException(404, f"there is no image {text[:20]!r}; they are numbered from 0 to {known - 1}.")
        return side, int(text)

    def _page(self, template: str, tab: str, asked: Asked, content: dict[str, Any]) -> Response:
        one = self.folder
        if asked.channel:
            _known("channel", asked.channel, one.dataset.info.channels)
        shared = {"asked": asked, "tabs": TABS, "tab": tab, "title": one.dataset.root.name, "shelf": self}
        shared |= {"info": one.dataset.info, "batches": one.values("batch"), "splits": one.values("split")}
        shared |= {"most": OPTIONS}
        return HTMLResponse(page("virtassay.browse", f"{template}.html.j2", shared | content))


def turn(asked: Asked, total: int, size: int = ON_A_PAGE) -> tuple[Asked, int, slice]:
    """Keep the page inside those there are; return how many there are and which lines stand on it."""
    pages = max(1, -(-total // size))
    asked = replace(asked, page=min(max(asked.page, 1), pages))
    return asked, pages, slice((asked.page - 1) * size, asked.page * size)


def _known(field: str, value: str, known: Sequence[str], first: str = "") -> str:
    """Return the value, or the first one where none was given. Raises HTTPException 404 for one that is not there."""
    if not value:
        return first or known[0]
    if value not in known:
        near = [name for name in known if value.lower() in name.lower()][:5]
        hint = f" There are {', '.join(near)}." if near else ""
        raise HTTPException(404, f"there is no {field} {value!r} in this folder.{hint}")
    return value


def _some(rows: NDArray[np.int64], most: int) -> list[int]:
    """Spread over wells: every k-th row."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)].tolist()
