"""Simulated screens: plates of wells whose cells, and whose truth, are known.

Each well is one field of view (render.py) of cells whose phenotypes follow from what was done to the well
(pharmacology.py); a crop is cut around every nucleus, so neighbours reach into it as on a real plate. The truth of each
cell goes into the index, in columns named `truth_…`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations as pairs
from pathlib import Path

import numpy as np
import polars as pl
from tqdm.auto import tqdm

from virtassay.data.anatomy import MITOSIS, STAGES, Cells
from virtassay.data.pharmacology import AXES, Perturbation, compounds
from virtassay.data.pharmacology import knock_outs as all_knock_outs
from virtassay.data.render import CHANNELS, Optics, render
from virtassay.data.splits import WELL, split_by_well, write_split
from virtassay.data.store import DatasetInfo, DatasetWriter
from virtassay.pictures import plate_layout, treatment_sheet

CELL_AREA = 780.0  # square units of a control well for each cell, at density 1
APART = 18.0  # least distance of two nuclei, in units
UNIT_UM = 0.65  # one unit of length, in µm
Truth = dict[str, np.ndarray]  # truth of the cells of a well: column of the index → n values
COMBINED_TYPES = {"smiles": pl.List(pl.String), "gene": pl.List(pl.String), "dose_um": pl.List(pl.Float64)}
PLATES = ((8, 12), (16, 24), (32, 48))  # rows × columns of 96, 384 and 1,536 wells


@dataclass(frozen=True)
class Treatment:
    """What is done to a well: perturbations with their doses in µM (None: a knock-out); none at all is DMSO."""

    parts: tuple[tuple[Perturbation, float | None], ...] = ()

    @property
    def effect(self) -> np.ndarray:
        """Mean shift of the phenotype: the effects of the parts add up."""
        return sum((part.effect(dose) for part, dose in self.parts), np.zeros(len(AXES)))

    @property
    def survival(self) -> float:
        """Part of the cells that is left: the parts kill independently (Bliss)."""
        return float(np.prod([part.survival(dose) for part, dose in self.parts]))

    @property
    def response(self) -> float:
        """The largest Hill response among the parts."""
        return max((part.response(dose) for part, dose in self.parts), default=0.0)

    def columns(self) -> dict[str, object]:
        """The index's columns that say what was done, the true effect among them."""
        parts = [part for part, _ in self.parts]
        alone = parts[0] if len(parts) == 1 else None
        return {
            "perturbation": [part.name for part in parts] or ["DMSO"],
            "perturbation_type": "none" if not parts else "crispr" if parts[0].gene else "compound",
            "smiles": [part.smiles for part in parts] or [None],
            "gene": [part.gene for part in parts] or [None],
            "dose_um": [dose for _, dose in self.parts] or [None],
            "moa": " + ".join(sorted({part.moa for part in parts})) or "DMSO",
            "is_control": not parts,
            "truth_response": self.response,
            "truth_survival": self.survival,
            "truth_ec50_um": alone.ec50_um if alone else None,
            **{f"truth_effect_{axis}": float(value) for axis, value in zip(AXES, self.effect, strict=True)},
        }


@dataclass(frozen=True)
class Well:
    """One well to simulate: where it is, what was done to it, how it was imaged."""

    batch: str
    plate: str
    name: str
    treatment: Treatment
    optics: Optics
    density: float
    key: tuple[int, ...]  # seeds the well's own random numbers, so wells can be simulated in any order


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
    n_compounds: int = 40,
    n_doses: int = 3,
    dilution: float = 4.0,
    knock_outs: int = 6,
    combinations: int = 4,
    toxicity: float = 1.0,
    batch_effect: float = 1.0,
    batch_prefix: str = "batch",
    split: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    workers: int = 2,
    overwrite: bool = False,
) -> Path:
    """Write a simulated screen as a dataset folder; the same arguments give the same bytes.

    `wells_per_treatment` and `control_wells` count wells of one plate, `cells_per_well` the crops expected in a control
    well. `size` is a crop's edge in pixels; a crop shows the same 48 units at any size. Each compound is given at its
    top dose and at `n_doses` − 1 dilutions of it. `toxicity` scales the part of the cells that is killed, and
    `batch_effect` how much batches differ in stain, light, focus and density. Batches are called `batch_prefix` and a
    number: screens that shall train one model together need names, and a seed, of their own. `split` takes and returns
    a table with one row a well (default: splits.split_by_well). Raises ValueError naming the argument that is out of
    range.
    """
    treatments = plan_treatments(n_compounds, n_doses, dilution, knock_outs, combinations, toxicity)
    _check(n_batches=n_batches, plates_per_batch=plates_per_batch, wells_per_treatment=wells_per_treatment)
    _check(control_wells=control_wells, cells_per_well=cells_per_well, workers=workers)
    if not 1 <= channels <= len(CHANNELS):
        raise ValueError(f"channels={channels}: the simulator has 1 to {len(CHANNELS)}, in this order: {CHANNELS}.")
    if size < 8:
        raise ValueError(f"size={size}: a crop needs at least 8 pixels (32 to show structure).")
    layout = [Treatment()] * control_wells + treatments * wells_per_treatment
    if batch_effect < 0:
        raise ValueError(f"batch_effect={batch_effect} scales how much batches differ: 0 (not at all) or more.")
    wells = list(plan_wells(layout, seed, n_batches, plates_per_batch, channels, batch_effect, batch_prefix))
    table = _well_table(wells)
    sides = split(table) if split else split_by_well(table, seed=seed)
    told = [*WELL, "split", *(name for name in ("held_out",) if name in sides.columns)]
    table = table.join(sides.select(told), on=WELL, how="left", maintain_order="left")
    info = DatasetInfo(
        name=Path(root).name,
        channels=CHANNELS[:channels],
        image_shape=(channels, size, size),
        dtype="uint8",
        pixel_size_um=round(48 / size * UNIT_UM, 4),
        provenance={"source": "virtassay.data.simulate", "seed": seed, "n_wells": len(wells)},
    )
    with (
        DatasetWriter(root, info, overwrite=overwrite) as writer,
        tqdm(total=len(wells), desc="simulating", unit=" wells") as bar,
    ):
        for done, images, truths in grow_all(wells, cells_per_well, size, channels, workers):
            writer.append(images, _rows(table[done], truths))
            bar.update(len(truths))
        dataset = writer.preview()
        write_split(writer.folder / "split.csv", table, info.name, split or partial(split_by_well, seed=seed))
        treatment_sheet(writer.folder / "contact_sheet.png", dataset)
        plate_layout(writer.folder / "plate_layout.png", dataset.index)
    return Path(root)


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}={value}: give at least 1.")


def plan_treatments(
    n_compounds: int, n_doses: int, dilution: float, n_knock_outs: int, n_combinations: int, toxicity: float = 1.0
) -> list[Treatment]:
    """Every compound at every dose, then knock-outs, then pairs of compounds of unlike classes at their second dose."""
    if not 0 <= toxicity <= 1:
        raise ValueError(f"toxicity={toxicity}: give 0 (no cell is killed) to 1 (as many as at full strength).")
    drugs, genes = (
        [replace(p, toxicity=toxicity * p.toxicity) for p in known] for known in (compounds(), all_knock_outs())
    )
    if not 1 <= n_compounds <= len(drugs):
        raise ValueError(f"n_compounds={n_compounds}: give 1 to {len(drugs)}.")
    if not 0 <= n_knock_outs <= len(genes):
        raise ValueError(f"knock_outs={n_knock_outs}: give 0 to {len(genes)}.")
    if n_doses < 1 or dilution <= 1:
        raise ValueError(f"n_doses={n_doses}, dilution={dilution}: give at least one dose and a dilution above 1.")
    active = [drug for drug in drugs[:n_compounds] if drug.moa != "inactive"]
    mixed = [(a, b) for a, b in pairs(range(len(active)), 2) if active[a].moa != active[b].moa]
    mixed.sort(key=lambda pair: (abs(pair[1] - pair[0] - 2), pair))  # each drug in a few pairs before any is in many
    if not 0 <= n_combinations <= len(mixed):
        raise ValueError(f"combinations={n_combinations}: these compounds make 0 to {len(mixed)} pairs of classes.")

    def dose(drug: Perturbation, step: int) -> float:
        return float(f"{drug.top_um / dilution**step:.3g}")

    second = min(1, n_doses - 1)
    single = [Treatment(((drug, dose(drug, step)),)) for drug in drugs[:n_compounds] for step in range(n_doses)]
    gene = [Treatment(((knock_out, None),)) for knock_out in genes[:n_knock_outs]]
    double = [Treatment(tuple((active[i], dose(active[i], second)) for i in pair)) for pair in mixed[:n_combinations]]
    return single + gene + double


def plan_wells(
    layout: list[Treatment],
    seed: int,
    n_batches: int,
    plates_per_batch: int,
    channels: int,
    batch_effect: float = 1.0,
    batch_prefix: str = "batch",
) -> Iterator[Well]:
    """Lay the treatments out at random on every plate, and draw how each batch and plate was stained and imaged."""
    shape = next((s for s in PLATES if s[0] * s[1] >= len(layout)), None)
    if shape is None:
        raise ValueError(f"{len(layout)} wells do not fit a plate of {PLATES[-1]}: take fewer treatments or wells.")
    for b in range(n_batches):
        rng = np.random.default_rng((seed, 0, b))
        gain = np.exp(batch_effect * rng.normal(0, 0.2, len(CHANNELS)))[:channels]
        background = rng.uniform(6, 16, len(CHANNELS))[:channels]
        psf = (rng.uniform(0.6, 1.0) ** batch_effect * rng.uniform(0.9, 1.1, len(CHANNELS)))[:channels]
        tilt, vignette = batch_effect * rng.normal(0, 0.1, 2), rng.uniform(0.02, 0.12)
        density = np.exp(batch_effect * rng.normal(0, 0.12))
        for p in range(plates_per_batch):
            own = gain * np.exp(rng.normal(0, 0.04, len(CHANNELS)))[:channels]
            optics = Optics(own, background, psf, tilt, vignette)
            places = rng.permutation(len(layout))
            plate = f"B{b + 1:02d}P{p + 1:02d}"
            for treatment, place in sorted(zip(layout, places, strict=True), key=lambda pair: pair[1]):
                name = f"{_letters(place // shape[1])}{place % shape[1] + 1:02d}"
                batch, key = f"{batch_prefix}{b + 1}", (seed, 1, b, p, int(place))
                yield Well(batch, plate, name, treatment, optics, density, key)


def _letters(row: int) -> str:
    return chr(65 + row) if row < 26 else "A" + chr(65 + row - 26)


def grow_all(
    wells: list[Well], cells_per_well: int, size: int, channels: int, workers: int
) -> Iterator[tuple[slice, np.ndarray, list[Truth]]]:
    """Simulate wells on `workers` threads, in order: which wells, their crops, the truth of each well's cells."""
    step = 8 * workers  # a few at a time, or images pile up faster than they are written
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(wells), step):
            done = slice(start, start + step)
            grown = list(pool.map(lambda well: grow(well, cells_per_well, size, channels), wells[done]))
            yield done, np.concatenate([images for images, _ in grown]), [truth for _, truth in grown]


def grow(well: Well, cells_per_well: int, size: int, channels: int) -> tuple[np.ndarray, Truth]:
    """Simulate one well: crops (n, channels, size, size) uint8 and the truth of the n cells at their centres."""
    rng = np.random.default_rng(well.key)
    unit = size / 48
    crop = size / unit
    inner = np.sqrt(cells_per_well * CELL_AREA)
    edge = inner + crop + 2 / unit
    expected = edge**2 / CELL_AREA * well.density * well.treatment.survival
    x, y = _scatter(rng.poisson(expected), edge, rng)
    cells, truth = _individuals(x, y, well.treatment.effect, rng)
    field = render(cells, well.optics, channels, edge, unit, rng)
    left, top = (np.floor(c * unit).astype(int) - size // 2 for c in (x, y))
    whole = (left >= 0) & (top >= 0) & (left + size <= field.shape[2]) & (top + size <= field.shape[1])
    images = np.empty((int(whole.sum()), channels, size, size), np.uint8)
    for image, j, i in zip(images, top[whole], left[whole], strict=True):
        image[:] = field[:, j : j + size, i : i + size]
    reach = np.maximum(np.abs(x[:, None] - x), np.abs(y[:, None] - y)) < crop / 2
    truth |= {"x_px": left + size / 2, "y_px": top + size / 2, "truth_neighbours": reach.sum(1) - 1}
    return images, {name: values[whole] for name, values in truth.items()}


def _scatter(n: int, edge: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Up to n points in a square, none closer than APART: four darts a point, void if too close to one kept."""
    darts = rng.uniform(0, edge, (4 * n, 2))
    clash = ((darts[:, None] - darts) ** 2).sum(-1) < APART**2
    free = np.ones(len(darts), bool)
    kept: list[int] = []
    for i in range(len(darts)):
        if free[i] and len(kept) < n:
            kept.append(i)
            free &= ~clash[i]
    return darts[kept, 0], darts[kept, 1]


def _individuals(x: np.ndarray, y: np.ndarray, effect: np.ndarray, rng: np.random.Generator) -> tuple[Cells, Truth]:
    """Draw the cells of a well: each responds a little more or less; some divide; a few are large and multinucleate."""
    n = len(x)
    axis = {name: i for i, name in enumerate(AXES)}
    responsiveness = np.exp(rng.normal(0, 0.2, n)) * np.where(rng.random(n) < 0.06, 0.2, 1.0)
    shift = responsiveness[:, None] * effect
    phenotype = shift + rng.normal(0, 0.3, (n, len(AXES)))
    odds = np.array([0.52, 0.24, 0.20, 0.035]) * np.ones((n, 1))
    odds[:, 3] *= np.exp(0.9 * shift[:, axis["mitosis"]])
    odds /= odds.sum(1, keepdims=True)
    stage = (rng.random((n, 1)) > odds.cumsum(1)[:, :3]).sum(1)
    dna = np.choose(stage, [np.ones(n), rng.uniform(1, 2, n), np.full(n, 2.0), np.full(n, 2.0)])
    rare = rng.random(n) < 0.03
    phenotype[rare] += [{"nucleus_size": 1.0, "cell_area": 1.8, "actin_fibres": 1.0}.get(name, 0.0) for name in AXES]
    multinucleate = rng.random(n) < 1 / (1 + np.exp(4 - 2.1 * shift[:, axis["multinucleation"]]))
    nuclei = np.where(multinucleate | rare, rng.integers(2, 5, n), 1)
    nuclei[stage == MITOSIS] = 1
    truth = {
        "truth_cycle": np.array(STAGES)[stage],
        "truth_dna": dna,
        "truth_rare": rare,
        "truth_nuclei": nuclei,
        "truth_responsiveness": responsiveness,
    }
    return Cells(x, y, stage, dna, nuclei, phenotype), truth


def _well_table(wells: list[Well]) -> pl.DataFrame:
    """One row a well, in the index's columns; `image_id` is what the names of its images begin with."""
    rows = [
        {"image_id": f"{w.plate}_{w.name}", "batch": w.batch, "plate": w.plate, "well": w.name} | w.treatment.columns()
        for w in wells
    ]
    return pl.DataFrame(rows, schema_overrides=COMBINED_TYPES, infer_schema_length=None)


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
