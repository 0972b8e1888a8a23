"""Whole fields → images of cells: corrected for illumination, judged, searched for cells and cut."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from zlib import crc32

import numpy as np
import polars as pl
from skimage.transform import downscale_local_mean
from tqdm.auto import tqdm

from virtassay.data.prepare.fields.find import Field, Finder, Tiles
from virtassay.data.prepare.fields.illumination import Illumination, corrected, enlarge
from virtassay.data.prepare.fields.quality import Quality, TypicalField, measure
from virtassay.data.prepare.reader import CHUNK, SCALED_ON, RawImage, Reader, spread_controls
from virtassay.data.prepare.sources import UnreadableImage
from virtassay.report.pictures import contact_sheet
from virtassay.schema import InvalidIndex

log = logging.getLogger(__name__)
SCALED_ON_FIELDS = 64  # control fields whose cells the limits are estimated on
SHOWN, THUMBNAIL = 8, 200  # fields of each kind in the picture of flagged ones, and their edge in pixels


@dataclass(frozen=True)
class CellCrops:
    """How whole fields become images of cells (or tiles).

    A crop lies wholly in its field: cells nearer to the border are left out, for no edge of padding is biology. The
    index gets `x_px` and `y_px` (the cell's centre), `cells_in_field` (all that were found: toxicity is an effect), and
    of the field `focus`, `saturated`, `debris` and `flagged`. illumination, quality: None for none. surveyed:
    fields of each plate, drawn at random, that its illumination and usual quality are estimated on.
    """

    find: Finder
    illumination: Illumination | None = None
    quality: Quality | None = None
    surveyed: int = 100

    def __post_init__(self) -> None:
        if self.surveyed < 1:
            raise ValueError(f"surveyed={self.surveyed}: give the number of fields, 1 or more.")


@dataclass
class FieldReader:
    """Reads fields with a Reader and yields the crops of their cells, with a row each; offers what a Reader does."""

    reader: Reader
    cells: CellCrops
    crop: int
    index: pl.DataFrame
    # of each plate, and small: the light, and what is usual
    plates: dict[str, tuple[np.ndarray | None, TypicalField | None]] = field(default_factory=dict)
    light: tuple[str, np.ndarray] | None = None  # of the last plate, at the size of its fields
    n_cells: Counter[str] = field(default_factory=Counter)  # cells of each plate that could be read
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)  # fields flagged for each
    sheet: dict[str, list[tuple[str, np.ndarray]]] = field(default_factory=dict)

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """See Reader.skipped."""
        return self.reader.skipped

    def some_controls(self, index: pl.DataFrame) -> np.ndarray:
        """Cut up to SCALED_ON cells out of control fields of the training split, spread over it."""
        chosen = spread_controls(index, SCALED_ON_FIELDS)
        each = -(-SCALED_ON // chosen.height)
        silent = replace(self, n_cells=Counter(), counts=Counter(), reasons=Counter(), sheet={})
        images = [crops[:: -(-len(crops) // each)] for crops, _ in silent.cut(chosen, []) if len(crops)]
        if not images:
            raise InvalidIndex(f"no cells were found in {chosen.height} control fields: {_ADVICE}")
        return np.concatenate(images)

    def chunks(self, index: pl.DataFrame) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        """Yield (crops, their rows), about CHUNK at a time; raises InvalidIndex for a plate without any cell."""
        images: list[np.ndarray] = []
        rows: list[pl.DataFrame] = []
        with tqdm(total=index.height, unit=" fields", desc="preparing", dynamic_ncols=True) as bar:
            for crops, own in self.cut(index, self.skipped):
                images.append(crops)
                rows.append(own)
                if sum(map(len, images)) >= CHUNK:
                    yield np.concatenate(images), pl.concat(rows, rechunk=True)
                    images, rows = [], []
                bar.update()
        empty = [plate for plate, cells in self.n_cells.items() if not cells]
        if empty:
            raise InvalidIndex(f"no cells were found on {len(empty)} plate(s), first {empty[:5]}: {_ADVICE}")
        if images and sum(map(len, images)):
            yield np.concatenate(images), pl.concat(rows, rechunk=True)

    def cut(self, rows: pl.DataFrame, skipped: list[tuple[str, str]]) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        """Yield the crops of one field after the other, (n, c, h, w), with their n rows."""
        for raw in self.reader.read(rows, skipped):
            plate = str(raw.row["plate"])
            if plate not in self.plates:
                self.plates[plate] = self._survey(plate)
            light, typical = self.plates[plate]
            if light is not None and (self.light is None or self.light[0] != plate):
                self.light = plate, enlarge(light, raw.image.shape)
            image = raw.image if light is None or self.light is None else corrected(raw.image, self.light[1])
            try:
                places = self.cells.find.find(
                    Field(image, raw.name, raw.row, self.reader.channels, self.reader.pixel_size_um, self.crop)
                )
            except UnreadableImage as error:
                self.reader.leave_out(raw.row, error, skipped)
                continue
            crops, inside = self._crops(image, places)
            self.n_cells[plate] += len(places)
            self.counts.update(fields=1, cells=len(places), at_the_border=len(places) - len(crops))
            self.counts["fields_without_cells"] += not len(places)
            own = rows[[raw.number] * len(crops)].with_columns(
                image_id=pl.lit(f"{raw.row['image_id']}_c") + pl.Series(np.flatnonzero(inside)).cast(pl.String),
                x_px=pl.Series(places[inside, 0], dtype=pl.Float64),
                y_px=pl.Series(places[inside, 1], dtype=pl.Float64),
            )
            if not isinstance(self.cells.find, Tiles):  # tiles count nothing
                own = own.with_columns(cells_in_field=pl.lit(len(places), pl.Int64))
            yield crops, own if typical is None else self._judged(own, raw, typical)

    def _crops(self, image: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        edge = self.crop
        corner = np.round(places - (edge - 1) / 2).astype(int)
        inside = np.all((corner >= 0) & (corner + edge <= np.array(image.shape[:0:-1])), axis=1)
        crops = [self.reader.fit(image[:, y : y + edge, x : x + edge]) for x, y in corner[inside]]
        side = self.reader.size or edge
        return np.stack(crops) if crops else np.empty((0, len(image), side, side), image.dtype), inside

    def _judged(self, rows: pl.DataFrame, raw: RawImage, typical: TypicalField) -> pl.DataFrame:
        assert self.cells.quality is not None  # or nothing would be typical
        numbers, flagged = self.cells.quality.judge(raw.image, typical, self.reader.channels)
        self.counts["flagged_fields"] += flagged is not None
        step = max(1, -(-max(raw.image.shape[1:]) // THUMBNAIL))
        for reason in (flagged or "not flagged").split("; "):
            self.reasons[reason] += 1
            shown = self.sheet.setdefault(reason, [])
            if len(shown) < SHOWN:
                small = np.asarray(downscale_local_mean(raw.image, (1, step, step)), np.float32)
                shown.append((f"{raw.row['plate']} {raw.row['well']}", small))
        columns = {name: pl.lit(value) for name, value in numbers.items()}
        return rows.with_columns(**columns, flagged=pl.lit(flagged, pl.String))

    def draw_flagged(self, path: Path) -> None:
        """Save a picture of flagged fields, a row for each reason, under some that are not; nothing if none is."""
        reasons = sorted(self.sheet, key=lambda reason: (reason != "not flagged", reason))
        if reasons in ([], ["not flagged"]):
            return
        rows = []
        for reason in reasons:
            wells, images = zip(*self.sheet[reason], strict=True)
            named = ", ".join(wells[:2]) + (" …" if self.reasons[reason] > 2 else "")
            rows.append((f"{reason} ({self.reasons[reason]})\n{named}", np.stack(images)))
        contact_sheet(path, rows, self.reader.channels, title="Fields to look at", zoom=1)

    def _survey(self, plate: str) -> tuple[np.ndarray | None, TypicalField | None]:
        cells = self.cells
        if cells.illumination is None and cells.quality is None:
            return None, None
        own = self.index.filter(pl.col("plate") == plate)
        own = own.sample(min(cells.surveyed, own.height), seed=crc32(plate.encode()))
        total, measures = np.zeros(1), []
        n, unread = 0, []
        for raw in self.reader.read(own, unread):
            n += 1
            total = total + raw.image if cells.illumination is not None else total
            measures += [measure(raw.image)] if cells.quality is not None else []
        if not n:
            raise UnreadableImage(f"none of {own.height} fields of plate {plate} can be read: {unread[0][1]}")
        light = None if cells.illumination is None else cells.illumination.estimate(total / n, n, plate)
        return light, None if cells.quality is None else cells.quality.typical(measures)


_ADVICE = (
    "correct the nuclear diameter and channel (or the masks, or how the table of centres names plate, well and site), "
    "or leave such plates out by keep={plate: [...]}."
)
