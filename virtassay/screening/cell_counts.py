"""Cells left: how many cells outlast a treatment, as a share of untreated ones (1: all), where the data show it.

Real wells show it by the cells found in them, against the controls of their plate. Generated images show it by their
nuclei where each holds several, and where over the treatments that training has seen fewer nuclei went with fewer
cells in the wells. Crops of one cell each do not: they say how a cell looks, not how many there are.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import pearsonr

from virtassay.data.dataset.store import Dataset
from virtassay.data.loading.vocabulary import Vocabulary
from virtassay.evaluation.featurizers.cells import CellStatistics
from virtassay.screening.confidence import TrainingCompounds
from virtassay.screening.effects import Context
from virtassay.screening.engines import StagePlan
from virtassay.screening.goals import Score
from virtassay.screening.hits import FAR, LISTS, HitAnnotation
from virtassay.screening.reference import ReferenceEffects

Array = NDArray[np.float64]
TOXIC = 0.5  # of the control's cells: below it a treatment is called toxic
SEVERAL = 1.5  # nuclei in an untreated image on average: of fewer, the count says how a cell was cropped
LOOKED_AT = 256  # images of controls
FEWEST_SEEN = 5  # treatments
FEWEST_WELLS = 3  # of controls
DECADE = 1.0  # log10 of doses that are held against each other
FOLLOWS, CHANCE = 0.5, 0.05  # correlation over seen treatments at least, and its p at most


def cells_in_wells(train: Dataset) -> pl.DataFrame | None:
    """The share of cells left of each single perturbation and dose: name, dose_um, cells_left, error (standard).

    Of a well: the cells of a field (the harmonic mean of `cells_in_field` over its images, for crowded fields have
    more of them), else its images; over the mean of the control wells of its plate. The error is that of as many wells
    as there are, each as far off as control wells are. None where fewer than three control wells share their plates
    with others, or where all hold as many: these were chosen, not counted.
    """
    counted = "cells_in_field" in train.index.columns
    count = 1 / (1 / pl.col("cells_in_field")).mean() if counted else pl.len().cast(pl.Float64)
    doses = pl.col("dose_um").list.first() if "dose_um" in train.index.columns else pl.lit(None, pl.Float64)
    wells = (
        train.index.filter(pl.col("is_control") | (pl.col("perturbation").list.len() == 1))
        .with_columns(name=pl.col("perturbation").list.first(), dose=doses)
        .group_by("batch", "plate", "well", "is_control", "name", "dose", maintain_order=True)
        .agg(cells=count)
    )
    plate = ["batch", "plate"]
    controls = wells.filter("is_control")
    usual = controls.group_by(plate).agg(pl.col("cells").mean().alias("usual"), pl.len().alias("controls"))
    controls = controls.join(usual, on=plate)
    freedom = controls.height - usual.height
    if controls.height < FEWEST_WELLS or freedom < 1 or controls["cells"].n_unique() < 2:
        return None
    spread = float(np.sqrt(np.square((controls["cells"] / controls["usual"] - 1).to_numpy()).sum() / freedom))
    return (
        wells.filter(~pl.col("is_control"))
        .join(usual, on=plate)
        .group_by("name", "dose", maintain_order=True)
        .agg(
            cells_left=(pl.col("cells") / pl.col("usual")).mean(),
            error=spread * (1 / pl.len() + 1 / pl.col("controls").sum()).sqrt(),
        )
        .rename({"dose": "dose_um"})
    )


def wells_at_dose(wells: pl.DataFrame, name: str, dose_um: float) -> dict[str, float] | None:
    """The row of a perturbation at the nearest dose, within a factor of ten, or of one without doses; None: none."""
    own = wells.filter(pl.col("name") == name).with_columns(
        apart=(pl.col("dose_um").log10() - np.log10(dose_um)).abs().fill_null(0.0)
    )
    own = own.filter(pl.col("apart") <= DECADE).sort("apart")
    return own.row(0, named=True) if own.height else None


@dataclass(frozen=True)
class NucleiLeft:
    """A goal: the share of nuclei left, 1 + mean_u (n_u − n⁰_u) / mean_u n⁰_u, of images of the same seeds.

    n_u of treated and n⁰_u of untreated images is the first feature.
    """

    context: Context

    @property
    def contexts(self) -> tuple[Context, ...]:
        return (self.context,)

    def prepare(self, reference: ReferenceEffects) -> Score:
        untreated = reference.untreated[self.context.cell_type][:, 0]
        scale = float(reference.scale.values[0])
        return lambda effects: 1 + effects[..., 0].mean(-1) * scale / untreated.mean()


@dataclass(frozen=True)
class CountAgreement:
    """Over n seen treatments, cells lost in real wells = slope × nuclei lost in generated images ± error (r.m.s.)."""

    n: int
    correlation: float
    slope: float
    error: float
    clear: bool


def count_agreement(reference: ReferenceEffects, wells: pl.DataFrame) -> CountAgreement:
    """Hold the nuclei lost in generated images of seen treatments, at the reference's doses of them, against the wells.

    The slope is of least squares through the origin: no loss is no loss. It is above 1 where each crop is centred on a
    cell, which is always there. Clear: five treatments or more, a correlation of 0.5 or more, p ≤ 0.05 (one-sided).
    """
    untreated = next(iter(reference.untreated.values()))[:, 0].mean()
    lost: list[tuple[float, float]] = []
    for name, effect in zip(reference.names, reference.seen[:, 0], strict=True):
        dose = reference.predictor.assay.vocabulary.seen_dose(name, max(reference.doses_um))
        real = None if dose is None else wells_at_dose(wells, name, dose)
        if real is not None and untreated > 0:
            lost.append((-float(effect) * float(reference.scale.values[0]) / untreated, 1 - real["cells_left"]))
    x, y = np.array(lost, np.float64).reshape(-1, 2).T
    if len(x) < FEWEST_SEEN or np.ptp(x) == 0 or np.ptp(y) == 0:
        return CountAgreement(len(x), float("nan"), float("nan"), float("nan"), False)
    correlation: Any = pearsonr(x, y, alternative="greater")
    slope = float(x @ y / (x @ x))
    error = float(np.sqrt(np.square(y - slope * x).mean()))
    clear = correlation.statistic >= FOLLOWS and correlation.pvalue <= CHANCE and slope > 0
    return CountAgreement(len(x), float(correlation.statistic), slope, error, bool(clear))


@dataclass(frozen=True)
class CellCounts:
    """What can be counted: cells in wells, as of `cells_in_wells`, and nuclei in what the last stage generates.

    nuclei: the stage that counts them, None where that would say nothing, and then `reason` says why, in words.
    """

    wells: pl.DataFrame | None
    nuclei: StagePlan | None
    reason: str

    @classmethod
    def of(cls, last: StagePlan, vocabulary: Vocabulary, real: Dataset | None, folder: Path) -> "CellCounts":
        """Look at the real images of training, if they are there. vocabulary: of its model. folder: for the nuclei."""
        if real is None:
            return cls(None, None, "the real images of training are not there")
        train = real.split("train")
        wells = cells_in_wells(train)
        if wells is None:
            return cls(None, None, "too few wells of controls, or a chosen number of images of each")
        if "float32" in (vocabulary.dtype, real.info.dtype):
            return cls(wells, None, "vectors hold no nuclei")
        try:
            counter = CellStatistics.of(vocabulary.channels, vocabulary.pixel_size_um)
            controls = train.where(pl.col("is_control"))
            rows = np.unique(np.linspace(0, len(controls) - 1, LOOKED_AT).astype(np.int64))
            of_images = CellStatistics.of(train.info.channels, train.info.pixel_size_um)
            usual = of_images(controls.images(rows))[:, 0].mean()
        except ValueError as error:
            return cls(wells, None, str(error).rstrip("."))
        if usual < SEVERAL:
            return cls(wells, None, f"with {usual:.1f} nuclei in an untreated image, it tells no loss of cells")
        recipe = replace(last.recipe, featurizer=counter, goal=NucleiLeft(last.recipe.goal.contexts[0]))
        return cls(wells, replace(last, name="nuclei of the best", recipe=recipe, folder=folder), "")

    @cached_property
    def agreement(self) -> CountAgreement | None:
        """Whether the nuclei follow the wells, once their stage is begun."""
        if self.nuclei is None or self.wells is None:
            return None
        return count_agreement(self.nuclei.scorer().reference, self.wells)

    @property
    def trusted(self) -> list[StagePlan]:
        """The stage, if its nuclei follow the wells."""
        return [self.nuclei] if self.nuclei and self.agreement and self.agreement.clear else []


def cells_left(hits: pl.DataFrame, counts: CellCounts, training: TrainingCompounds) -> HitAnnotation:
    """Annotate hits (compound, smiles, dose_um) with how many cells they leave, at the dose of their score.

    Columns: the share cells_left with its 95 % interval, and cells_from, what says it; null where nothing does. Nuclei
    of generated images say it where they follow the wells of seen treatments; else the wells of the nearest seen
    compound, if it is alike.
    """
    agreement, n = counts.agreement, hits.height
    left, reach, sources = np.full(n, np.nan), np.full(n, np.nan), [""] * n
    if counts.trusted and agreement is not None:
        left, reach = _generated(hits, counts.trusted[0], agreement)
        sources = ["nuclei of generated images"] * n
        sentence = (
            f"Cells left: by the nuclei of generated images, since over {agreement.n} seen treatments fewer of these "
            f"went with fewer cells in real wells (correlation {agreement.correlation:.2f}; share of cells lost = "
            f"{agreement.slope:.2g} × share of nuclei lost)."
        )
    elif counts.wells is not None:
        names, similarity = training.nearest(hits["smiles"].to_list())
        for i, (name, alike, dose) in enumerate(zip(names, similarity, hits["dose_um"], strict=True)):
            real = wells_at_dose(counts.wells, name, dose) if alike >= FAR else None
            if real is not None:
                left[i], reach[i] = real["cells_left"], 1.96 * real["error"]
                sources[i] = f"wells of {name}" + ("" if real["dose_um"] is None else f" at {real['dose_um']:g} µM")
        sentence = (
            f"Cells left: by the real wells of the nearest seen compound, if alike ({np.isfinite(left).sum()} of {n}). "
            f"Generated images do not show it: {_why_not(counts)}."
        )
    else:
        sentence = f"Cells left: the data do not show it ({counts.reason})."
    table = pl.DataFrame(
        {
            "compound": hits["compound"],
            "cells_left": left.clip(min=0),
            "cells_lower": (left - reach).clip(min=0),
            "cells_upper": (left + reach).clip(min=0),
            "cells_from": sources,
        }
    ).with_columns(pl.selectors.float().fill_nan(None), cells_from=pl.col("cells_from").replace("", None))
    flags = [
        f"toxic: {100 * left:.0f} % of cells left ({source})" if left is not None and left < TOXIC else ""
        for left, source in table.select("cells_left", "cells_from").iter_rows()
    ]
    return HitAnnotation(table.with_columns(flags=pl.Series(flags, dtype=pl.String)), sentence, [])


def _why_not(counts: CellCounts) -> str:
    agreement = counts.agreement
    if agreement is None:
        return counts.reason
    n, correlation = agreement.n, agreement.correlation
    if np.isnan(correlation):
        return f"{n} seen treatments have wells at such doses, and {FEWEST_SEEN} are needed to tell"
    return f"over {n} seen treatments their nuclei do not follow the wells (correlation {correlation:.2f})"


def _generated(hits: pl.DataFrame, nuclei: StagePlan, agreement: CountAgreement) -> tuple[Array, Array]:
    """The share of cells left and the half of its 95 % interval, by the counted nuclei of each hit at its dose."""
    counted = nuclei.shards.scores(["compound", *LISTS])
    at = hits.select("compound", "dose_um").join(counted, on="compound", how="left", maintain_order="left")
    doses = list(nuclei.recipe.doses_um)
    place = [doses.index(dose) for dose in at["dose_um"]]
    share, lower, upper = (
        np.array([row[i] for row, i in zip(at[name].to_list(), place, strict=True)], np.float64) for name in LISTS
    )
    reach = np.hypot(agreement.slope * (upper - lower) / 2, 1.96 * agreement.error)
    return 1 - agreement.slope * (1 - share), reach
