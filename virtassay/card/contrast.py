"""How treated images differ from control images: can it be explained by brightness, or by the number of cells?

The question, and how it is answered, are those of the evaluation (`virtassay.evaluation.metrics.explained`).
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.card.measurements import PixelMeasurements
from virtassay.data.dataset.store import Dataset
from virtassay.evaluation.evaluation_set import at_most, generator_for
from virtassay.evaluation.featurizers.cells import CellStatistics
from virtassay.evaluation.metrics import explained
from virtassay.evaluation.space import FeatureSpace
from virtassay.report.figures import evenly

SEED = 0
FIELD = 3.0  # nuclei in the median image: of fewer, the count says how a cell was cropped
CLEAR = 0.05  # of an AUC above ½: with less there is no contrast to explain


@dataclass(frozen=True)
class Share:
    """Medians over treatments of AUCs of treated against control images, and the share of them that is explained.

    told: by all features; alone: by the confounder; without: by what of the features it does not predict.
    explained = (alone − ½)/(told − ½), between 0 and 1: None where treated look like controls.
    """

    confounder: str
    treatments: int
    told: float
    alone: float
    without: float
    explained: float | None


def draw_contrasts(index: pl.DataFrame, most: int) -> list[explained.Contrast]:
    """Draw treated and control images of at most TREATMENTS treatments, evenly over their names; `most` images in all.

    From at most BATCHES batches that hold both. Treatments in a single well are left out.
    """
    index = index.with_columns(_row=pl.int_range(pl.len()), _well=pl.struct("plate", "well").rank("dense"))
    control = index.filter("is_control")
    treated = index.filter(~pl.col("is_control") & pl.col("batch").is_in(control["batch"].unique().implode()))
    wells = treated.group_by("treatment").agg(pl.col("_well").n_unique())
    names = wells.filter(pl.col("_well") > 1)["treatment"].sort()
    chosen = evenly(len(names), explained.TREATMENTS)
    each = min(explained.IMAGES, most // (2 * max(1, len(chosen))))
    return [_contrast(name, treated, control, each) for name in names.gather(chosen)]


def _contrast(name: str, treated: pl.DataFrame, control: pl.DataFrame, each: int) -> explained.Contrast:
    own = treated.filter(pl.col("treatment") == name)
    batches = own["batch"].unique().sort().head(explained.BATCHES).to_list()
    parts: list[pl.DataFrame] = []
    for table in (own, control):
        for number, batch in enumerate(batches):
            rows = np.flatnonzero((table["batch"] == batch).to_numpy())
            rng = generator_for(SEED, name, batch, table is own, "card")
            kept = at_most(rows, max(1, each // len(batches)), rng)
            parts.append(table[kept].select("_row", "_well", _treated=pl.lit(table is own), _batch=pl.lit(number)))
    images = pl.concat(parts)
    rows, well, number = (images[column].to_numpy().astype(np.int64) for column in ("_row", "_well", "_batch"))
    return explained.Contrast(name, "real", rows, images["_treated"].to_numpy(), number, well, confounders={})


def contrast_aucs(contrasts: list[explained.Contrast], dataset: Dataset, measured: PixelMeasurements) -> pl.DataFrame:
    """One row per treatment and confounder: the AUCs of `explained`, whose rows of the dataset have been measured.

    Brightness: the mean intensity of each channel. Cell count: the column cells_in_field where there is one, else the
    nuclei of the DNA channel where the median image holds FIELD or more. Vectors have neither.
    """
    intensity = measured.intensity
    if intensity is None:
        return explained.explained([], _space(measured, len(dataset)))
    confounded: list[explained.Contrast] = []
    for contrast, count in zip(contrasts, _cells(dataset, contrasts), strict=True):
        confounders = {explained.BRIGHTNESS: intensity[measured.position(contrast.rows)]}
        confounders |= {} if count is None else {explained.CELL_COUNT: count}
        confounded.append(replace(contrast, confounders=confounders))
    return explained.explained(confounded, _space(measured, len(dataset)))


def _space(measured: PixelMeasurements, n_images: int) -> FeatureSpace:
    position = np.full(n_images, -1, np.int64)
    position[measured.rows] = np.arange(len(measured.rows))
    return FeatureSpace("pixels", position, measured.features, np.ones(measured.features.shape[1]), [], 0)


def _cells(dataset: Dataset, contrasts: list[explained.Contrast]) -> list[NDArray[np.float64] | None]:
    """The number of cells in each image of each contrast, (n, 1), or None where it cannot be counted."""
    if "cells_in_field" in dataset.index.columns:
        column = dataset.index["cells_in_field"].cast(pl.Float64).to_numpy()
        return [column[contrast.rows][:, None] for contrast in contrasts]
    try:
        nuclei = CellStatistics.of(dataset.info.channels, dataset.info.pixel_size_um)
    except ValueError:  # no channel shows nuclei, or several do
        return [None] * len(contrasts)
    if not contrasts or np.median(nuclei(dataset.images(contrasts[0].rows))[:, 0]) < FIELD:
        return [None] * len(contrasts)
    return [nuclei(dataset.images(contrast.rows))[:, :1] for contrast in contrasts]


def shares(aucs: pl.DataFrame) -> list[Share]:
    """Sum a table of `contrast_aucs` up, a Share for each confounder, without treatments whose AUC is no number."""
    known = aucs.filter(pl.all_horizontal(pl.col("all", "alone", "without").is_finite()))
    summed: list[Share] = []
    for confounder in known["confounder"].unique(maintain_order=True):
        own = known.filter(pl.col("confounder") == confounder)
        every, alone, without = (float(np.median(own[name].to_numpy())) for name in ("all", "alone", "without"))
        part = min(max((alone - 0.5) / (every - 0.5), 0.0), 1.0) if every - 0.5 >= CLEAR else None
        summed.append(Share(confounder, own.height, every, alone, without, part))
    return summed
