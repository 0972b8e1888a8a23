"""Figures of the card: when there is nothing to draw."""

import numpy as np
import polars as pl

from virtassay.card.batches import control_wells
from virtassay.card.figures import contrast_figure, control_scatter


def wells(plates: int):
    index = pl.DataFrame({"plate": [f"p{i % plates}" for i in range(6)], "well": [f"A{i}" for i in range(6)]})
    index = index.with_columns(batch=pl.lit("b"), is_control=pl.lit(True))
    return control_wells(index, np.random.default_rng(0).normal(size=(6, 3)))


def test_controls_are_drawn_where_there_are_plates_to_compare():
    several, single = wells(plates=2), wells(plates=1)
    assert several is not None and single is not None
    drawing = control_scatter(several)
    assert drawing is not None and drawing.startswith("data:image/svg+xml;base64,")
    assert control_scatter(single) is None


def test_without_contrasts_there_is_no_figure():
    assert contrast_figure(pl.DataFrame({"confounder": []}, schema={"confounder": pl.String})) is None
