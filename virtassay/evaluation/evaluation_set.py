"""The evaluation set: what a judgement looks at. Strata, controls and training images by row number.

Images have one row number: real images come first, then generated ones, and then those that baselines make.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.data.dataset.store import Dataset

Rows = NDArray[np.int64]
Images = NDArray[Any]
Entry = TypeVar("Entry", bound=np.generic)  # row numbers, names
NO_ROWS: Rows = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Which images are looked at, and how often.

    split: of the real images, the one that is judged. seed: of every draw. resamples: of each bootstrap. repeats: of
    generators whose draw is chance (halvings of the replicates, shufflings of the labels). max_images, max_controls,
    max_training: most images per stratum and side, per part of a batch's controls, and of a batch's training images.
    max_memory: training images in which copies are looked for.
    """

    split: str = "test"
    seed: int = 0
    resamples: int = 1000
    repeats: int = 5
    max_images: int = 500
    max_controls: int = 200
    max_training: int = 500
    max_memory: int = 0


@dataclass(frozen=True)
class Stratum:
    """One batch and treatment: its real and its generated images, by row number."""

    name: str
    batch: str
    treatment: str
    perturbation: str
    dose_um: float | None
    moa: str | None
    smiles: str | None  # of all its parts, as one SMILES; None where one of them has none
    seen: bool  # its perturbation has training images, at whatever dose
    real: Rows
    generated: Rows


@dataclass(frozen=True)
class ControlParts:
    """One batch's real controls, in three disjoint parts."""

    real: Rows
    generated: Rows
    copy: Rows

    @property
    def all(self) -> Rows:
        """The three together."""
        return np.concatenate([self.real, self.generated, self.copy])


@dataclass(frozen=True)
class StratumImages:
    """The images of one stratum, by row: `generated` is judged against `reference`; each has controls of its own."""

    reference: Rows
    generated: Rows
    control: Rows
    generated_control: Rows
    halved: str = "whole"  # how a replicate was made: "wells", "other_splits" or "images"


Assignment = dict[str, StratumImages]  # of one generator, in one seeded draw: stratum → its images


@dataclass(frozen=True)
class EvaluationSet:
    """Everything a baseline may draw from. `controls[k]` is the k-th seeded division of each batch's controls."""

    strata: list[Stratum]
    controls: list[dict[str, ControlParts]]
    treated_training: dict[str, Rows]  # batch → treated training images (other batches' where it has none)
    training: pl.DataFrame  # all treated training images and what was done to them
    serves: dict[str, list[str]]  # batch → the training batches that serve it: itself, or others where it has none
    control_share: dict[str, float]  # batch → share of controls in those training images
    memory: Rows  # training images, treated or not, in which copies are looked for
    begun_at: dict[int, int]  # generated image → the real control that it began at, where it says so
    other_splits: dict[str, Rows]  # stratum → its real images in wells of other splits
    well: NDArray[np.int64]  # number of the (plate, well) of each real image
    seed: int
    warnings: list[str]
    real: Dataset
    generated: Dataset
    made: list[Images] = field(default_factory=list[Images])  # by baselines

    def images(self, rows: Rows) -> Images:
        """The images of rows of any kind, in their order: (n, C, H, W) of the folders' type."""
        n_real, n_stored = len(self.real), len(self.real) + len(self.generated)
        shape, dtype = self.real.info.image_shape, self.real.info.dtype
        images = np.empty((len(rows), *shape), dtype)
        for start, stop, read in (
            (0, n_real, self.real.images),
            (n_real, n_stored, self.generated.images),
            (n_stored, self.n_images, self._made),
        ):
            inside = (rows >= start) & (rows < stop)
            if inside.any():
                images[inside] = read(rows[inside] - start)
        return images

    def assigned(self, draw: int, rows: Callable[[Stratum], Rows]) -> Assignment:
        """Put `rows` of each stratum in the place of its generated images, beside the controls of one division."""
        assignment: Assignment = {}
        for s in self.strata:
            controls = self.controls[draw][s.batch]
            assignment[s.name] = StratumImages(s.real, rows(s), controls.real, controls.generated)
        return assignment

    def _made(self, rows: Rows) -> Images:
        return np.concatenate(self.made)[rows]

    @property
    def n_images(self) -> int:
        """How many images there are of all kinds."""
        return len(self.real) + len(self.generated) + sum(map(len, self.made))

    def add(self, images: Images) -> Rows:
        """Take in images that a baseline made, and return their rows."""
        start = self.n_images
        self.made.append(images)
        return np.arange(start, start + len(images), dtype=np.int64)


def generator_for(seed: int, *parts: object) -> np.random.Generator:
    """A random generator that depends on the seed and on names, not on the order in which strata come."""
    return np.random.default_rng([seed, *(crc32(str(part).encode()) for part in parts)])


def at_most(rows: NDArray[Entry], n: int, rng: np.random.Generator) -> NDArray[Entry]:
    """`rows`, or n of them drawn without replacement, in their order."""
    return rows if len(rows) <= n else np.sort(rng.choice(rows, n, replace=False))


def divide(rows: Rows, wells: NDArray[np.int64], parts: int, rng: np.random.Generator) -> tuple[list[Rows], bool]:
    """Divide images into disjoint parts by whole wells; by image, and False, where there are fewer wells than parts."""
    names = rng.permutation(np.unique(wells))
    by_well = len(names) >= parts
    if by_well:
        part = {name: i % parts for i, name in enumerate(names.tolist())}
        label = np.array([part[well] for well in wells.tolist()], np.int64)
    else:
        label = rng.permutation(np.arange(len(rows)) % parts)
    return [rows[label == i] for i in range(parts)], by_well


def named(names: list[str], limit: int = 5) -> str:
    """The first few names, and how many there are."""
    more = f", … {len(names)} in all" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
