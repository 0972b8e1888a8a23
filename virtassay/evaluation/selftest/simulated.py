"""A simulated screen whose truth is known, and large populations of cells like those in its wells.

Six mechanisms of several drugs each, two batches, no drug kills: an effect is a shift of the cells' phenotype and
nothing else, so that a generator can be made that is wrong in one thing only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.data.dataset.store import Dataset, DatasetInfo, open_dataset, write_dataset
from virtassay.simulator.anatomy import MITOSIS, STAGES
from virtassay.simulator.grow import grow
from virtassay.simulator.pharmacology import Perturbation, class_direction, compounds
from virtassay.simulator.plan import COMBINED_TYPES, Treatment, Well, plan_wells
from virtassay.simulator.render import CHANNELS

Images = NDArray[np.uint8]
MECHANISMS = (
    "actin disruptor",
    "Aurora kinase inhibitor",
    "cholesterol-lowering",
    "Eg5 inhibitor",
    "tubulin destabiliser",
    "tubulin stabiliser",
)
OWN = 2.5  # times the simulator's difference of drugs of one mechanism: to know the mechanism must not be enough
CHANNEL_COUNT = 3
BATCHES = 2
TREATED_WELLS = ("train", "train", "test", "test")  # of each treatment and batch
CELLS_PER_WELL = 60  # of a population


@dataclass(frozen=True)
class Population:
    """Cells of one treatment in one batch: images (n, C, H, W) and which cells are rare."""

    images: Images
    rare: NDArray[np.bool_]  # of a kind that is rare without treatment: dividing, with several nuclei, very large


@dataclass(frozen=True)
class SimulatedScreen:
    """Real images, and what generators are made of.

    requests: one well for each batch and treatment, with cells of its own. `images`: how many a generator gives for
    each. cells: for each (batch, drug), "DMSO" among them, far more cells than its test wells have.
    """

    real: Dataset
    requests: list[Well]
    images: int
    cells: dict[tuple[str, str], Population]


def simulated_screen(
    root: Path, seed: int, *, drugs_each: int, cells_per_well: int, control_wells: int, size: int, times: int = 6
) -> SimulatedScreen:
    """Write the real images to `root`/real, and grow populations `times` as large as a generator's answer.

    drugs_each: drugs of each of MECHANISMS, 2 or 3, at their highest dose. Each is in two training and two test wells
    of either batch; a generator gives as many images as the test wells have. size: edge of an image, in pixels.
    """
    drugs = [drug for moa in MECHANISMS for drug in [p for p in compounds() if p.moa == moa][:drugs_each]]
    treatments = [treated(drug, OWN * drug.direction + (1 - OWN) * class_direction(drug.moa)) for drug in drugs]
    layout = [Treatment()] * control_wells + treatments * len(TREATED_WELLS)
    wells = list(plan_wells(layout, seed, BATCHES, 1, CHANNEL_COUNT))
    grown = [grow(well, cells_per_well, size, CHANNEL_COUNT)[0] for well in wells]
    real = write(root / "real", zip(wells, _splits(wells), grown, strict=True))
    n = TREATED_WELLS.count("test") * cells_per_well
    first = {(well.batch, drug_of(well)): well for well in reversed(wells)}
    cells = {key: population(well, times * n, size) for key, well in first.items()}
    return SimulatedScreen(real, [well for well in first.values() if well.treatment.parts], n, cells)


def treated(drug: Perturbation, direction: NDArray[Any]) -> Treatment:
    """A treatment with a drug at its highest dose that moves cells along `direction` (on AXES) and kills none."""
    return Treatment(((replace(drug, direction=direction, toxicity=0.0), drug.top_um),))


def drug_of(well: Well) -> str:
    """The name of what the well was treated with."""
    return well.treatment.parts[0][0].name if well.treatment.parts else "DMSO"


def population(well: Well, n: int, size: int, label: str = "population") -> Population:
    """n cells of wells like this one, its own cells not among them. Equal wells and labels give equal cells."""
    images: list[Images] = []
    rare: list[NDArray[np.bool_]] = []
    while sum(map(len, images)) < n:
        key = (*well.key, crc32(label.encode()), len(images))
        some, truth = grow(replace(well, key=key), CELLS_PER_WELL, size, CHANNEL_COUNT)
        images.append(some)
        rare.append((truth["truth_cycle"] == STAGES[MITOSIS]) | (truth["truth_nuclei"] > 1) | truth["truth_rare"])
    return Population(np.concatenate(images)[:n], np.concatenate(rare)[:n])


def write(root: Path, parts: Iterable[tuple[Well, str, Images]]) -> Dataset:
    """Write the images of wells, each of one split, as a dataset folder, and open it."""
    rows: list[dict[str, Any]] = []
    images: list[Images] = []
    for well, split, some in parts:
        columns_of_well = {"plate": well.plate, "well": well.name, "batch": well.batch, "split": split}
        columns_of_well |= well.treatment.columns()
        rows += [{"image_id": f"{well.plate}_{well.name}_{i:04d}", **columns_of_well} for i in range(len(some))]
        images.append(some)
    info = DatasetInfo(root.name, CHANNELS[:CHANNEL_COUNT], images[0].shape[1:], "uint8")
    table = pl.DataFrame(rows, schema_overrides=COMBINED_TYPES, infer_schema_length=None)
    return open_dataset(write_dataset(root, info, np.concatenate(images), table))


def _splits(wells: Sequence[Well]) -> list[str]:
    """The split of each well: TREATED_WELLS in their order for drugs, every other control well for test."""
    seen: dict[tuple[str, str], int] = {}
    splits: list[str] = []
    for well in wells:
        key = well.batch, drug_of(well)
        n = seen.get(key, 0)
        splits.append(TREATED_WELLS[n] if well.treatment.parts else ("train", "test")[n % 2])
        seen[key] = n + 1
    return splits
