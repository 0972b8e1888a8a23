"""The plan of a simulated screen: what is done to each well, where it lies, and how it is stained and imaged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations as pairs

import numpy as np
import polars as pl

from virtassay.simulator.pharmacology import AXES, Perturbation, compounds
from virtassay.simulator.pharmacology import knock_outs as all_knock_outs
from virtassay.simulator.render import CHANNELS, Optics

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


def plan_treatments(
    n_compounds: int | None,
    n_doses: int,
    dilution: float,
    n_knock_outs: int,
    n_combinations: int,
    toxicity: float = 1.0,
    known: Sequence[Perturbation] | None = None,
) -> list[Treatment]:
    """Every compound at every dose, then knock-outs, then pairs of compounds of unlike classes at their second dose.

    n_compounds: the first so many (None: all) of the known ones, which are the built-in ones by default.
    """
    if not 0 <= toxicity <= 1:
        raise ValueError(f"toxicity={toxicity}: give 0 (no cell is killed) to 1 (as many as at full strength).")
    drugs, genes = (
        [replace(p, toxicity=toxicity * p.toxicity) for p in perturbations]
        for perturbations in (compounds() if known is None else known, all_knock_outs())
    )
    n_compounds = len(drugs) if n_compounds is None else n_compounds
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
                row, column = divmod(place, shape[1])
                name = f"{'A' if row >= 26 else ''}{chr(65 + row % 26)}{column + 1:02d}"
                batch, key = f"{batch_prefix}{b + 1}", (seed, 1, b, p, int(place))
                yield Well(batch, plate, name, treatment, optics, density, key)


def well_table(wells: list[Well]) -> pl.DataFrame:
    """One row a well, in the index's columns; `image_id` is what the names of its images begin with."""
    rows = [
        {"image_id": f"{w.plate}_{w.name}", "batch": w.batch, "plate": w.plate, "well": w.name} | w.treatment.columns()
        for w in wells
    ]
    return pl.DataFrame(rows, schema_overrides=COMBINED_TYPES, infer_schema_length=None)
