"""A plate as a drawing: where each well stands, its colour by any column, and a legend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import polars as pl
import polars.selectors as cs
from matplotlib.colors import to_hex

from virtassay.report.plates import placed_wells, plate_format, row_letters

OF_IMAGES = ("image_id", "requested_as", "control_id", "source_file", "shard", "offset", "seed")
PITCH, LEGEND, FEW, NONE, ACROSS = 24, 40, 10, "#d9dce1", 12
LARGEST = (32, 48)  # of 1,536 wells


@dataclass(frozen=True)
class MapWell:
    """One well of a plate map: its centre in pixels, and what it is."""

    name: str
    x: int
    y: int
    colour: str
    label: str
    is_control: bool
    url: str


@dataclass(frozen=True)
class PlateMap:
    """A plate, drawn. heads: labels of rows and columns, (x, y, text); legend: (colour, text); more: left out of it."""

    wells: tuple[MapWell, ...]
    width: int
    height: int
    radius: int
    heads: tuple[tuple[int, int, str], ...]
    legend: tuple[tuple[str, str], ...]
    more: int
    named: bool  # whether wells are called like B03, so that their place is known


def colourable(table: pl.DataFrame) -> list[str]:
    """The columns that wells can be coloured by: the treatment, how many images there are, and all plain ones."""
    plain = table.drop("plate", "well", *OF_IMAGES, strict=False).select(~cs.nested())
    return list(dict.fromkeys(["treatment", "images", *plain.columns]))


def draw_plate(table: pl.DataFrame, colour: str, url: Callable[[str], str]) -> PlateMap:
    """Draw the wells of one plate from its rows (well, treatment, is_control, …).

    Numbers are averaged over a well; of text, a well that holds several values is "mixed".
    """
    numeric = colour == "images" or table.schema[colour].is_numeric()
    if colour == "images":
        value = pl.len()
    elif numeric:
        value = pl.col(colour).mean()
    else:
        text = pl.col(colour).cast(pl.String)
        value = pl.when(text.n_unique() == 1).then(text.first()).otherwise(pl.lit("mixed"))
    treatments = pl.col("treatment").unique(maintain_order=True).head(3).str.join(" / ")
    wells = table.group_by("plate", "well").agg(
        pl.col("is_control").all(), value=value, treatments=treatments, images=pl.len()
    )
    wells = wells.sort("well")
    on_plate = placed_wells(wells)
    rows, columns = plate_format(on_plate) if on_plate.height else (0, 0)
    named = on_plate.height == wells.height and rows <= LARGEST[0] and columns <= LARGEST[1]
    if not named:
        rows, columns = -(-wells.height // ACROSS), ACROSS
        number = pl.int_range(pl.len())
        on_plate = wells.with_columns(row=number // ACROSS, column=number % ACROSS + 1)
    colours, legend = (_scale if numeric else _classes)(on_plate["value"].to_list())
    pitch = PITCH if columns <= 24 else PITCH // 2

    def centre(row: int, column: int) -> tuple[int, int]:
        return 30 + pitch * column + pitch // 2, 18 + pitch * row + pitch // 2

    map_wells: list[MapWell] = []
    for line, shade in zip(on_plate.iter_rows(named=True), colours, strict=True):
        place = centre(line["row"], line["column"] - 1)
        label, address = _label(line, colour), url(line["well"])
        map_wells.append(MapWell(line["well"], *place, shade, label, line["is_control"], address))
    heads: list[tuple[int, int, str]] = []
    if named:
        every = 1 if pitch == PITCH else 2
        heads += [(14, centre(row, 0)[1], row_letters(row)) for row in range(0, rows, every)]
        heads += [(centre(0, column)[0], 10, str(column + 1)) for column in range(0, columns, every)]
    return PlateMap(
        wells=tuple(map_wells),
        width=34 + pitch * columns,
        height=22 + pitch * rows,
        radius=pitch // 2 - 2,
        heads=tuple(heads),
        legend=tuple(legend[:LEGEND]),
        more=max(0, len(legend) - LEGEND),
        named=named,
    )


def _label(line: dict, colour: str) -> str:
    value = line["value"]
    value = f"{value:.4g}" if isinstance(value, float) else "not given" if value is None else value
    extra = "" if colour in ("treatment", "images") else f", {colour} {value}"
    return f"{line['well']}: {line['treatments']}{extra}, {line['images']} image{'s' if line['images'] != 1 else ''}"


def _classes(values: Sequence[str | None]) -> tuple[list[str], list[tuple[str, str]]]:
    names = sorted({value for value in values if value is not None})
    if len(names) <= FEW:
        shades = [to_hex(rgb) for rgb in matplotlib.colormaps["tab10"].colors]  # pyright: ignore
    else:
        shades = [to_hex(rgb) for rgb in matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(names)))]
    colour = dict(zip(names, shades, strict=False))
    missing = [(NONE, "not given")] if None in values else []
    return [NONE if value is None else colour[value] for value in values], [(colour[n], n) for n in names] + missing


def _scale(values: Sequence[float | None]) -> tuple[list[str], list[tuple[str, str]]]:
    numbers = np.array([np.nan if value is None else value for value in values], float)
    finite = numbers[np.isfinite(numbers)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    shades = matplotlib.colormaps["viridis"]
    part = (numbers - low) / ((high - low) or 1.0)
    steps = np.linspace(0, 1, 5 if high > low else 1)
    legend = [(to_hex(shades(step)), f"{low + step * (high - low):.4g}") for step in steps] if len(finite) else []
    missing = [(NONE, "not given")] if len(finite) < len(numbers) else []
    return [to_hex(shades(p)) if np.isfinite(p) else NONE for p in part], legend + missing
