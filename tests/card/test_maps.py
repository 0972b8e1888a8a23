"""Maps of the plates."""

import numpy as np
import polars as pl

from virtassay.card.maps import MAPPED, plate_maps
from virtassay.card.measurements import PixelMeasurements


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
