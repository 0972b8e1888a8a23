"""Reservations: ways to be right about what treatments do on average, and wrong about the cells.

Effect explained is blind to some of them and forgiving to others, so that each has a metric of its own with a range in
which a model is taken to be right. A reservation is made where the whole interval lies outside that range, in half of
the featurizers that could measure it, or in two; the self-test says which generators are caught by which.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from virtassay.evaluation.judgement import CEILING, MODEL, Row


@dataclass(frozen=True)
class Check:
    """A metric, the range that is right, and what to say of a model whose whole interval is below or above it.

    share: the range is a multiple of that detail of the row. better_than_chance: `low` is chance, and it is the model
    that has to be clear of it; asked only where the replicate is, for elsewhere there is nothing to be found.
    """

    metric: str
    low: float
    high: float
    below: str
    above: str = ""
    share: str | None = None
    better_than_chance: bool = False


CHECKS = (
    Check("effect_slope", 0.75, 1.33, "Effects are too weak", "Effects are exaggerated"),
    Check(
        "pds",
        0.5,
        math.inf,
        "Treatments cannot be told apart by what is generated for them",
        better_than_chance=True,
    ),
    Check(
        "pds_within_moa",
        0.5,
        math.inf,
        "Treatments of one mechanism all look alike: the mechanism was learned, not the treatment",
        better_than_chance=True,
    ),
    Check(
        "variance_ratio",
        0.8,
        1.3,
        "The cells of a treatment are too uniform",
        "The cells of a treatment differ too much",
    ),
    Check(
        "rare_fraction_error",
        -0.05,
        1.0,
        "Rare cells are missing",
        "Odd cells are too many",
        share="real_share",
    ),
    Check("memorisation", 0.8, math.inf, "Images are near copies of training images"),
    Check(
        "batch_leak",
        -0.25,
        math.inf,
        "Images do not look like the batch that was asked for",
        share="accuracy_on_real",
    ),
)


def reservations(pooled: Mapping[tuple[str, str, str], Row], featurizers: Sequence[str]) -> list[dict[str, Any]]:
    """What is wrong though effects may be right: {"metric", "sentence", "featurizers"} of each reservation.

    pooled: rows by (featurizer, metric, generator).
    """
    made: list[dict[str, Any]] = []
    for check in CHECKS:
        sides = {f: _side(check, pooled, f) for f in featurizers}
        measured = [f for f, side in sides.items() if side is not None]
        for side, text in ((-1, check.below), (1, check.above)):
            found = [f for f in measured if sides[f] == side]
            if found and len(found) >= enough(len(measured)):
                values = ", ".join(f"{f} {pooled[f, check.metric, MODEL]['value']:.2f}" for f in found)
                made.append(
                    {"metric": check.metric, "sentence": f"{text} ({check.metric}: {values}).", "featurizers": found}
                )
    return made


def enough(featurizers: int) -> int:
    """How many featurizers must agree: half of those that were asked, and no more than two."""
    return min(2, (featurizers + 1) // 2)


def unchecked(pooled: Mapping[tuple[str, str, str], Row], featurizers: Sequence[str]) -> list[str]:
    """The metrics of checks that no featurizer could make."""
    return [c.metric for c in CHECKS if all(_side(c, pooled, f) is None for f in featurizers)]


def _side(check: Check, pooled: Mapping[tuple[str, str, str], Row], featurizer: str) -> int | None:
    """−1 below the range, 1 above, 0 inside or not clearly outside; None where it cannot be said."""
    row = pooled.get((featurizer, check.metric, MODEL))
    if row is None or row["value"] is None:
        return None
    lower, upper = _interval(row)
    if check.better_than_chance:
        replicate = pooled.get((featurizer, check.metric, CEILING))
        if replicate is None or replicate["value"] is None or _interval(replicate)[0] <= check.low:
            return None
        return -1 if lower <= check.low else 0
    unit = 1.0 if check.share is None else row["fingerprint"].get(check.share)
    if not unit:
        return None
    return -1 if upper <= check.low * unit else 1 if lower >= check.high * unit else 0


def _interval(row: Row) -> tuple[float, float]:
    return tuple(row["value"] if row[end] is None else row[end] for end in ("lower", "upper"))
