"""Simulated screens: plates of wells whose cells, and whose truth, are known.

Each well is one field of view (render.py) of cells (grow.py) whose phenotypes follow from what was done to the well
(plan.py, pharmacology.py); a crop is cut around every nucleus, so neighbours reach into it as on a real plate. The
truth of each cell goes into the index, in columns named `truth_…`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from tqdm.auto import tqdm

from virtassay.data.dataset.store import DatasetInfo, DatasetWriter
from virtassay.data.prepare.splits import WELL, split_by_well, write_split
from virtassay.report.pictures import treatment_sheet
from virtassay.report.plates import plate_layout
from virtassay.simulator.grow import Truth, grow_all
from virtassay.simulator.pharmacology import read_drugs
from virtassay.simulator.plan import Treatment, plan_treatments, plan_wells, well_table
from virtassay.simulator.render import CHANNELS

UNIT_UM = 0.65  # one unit of length, in µm


def simulate(
    *,
    root: str | Path,
    seed: int = 0,
    n_batches: int = 3,
    plates_per_batch: int = 2,
    wells_per_treatment: int = 2,
    control_wells: int = 16,
    cells_per_well: int = 24,
    size: int = 48,
    channels: int = 3,
    n_compounds: int | None = 40,
    n_doses: int = 3,
    dilution: float = 4.0,
    knock_outs: int = 6,
    combinations: int = 4,
    toxicity: float = 1.0,
    batch_effect: float = 1.0,
    batch_prefix: str = "batch",
    drugs: str | Path | None = None,
    split: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    workers: int = 2,
    overwrite: bool = False,
) -> Path:
    """Write a simulated screen as a dataset folder; the same arguments give the same bytes.

    `wells_per_treatment` and `control_wells` count wells of one plate, `cells_per_well` the crops expected in a control
    well. `size` is a crop's edge in pixels; a crop shows the same 48 units at any size. Each compound is given at its
    top dose and at `n_doses` − 1 dilutions of it. `toxicity` scales the part of the cells that is killed, and
    `batch_effect` how much batches differ in stain, light, focus and density. Batches are called `batch_prefix` and a
    number: screens that shall train one model together need names, and a seed, of their own. `drugs` is a csv of
    compounds in place of the built-in ones, as `read_drugs` has it, of which the first `n_compounds` (None: all) are
    taken. `split` takes and returns a table with one row a well (default: splits.split_by_well). Raises ValueError
    naming the argument that is out of range.
    """
    own_drugs = None if drugs is None else read_drugs(drugs)
    treatments = plan_treatments(n_compounds, n_doses, dilution, knock_outs, combinations, toxicity, own_drugs)
    counts = {"n_batches": n_batches, "plates_per_batch": plates_per_batch, "wells_per_treatment": wells_per_treatment}
    counts |= {"control_wells": control_wells, "cells_per_well": cells_per_well, "workers": workers}
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}={count}: give at least 1.")
    if not 1 <= channels <= len(CHANNELS):
        raise ValueError(f"channels={channels}: the simulator has 1 to {len(CHANNELS)}, in this order: {CHANNELS}.")
    if size < 8:
        raise ValueError(f"size={size}: a crop needs at least 8 pixels (32 to show structure).")
    layout = [Treatment()] * control_wells + treatments * wells_per_treatment
    if batch_effect < 0:
        raise ValueError(f"batch_effect={batch_effect} scales how much batches differ: 0 (not at all) or more.")
    wells = list(plan_wells(layout, seed, n_batches, plates_per_batch, channels, batch_effect, batch_prefix))
    table = well_table(wells)
    sides = split(table) if split else split_by_well(table, seed=seed)
    columns = [*WELL, "split", *(name for name in ("held_out",) if name in sides.columns)]
    table = table.join(sides.select(columns), on=WELL, how="left", maintain_order="left")
    info = DatasetInfo(
        name=Path(root).name,
        channels=CHANNELS[:channels],
        image_shape=(channels, size, size),
        dtype="uint8",
        pixel_size_um=round(48 / size * UNIT_UM, 4),
        provenance={"source": "virtassay.simulator", "seed": seed, "n_wells": len(wells)},
    )
    with DatasetWriter(root, info, overwrite=overwrite) as writer:
        with tqdm(total=len(wells), desc="simulating", unit=" wells") as bar:
            for done, images, truths in grow_all(wells, cells_per_well, size, channels, workers):
                writer.append(images, _rows(table[done], truths))
                bar.update(len(truths))
        dataset = writer.preview()
        write_split(writer.folder / "split.csv", table, info.name, split or partial(split_by_well, seed=seed))
        treatment_sheet(writer.folder / "contact_sheet.png", dataset)
        plate_layout(writer.folder / "plate_layout.png", dataset.index)
    return Path(root)


def _rows(wells: pl.DataFrame, truths: list[Truth]) -> pl.DataFrame:
    """The index rows of some wells' crops, from one row and one truth a well."""
    counts = [len(truth["truth_dna"]) for truth in truths]
    number = np.concatenate([np.arange(n) for n in counts])
    rows = wells[np.repeat(np.arange(len(counts)), counts)]
    truth = {name: np.concatenate([truth[name] for truth in truths]) for name in truths[0]}
    return rows.with_columns(
        image_id=rows["image_id"] + "_" + pl.Series(number).cast(pl.String).str.zfill(4),
        cell_type=pl.lit("simulated"),
        **{name: pl.Series(values) for name, values in truth.items()},
    )
