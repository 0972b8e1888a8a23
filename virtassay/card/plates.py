"""What was measured, brought together by plate: brightness, focus and saturation of its control images, and flags."""

from typing import Any

import numpy as np
import polars as pl

from virtassay.card.design import by
from virtassay.card.measured import Measured

CHECKED = ("focus", "saturated", "debris")  # columns that the check of whole fields leaves in an index
MEASURES = ("intensity", "focus", "saturated")


def plates(index: pl.DataFrame, measured: Measured, channels: tuple[str, ...]) -> list[dict[str, Any]]:
    """One line a plate, by batch: its counts, the means of what was measured, and of the columns CHECKED it has.

    intensity, focus, saturated (in %): {channel: mean over the control images}, over all where there are no controls;
    None for a plate of which no image was measured, and of vectors. checked: {column: mean over all its images}.
    """
    there = [name for name in CHECKED if name in index.columns]
    checked = index.group_by("plate").agg(pl.col(there).cast(pl.Float64, strict=False).mean()) if there else None
    flags = {} if checked is None else {row.pop("plate"): row for row in checked.to_dicts()}
    means = _means(index, measured, channels)
    return [
        {**line, **means.get(line["plate"], dict.fromkeys(MEASURES)), "checked": flags.get(line["plate"])}
        for line in by(index, "batch", "plate").drop("plates", "batches").to_dicts()
    ]


def _means(index: pl.DataFrame, measured: Measured, channels: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    if measured.intensity is None or measured.focus is None or measured.saturated is None:
        return {}
    plate, control = (index[name].gather(measured.rows).to_numpy() for name in ("plate", "is_control"))
    means: dict[str, dict[str, Any]] = {}
    for name in np.unique(plate):
        own = plate == name
        own = own & control if (own & control).any() else own
        values = (measured.intensity[own], measured.focus[own], 100 * measured.saturated[own])
        means[str(name)] = {
            what: {c: _finite(x) for c, x in zip(channels, value.mean(0), strict=True)}
            for what, value in zip(MEASURES, values, strict=True)
        }
    return means


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
