"""Plates as pictures: where each well stands, and what it got."""

from pathlib import Path
from typing import IO

import matplotlib
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_FORMATS = ((8, 12), (16, 24), (32, 48))  # rows × columns of 96, 384 and 1,536 wells


def ordered_treatments(index: pl.DataFrame) -> pl.DataFrame:
    """Return the treatments of an index, one row each: controls first, then by name and rising dose."""
    dose = pl.col("dose_um").list.sum() if "dose_um" in index.columns else pl.lit(0.0)
    name = pl.col("perturbation").list.sort().list.join(" + ")
    table = index.group_by("treatment").agg(pl.col("is_control").all(), name=name.first(), dose=dose.first())
    table = table.with_columns(parts=pl.col("name").str.count_matches(" + ", literal=True))
    return table.sort(~pl.col("is_control"), "parts", "name", "dose", "treatment")


def placed_wells(index: pl.DataFrame) -> pl.DataFrame:
    """Return one row a well with its place on the plate, `row` from 0 (A) and `column` from 1.

    Wells are read as letter and number (B03, AA12); those named otherwise are left out.
    """
    letters = pl.col("well").str.extract(r"^([A-Za-z]|A[A-Fa-f])\d+$").str.to_uppercase()
    names = [row_letters(row) for row in range(_FORMATS[-1][0])]
    wells = index.unique(["plate", "well"], maintain_order=True).with_columns(
        row=letters.replace_strict(names, range(len(names)), default=None, return_dtype=pl.Int32),
        column=pl.col("well").str.extract(r"^[A-Za-z]{1,2}(\d+)$").cast(pl.Int32, strict=False),
    )
    return wells.drop_nulls(["row", "column"]).sort("plate", "well")


def plate_format(wells: pl.DataFrame) -> tuple[int, int]:
    """Return the rows and columns of the smallest plate (96, 384, 1,536 wells) that has all placed wells."""
    y, x = (int(wells[name].max()) for name in ("row", "column"))  # pyright: ignore[reportArgumentType]
    return next((size for size in _FORMATS if y < size[0] and x <= size[1]), (y + 1, x))


@matplotlib.rc_context({"text.parse_math": False})  # a compound's name may hold a dollar sign
def plate_layout(path: Path | IO[bytes], index: pl.DataFrame, most: int = 12) -> None:
    """Save a picture of which well got what: a panel a plate (the first `most`), controls marked with a ring.

    Plates whose wells are not named like B03 are left out.
    """
    wells = placed_wells(index)
    plates = wells["plate"].unique(maintain_order=True).to_list()[:most]
    treatments = ordered_treatments(wells)["treatment"].to_list()
    colour = dict(zip(treatments, matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(treatments))), strict=True))
    columns = max(1, min(3, len(plates)))
    height = max(1, -(-len(plates) // columns))
    legend = min(len(treatments), 40)
    figure = Figure(figsize=(5 * columns + 3, max(3.6 * height, 0.17 * legend)))
    axes = figure.subplots(height, columns, squeeze=False)
    for axis in axes.flat[len(plates) :]:
        axis.set_axis_off()
    for axis, plate in zip(axes.flat, plates, strict=False):
        part = wells.filter(pl.col("plate") == plate)
        y, x = part["row"].to_numpy(), part["column"].to_numpy()
        control = part["is_control"].to_numpy()
        lines, across = plate_format(part)
        area = 150 * (8 / lines) ** 2 + 5
        axis.scatter(x, y, c=[colour[name] for name in part["treatment"]], s=area)
        axis.scatter(x[control], y[control], facecolors="none", edgecolors="black", linewidths=1.4, s=area)
        axis.set_xlim(0.3, across + 0.7)
        axis.set_ylim(lines - 0.3, -0.7)
        axis.set_yticks(range(lines), [row_letters(row) for row in range(lines)], fontsize=7)
        axis.set_xticks(range(1, across + 1, across // 12 if across >= 12 else 1))
        axis.tick_params(labelsize=7, length=0)
        axis.set_title(f"{plate} · batch {part['batch'][0]}", fontsize=9)
        axis.set_facecolor("#f4f4f4")
    if not plates:
        axes[0, 0].text(0.5, 0.5, "no well is named like B03", ha="center")
    handles = [Line2D([], [], marker="o", ls="", color=colour[name], label=name) for name in treatments[:legend]]
    handles.append(Line2D([], [], marker="o", ls="", markerfacecolor="none", color="black", label="control well"))
    figure.tight_layout(rect=(0, 0, 1 - 3 / (5 * columns + 3), 1))
    figure.legend(handles=handles, loc="center right", fontsize=7, frameon=False)
    figure.savefig(path, dpi=110)


def row_letters(row: int) -> str:
    """Name a row of a plate, counted from 0: A … Z, AA, AB …"""
    return chr(65 + row) if row < 26 else "A" + chr(65 + row - 26)
