"""The plate for the lab: the best compounds, as unlike each other as can be, on a plate map with controls."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from rdkit.SimDivFilters.rdSimDivPickers import MaxMinPicker

from virtassay.data.molecules.similarity import fingerprints

ROWS, COLUMNS = {96: 8, 384: 16, 1536: 32}, {96: 12, 384: 24, 1536: 48}


@dataclass(frozen=True)
class Plate:
    """A plate for the lab: its wells and controls, and how many compounds are picked for it `among` the best."""

    wells: int = 384
    controls: int = 32
    compounds: int = 96
    among: int = 384

    def __call__(self, hits: pl.DataFrame, known: Sequence[str] = ()) -> pl.DataFrame:
        """The map of hits that are unlike each other and unlike `known` SMILES; raises as `diverse` and `plate_map`."""
        return plate_map(diverse(hits, self.compounds, self.among, known), self.wells, self.controls)


def diverse(hits: pl.DataFrame, n: int, among: int, known: Sequence[str] = ()) -> pl.DataFrame:
    """n of the best `among` hits, the first the best, each next the one least like those picked (MaxMin).

    known: SMILES that picks shall be unlike too, the first of them already. Source: Ashton et al. 2002
    (doi 10.1002/qsar.200290002). Raises ValueError for n below 1.
    """
    if n < 1:
        raise ValueError(f"{n} compounds make no plate: give 1 or more.")
    best = hits.head(max(n, among))
    if best.height <= n:
        return best
    prints = fingerprints([*best["smiles"], *known])
    first = [*range(best.height, len(prints))] or [0]
    picked = list(MaxMinPicker().LazyBitVectorPick(prints, len(prints), n + len(known), first, 0))
    return best[sorted(i for i in picked if i < best.height)]


def plate_map(picked: pl.DataFrame, wells: int, controls: int) -> pl.DataFrame:
    """Wells of one plate or more: `controls` control wells spread over each, the compounds in the others, by rank.

    Columns plate, well, name, smiles, dose_um (as scored), is_control. Edges are used too. Raises ValueError for
    a plate of another size, and where controls leave no room.
    """
    if wells not in ROWS:
        raise ValueError(f"a plate of {wells} wells is unknown; there are {list(ROWS)}.")
    if not 0 <= controls < wells:
        raise ValueError(f"{controls} controls on a plate of {wells} wells leave no room for compounds.")
    letters = [*string.ascii_uppercase, *(f"A{letter}" for letter in string.ascii_uppercase)]
    names = [f"{row}{column + 1:02d}" for row in letters[: ROWS[wells]] for column in range(COLUMNS[wells])]
    of_controls = {names[int((i + 0.5) * wells / controls)] for i in range(controls)}
    free = [name for name in names if name not in of_controls]
    lines: list[dict[str, Any]] = []
    for number, compound in enumerate(picked.iter_rows(named=True)):
        plate, place = divmod(number, len(free))
        label, drug = f"plate{plate + 1}", {key: compound[key] for key in ("name", "smiles", "dose_um")}
        if place == 0:
            control = {"name": "control", "smiles": None, "dose_um": None, "is_control": True}
            lines += [{"plate": label, "well": well} | control for well in of_controls]
        lines.append({"plate": label, "well": free[place]} | drug | {"is_control": False})
    order = {name: i for i, name in enumerate(names)}
    lines.sort(key=lambda line: (line["plate"], order[line["well"]]))
    return pl.DataFrame(lines)
