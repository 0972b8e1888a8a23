"""Figures of the card: when there is nothing to draw, and the maps of the plates."""

import numpy as np
import polars as pl

from virtassay.card.batches import control_wells
from virtassay.card.figures import MAPPED, contrast_figure, control_scatter, plate_maps
from virtassay.card.measurements import PixelMeasurements


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


def index(well: str, plates: int) -> pl.DataFrame:
    names = [f"p{i:02d}" for i in range(plates)]
    return pl.DataFrame({"plate": names, "well": well, "batch": "b", "is_control": True, "treatment": "DMSO"})


def measured(n: int) -> PixelMeasurements:
    value = np.ones((n, 2))
    return PixelMeasurements(np.arange(n), value, intensity=value, focus=np.full((n, 2), np.nan), saturated=value)


def test_the_first_plates_are_mapped_and_wells_without_a_place_are_not():
    maps = plate_maps(index("B03", MAPPED + 1), measured(MAPPED + 1))
    assert [label for label, _ in maps] == [f"p{i:02d} · b" for i in range(MAPPED)]
    assert len({uri for _, uri in maps}) == 1  # one scale for all
    assert plate_maps(index("field 1", 2), measured(2)) == []
