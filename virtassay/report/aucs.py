"""AUCs of treated against control images as dots: by all features, by a confounder alone, and without it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from virtassay.report.figures import dashed, named_lines

View = tuple[str, str, str]  # label of a line, column of the AUCs, confounder


def auc_views(aucs: pl.DataFrame) -> list[View]:
    """List the lines of the plot. aucs: rows of treatment, side, confounder, and the columns all, alone, without."""
    names = aucs["confounder"].unique(maintain_order=True).to_list()
    views = [("all features", "all", names[0])]  # the same for every confounder
    return views + [view for c in names for view in ((f"{c} alone", "alone", c), (f"without {c}", "without", c))]


def auc_lines(
    panel: Any, aucs: pl.DataFrame, views: Sequence[View], sides: Sequence[tuple[str, str, str, float, float]]
) -> None:
    """Draw AUCs, a line for each view; 0.5 is guessing. A small dot is one treatment, a large one their median.

    sides: side, and the colour, marker, size and offset of its median.
    """
    dashed(panel, 0.5)
    for y, (_, column, confounder) in enumerate(views):
        for side, colour, marker, size, offset in sides:
            own = aucs.filter((pl.col("confounder") == confounder) & (pl.col("side") == side))
            known = own.filter(pl.col(column).is_finite())[column].to_numpy()
            panel.plot(known, np.full(len(known), y + offset), ".", color=colour, ms=6.5, mew=0, alpha=0.4)
            if len(known):
                panel.plot(np.median(known), y + offset, marker, color=colour, ms=size, mew=0.7, mec="white")
    panel.set_xlim(0.28, 1.04)
    panel.set_xticks([0.5, 0.75, 1], ["0.5", "0.75", "1"])
    named_lines(panel, [label for label, *_ in views])
