"""Reservations: ways to be right about what treatments do on average, and wrong about the cells.

Effect explained is blind to some of them and forgiving to others, so that each has a metric of its own with a range in
which a model is taken to be right. A reservation is made where the whole interval lies outside that range, in half of
the featurizers that could measure it, or in two; the self-test says which generators are caught by which.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from virtassay.evaluation.glossary import Description
from virtassay.evaluation.judgement import CEILING, MODEL, Row
from virtassay.evaluation.metrics.classify import BATCH_LEAK
from virtassay.evaluation.metrics.memorisation import MEMORISATION
from virtassay.evaluation.metrics.spread import RARE_FRACTION_ERROR, VARIANCE_RATIO
from virtassay.evaluation.metrics.treatments import EFFECT_SLOPE, PDS, PDS_WITHIN_MOA


@dataclass(frozen=True)
class Reservation:
    """A metric, the range that is right, and what to say of a model whose whole interval is below or above it.

    share: the range is a multiple of that detail of the row. better_than_chance: `low` is chance, and it is the model
    that has to be clear of it; looked at only where the replicate is, for elsewhere there is nothing to be found.
    """

    metric: Description
    low: float
    high: float
    below: str
    above: str = ""
    share: str | None = None
    better_than_chance: bool = False


RESERVATIONS = (
    Reservation(EFFECT_SLOPE, 0.75, 1.33, "Effects are too weak", "Effects are exaggerated"),
    Reservation(
        PDS, 0.5, math.inf, "Treatments cannot be told apart by what is generated for them", better_than_chance=True
    ),
    Reservation(
        PDS_WITHIN_MOA,
        0.5,
        math.inf,
        "Treatments of one mechanism all look alike: the mechanism was learned, not the treatment",
        better_than_chance=True,
    ),
    Reservation(
        VARIANCE_RATIO, 0.8, 1.3, "The cells of a treatment are too uniform", "The cells of a treatment differ too much"
    ),
    Reservation(
        RARE_FRACTION_ERROR, -0.05, 1.0, "Rare cells are missing", "Odd cells are too many", share="real_share"
    ),
    Reservation(MEMORISATION, 0.8, math.inf, "Images are near copies of training images"),
    Reservation(
        BATCH_LEAK, -0.25, math.inf, "Images do not look like the batch that was asked for", share="accuracy_on_real"
    ),
)


def reservations(pooled: Mapping[tuple[str, str, str], Row], featurizers: Sequence[str]) -> list[dict[str, Any]]:
    """What is wrong though effects may be right: {"metric", "sentence", "featurizers"} of each reservation.

    pooled: rows by (featurizer, metric, generator).
    """
    reserved: list[dict[str, Any]] = []
    for reservation in RESERVATIONS:
        sides = {f: _side(reservation, pooled, f) for f in featurizers}
        measured = [f for f, side in sides.items() if side is not None]
        for side, text in ((-1, reservation.below), (1, reservation.above)):
            outside = [f for f in measured if sides[f] == side]
            if outside and len(outside) >= enough(len(measured)):
                metric = reservation.metric.name
                values = ", ".join(f"{f} {pooled[f, metric, MODEL]['value']:.2f}" for f in outside)
                reserved.append({"metric": metric, "sentence": f"{text} ({metric}: {values}).", "featurizers": outside})
    return reserved


def enough(featurizers: int) -> int:
    """How many featurizers must agree: half of those that could say, and no more than two."""
    return min(2, (featurizers + 1) // 2)


def unchecked(pooled: Mapping[tuple[str, str, str], Row], featurizers: Sequence[str]) -> list[str]:
    """The metrics of reservations that no featurizer could decide."""
    return [r.metric.name for r in RESERVATIONS if all(_side(r, pooled, f) is None for f in featurizers)]


def _side(reservation: Reservation, pooled: Mapping[tuple[str, str, str], Row], featurizer: str) -> int | None:
    """−1 below the range, 1 above, 0 inside or not clearly outside; None where it cannot be said."""
    row = pooled.get((featurizer, reservation.metric.name, MODEL))
    if row is None or row["value"] is None:
        return None
    lower, upper = _interval(row)
    if reservation.better_than_chance:
        replicate = pooled.get((featurizer, reservation.metric.name, CEILING))
        if replicate is None or replicate["value"] is None or _interval(replicate)[0] <= reservation.low:
            return None
        return -1 if lower <= reservation.low else 0
    unit = 1.0 if reservation.share is None else row["fingerprint"].get(reservation.share)
    if not unit:
        return None
    return -1 if upper <= reservation.low * unit else 1 if lower >= reservation.high * unit else 0


def _interval(row: Row) -> tuple[float, float]:
    return tuple(row["value"] if row[end] is None else row[end] for end in ("lower", "upper"))
