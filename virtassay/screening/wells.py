"""Cells left in real wells: what each treatment that training has seen did to their number."""

import numpy as np
import polars as pl

from virtassay.data.dataset.store import Dataset

FEWEST_WELLS = 3  # of controls
DECADE = 1.0  # log10 of doses that are held against each other


def cells_in_wells(train: Dataset) -> pl.DataFrame | None:
    """The share of cells left of each single perturbation and dose: name, dose_um, cells_left, error (standard).

    Of a well: the cells of a field (the harmonic mean of `cells_in_field` over its images, for crowded fields have
    more of them), else its images; over the mean of the control wells of its plate. The error is that of as many wells
    as there are, each as far off as control wells are. None where fewer than three control wells share their plates
    with others, or where all hold as many: these were chosen, not counted.
    """
    found = "cells_in_field" in train.index.columns
    count = 1 / (1 / pl.col("cells_in_field")).mean() if found else pl.len().cast(pl.Float64)
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


def at_dose(wells: pl.DataFrame, name: str, dose_um: float) -> dict[str, float] | None:
    """The row of a perturbation at the nearest dose, within a factor of ten, or of one without doses; None: none."""
    own = wells.filter(pl.col("name") == name).with_columns(
        apart=(pl.col("dose_um").log10() - np.log10(dose_um)).abs().fill_null(0.0)
    )
    own = own.filter(pl.col("apart") <= DECADE).sort("apart")
    return own.row(0, named=True) if own.height else None
