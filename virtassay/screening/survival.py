"""Cells left: how many cells outlast a treatment, as a share of untreated ones (1: all), where the data show it.

Real wells show it by the cells found in them, against the controls of their plate. Generated images show it by their
nuclei where each holds several, and where over the treatments that training has seen fewer nuclei went with fewer
cells in the wells. Crops of one cell each do not: they say how a cell looks, not how many there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import pearsonr

from virtassay.data.dataset.store import Dataset
from virtassay.evaluation.featurizers.cells import CellStatistics
from virtassay.screening.bench import Bench
from virtassay.screening.confidence import Known
from virtassay.screening.goals import Context, Goal
from virtassay.screening.hits import FAR, LISTS, Check
from virtassay.screening.passes import Pass
from virtassay.screening.shards import Shards
from virtassay.screening.wells import at_dose, cells_in_wells

Array = NDArray[np.float64]
TOXIC = 0.5  # of the control's cells: below it a treatment is called toxic
SEVERAL = 1.5  # nuclei in an untreated image on average: of fewer, the count says how a cell was cropped
LOOKED_AT = 256  # images of controls
FEWEST_SEEN = 5  # treatments
FOLLOWS, CHANCE = 0.5, 0.05  # correlation over seen treatments at least, and its p at most


@dataclass(frozen=True)
class Left:
    """Share of nuclei left: 1 + mean_u (n_u − n⁰_u) / mean_u n⁰_u, of treated and untreated images of the same seeds.

    The count is the first feature. untreated: n⁰, (units,); scale: of the ruler, that effects were divided by.
    """

    untreated: Array
    scale: float
    contexts: tuple[Context, ...]
    is_length: ClassVar[bool] = False

    def __call__(self, *effects: Array) -> Array:
        return 1 + effects[0][..., 0].mean(-1) * self.scale / self.untreated.mean()


@dataclass(frozen=True)
class CellsLeft:
    """Wanted: how many nuclei are left, in a context."""

    context: Context

    @property
    def cell_types(self) -> tuple[str | None, ...]:
        return (self.context.cell_type,)

    def goal(self, bench: Bench) -> Goal:
        untreated = bench.untreated[self.context.cell_type][:, 0]
        return Left(untreated, float(bench.ruler.scale[0]), (self.context,))


@dataclass(frozen=True)
class Following:
    """Over n seen treatments, cells lost in real wells = slope × nuclei lost in generated images ± error (r.m.s.)."""

    n: int
    correlation: float
    slope: float
    error: float
    clear: bool


def following(bench: Bench, wells: pl.DataFrame) -> Following:
    """Hold the nuclei lost in generated images of seen treatments, at the bench's doses of them, against the wells.

    The slope is of least squares through the origin: no loss is no loss. It is above 1 where each crop is centred on a
    cell, which is always there. Clear: five treatments or more, a correlation of 0.5 or more, p ≤ 0.05 (one-sided).
    """
    untreated = next(iter(bench.untreated.values()))[:, 0].mean()
    lost: list[tuple[float, float]] = []
    for name, effect in zip(bench.names, bench.seen[:, 0], strict=True):
        dose = bench.instrument.assay.vocabulary.seen_dose(name, max(bench.doses_um))
        real = None if dose is None else at_dose(wells, name, dose)
        if real is not None and untreated > 0:
            lost.append((-float(effect) * float(bench.ruler.scale[0]) / untreated, 1 - real["cells_left"]))
    x, y = np.array(lost, np.float64).reshape(-1, 2).T
    if len(x) < FEWEST_SEEN or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Following(len(x), float("nan"), float("nan"), float("nan"), False)
    told: Any = pearsonr(x, y, alternative="greater")
    slope = float(x @ y / (x @ x))
    error = float(np.sqrt(np.square(y - slope * x).mean()))
    clear = told.statistic >= FOLLOWS and told.pvalue <= CHANCE and slope > 0
    return Following(len(x), float(told.statistic), slope, error, bool(clear))


@dataclass(frozen=True)
class Counting:
    """What can be counted. wells: as of `cells_in_wells`; nuclei: the pass that counts them in what the last stage
    generated, None where that would say nothing, and then `reason` says why, in words."""

    wells: pl.DataFrame | None
    nuclei: Pass | None
    reason: str

    @classmethod
    def of(cls, last: Pass, bench: Bench, real: Dataset | None, shards: Shards) -> "Counting":
        """Look at the real images of training, if they are there. bench: of the last stage."""
        if real is None:
            return cls(None, None, "the real images of training are not there")
        train = real.split("train")
        wells = cells_in_wells(train)
        if wells is None:
            return cls(None, None, "too few wells of controls, or a chosen number of images of each")
        vocabulary = bench.instrument.assay.vocabulary
        if "float32" in (vocabulary.dtype, real.info.dtype):
            return cls(wells, None, "vectors hold no nuclei")
        try:
            counter = CellStatistics.of(vocabulary.channels, vocabulary.pixel_size_um)
            usual = _usual_nuclei(train)
        except ValueError as error:
            return cls(wells, None, str(error).rstrip("."))
        if usual < SEVERAL:
            return cls(wells, None, f"with {usual:.1f} nuclei in an untreated image, it tells no loss of cells")
        wanted = CellsLeft(last.recipe.wanted.goal(bench).contexts[0])
        recipe = replace(last.recipe, featurizer=counter, wanted=wanted)
        return cls(wells, Pass("nuclei of the best", recipe, last.stage, shards), "")

    @cached_property
    def follows(self) -> "Following | None":
        """Whether the nuclei follow the wells, once their pass is begun."""
        return None if self.nuclei is None or self.wells is None else following(self.nuclei.bench(), self.wells)

    @property
    def trusted(self) -> list[Pass]:
        """The pass, if its nuclei follow the wells."""
        return [self.nuclei] if self.nuclei is not None and self.follows is not None and self.follows.clear else []


def _usual_nuclei(train: Dataset) -> float:
    controls = train.where(pl.col("is_control"))
    rows = np.unique(np.linspace(0, len(controls) - 1, LOOKED_AT).astype(np.int64))
    counter = CellStatistics.of(train.info.channels, train.info.pixel_size_um)
    return float(counter(controls.images(rows))[:, 0].mean())


def survival(hits: pl.DataFrame, counting: Counting, known: Known) -> Check:
    """How many cells the hits (compound, smiles, dose_um) leave, at the dose of their score: the share cells_left with
    its 95 % interval, and cells_from, what tells it; null where nothing does.

    Nuclei of generated images tell it where they follow the wells of seen treatments; else the wells of the nearest
    seen compound, if it is alike.
    """
    follows = counting.follows
    if counting.trusted and follows is not None:
        table = _generated(hits, counting.trusted[0], follows)
        told = (
            f"Cells left: by the nuclei of generated images, since over {follows.n} seen treatments fewer of these "
            f"went with fewer cells in real wells (correlation {follows.correlation:.2f}; share of cells lost = "
            f"{follows.slope:.2g} × share of nuclei lost)."
        )
    elif counting.wells is not None:
        table = _of_the_nearest(hits, counting.wells, known)
        told = (
            f"Cells left: by the real wells of the nearest seen compound, if alike ({table['cells_left'].count()} of "
            f"{table.height}). Generated images do not show it: {_why_not(counting)}."
        )
    else:
        table = _none(hits)
        told = f"Cells left: the data do not show it ({counting.reason})."
    flags = [
        f"toxic: {100 * left:.0f} % of cells left ({by})" if left is not None and left < TOXIC else ""
        for left, by in table.select("cells_left", "cells_from").iter_rows()
    ]
    return Check(table.with_columns(flags=pl.Series(flags, dtype=pl.String)), told, [])


def _why_not(counting: Counting) -> str:
    follows = counting.follows
    if follows is None:
        return counting.reason
    if np.isnan(follows.correlation):
        return f"{follows.n} seen treatments have wells at such doses, and {FEWEST_SEEN} are needed to tell"
    return (
        f"over {follows.n} seen treatments their nuclei do not follow the wells (correlation {follows.correlation:.2f})"
    )


def _generated(hits: pl.DataFrame, nuclei: Pass, follows: Following) -> pl.DataFrame:
    counted = nuclei.shards.scores(["compound", *LISTS])
    at = hits.select("compound", "dose_um").join(counted, on="compound", how="left", maintain_order="left")
    doses = list(nuclei.recipe.doses_um)
    place = [doses.index(dose) for dose in at["dose_um"]]
    share, lower, upper = (
        np.array([row[i] for row, i in zip(at[name].to_list(), place, strict=True)], np.float64) for name in LISTS
    )
    left = 1 - follows.slope * (1 - share)
    reach = np.hypot(follows.slope * (upper - lower) / 2, 1.96 * follows.error)
    return _table(at["compound"], left, reach, ["nuclei of generated images"] * len(left))


def _of_the_nearest(hits: pl.DataFrame, wells: pl.DataFrame, known: Known) -> pl.DataFrame:
    names, similarity = known.nearest(hits["smiles"].to_list())
    left, reach, by = np.full(hits.height, np.nan), np.full(hits.height, np.nan), [""] * hits.height
    for i, (name, alike, dose) in enumerate(zip(names, similarity, hits["dose_um"], strict=True)):
        real = at_dose(wells, name, dose) if alike >= FAR else None
        if real is not None:
            left[i], reach[i] = real["cells_left"], 1.96 * real["error"]
            by[i] = f"wells of {name}" + ("" if real["dose_um"] is None else f" at {real['dose_um']:g} µM")
    return _table(hits["compound"], left, reach, by)


def _none(hits: pl.DataFrame) -> pl.DataFrame:
    nothing = np.full(hits.height, np.nan)
    return _table(hits["compound"], nothing, nothing, [""] * hits.height)


def _table(compound: pl.Series, left: Array, reach: Array, by: Sequence[str]) -> pl.DataFrame:
    """NaN, and what was not told, as null."""
    return pl.DataFrame(
        {
            "compound": compound,
            "cells_left": left.clip(min=0),
            "cells_lower": (left - reach).clip(min=0),
            "cells_upper": (left + reach).clip(min=0),
            "cells_from": list(by),
        }
    ).with_columns(pl.selectors.float().fill_nan(None), cells_from=pl.col("cells_from").replace("", None))
