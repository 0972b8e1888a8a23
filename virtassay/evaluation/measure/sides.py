"""One side of a draw over all strata: its images by row number, and what was done to them."""

import numpy as np

from virtassay.evaluation.baselines import Draw
from virtassay.evaluation.evaluation_set import Rows, World


def rows_of(draw: Draw, world: World, side: str) -> Rows:
    """All images of a side ("reference", "generated" …), stratum by stratum."""
    return np.concatenate([getattr(draw[s.name], side) for s in world.strata])


def labels_of(draw: Draw, world: World, side: str, what: str) -> list[str]:
    """The batch, perturbation … of each of `rows_of`."""
    return [str(getattr(s, what)) for s in world.strata for _ in getattr(draw[s.name], side).tolist()]
