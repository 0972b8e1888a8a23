"""Agreement: what the models of an ensemble say of the best, each by itself; its ranks, and its p, need no unit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import spearmanr

from virtassay.screening.ensemble import Member
from virtassay.screening.hits import Check, p_of

Array = NDArray[np.float64]
ALIKE = 0.5  # rank correlation below which two models do not agree
ACTIVE = 0.05  # p


def agreement(members: Sequence[Member]) -> Check:
    """What each model says of the best of a screen, the screen's own first.

    Columns, k = 1 for the screen's own: score_k; rank_k among these compounds; p_k; and between_models, the s.d. of all
    models' scores, which no interval from seeds and batches holds.
    """
    own = members[0]
    table = own.scores.select("compound")
    score, lower, upper = (own.scores[name].to_numpy() for name in ("score", "lower", "upper"))
    every, chances, unseen = [], [], np.zeros(table.height, bool)
    for k, member in enumerate(members, start=1):
        theirs = member.scores["score"]
        every.append(theirs.to_numpy())
        chances.append(p_of(every[-1], member.null))
        unseen |= (member.scores["lower"].to_numpy() <= 0) & (lower > 0)
        unseen |= (chances[-1] > ACTIVE) & (chances[0] <= ACTIVE)
        table = table.with_columns(
            pl.Series(f"score_{k}", theirs),
            theirs.fill_nan(None).rank("ordinal", descending=True).cast(pl.Int64).alias(f"rank_{k}"),
            pl.Series(f"p_{k}", chances[-1]),
        )
    between = np.std(every, axis=0, ddof=1)
    flags = [
        "; ".join(flag for flag in row if flag)
        for row in zip(
            np.where(unseen, "another model sees no clear effect", ""),
            np.where(between > (upper - lower) / 2, "models differ by more than the interval", ""),
            strict=True,
        )
    ]
    alike = [rank_correlation(score, other) for other in every[1:]]
    told = ", ".join(f"{r:.2f} ({m.run}, model {m.model})" for r, m in zip(alike, members[1:], strict=True))
    others = "another model" if len(alike) == 1 else f"{len(alike)} other models"
    sentence = (
        f"The best {table.height} were scored by {others} too, and are ranked by the mean of the models' scores. The "
        f"order that the run's model would give them correlates with that of others at {told}. 1: the same order; 0: "
        "nothing in common. Among the best alone it is lower than over a whole library."
    )
    doubt = "The models do not agree on the order of the best: prefer compounds that all of them rank high."
    return Check(
        table.with_columns(between_models=pl.Series(between), flags=pl.Series(flags, dtype=pl.String)),
        sentence,
        [doubt] if any(one < ALIKE for one in alike) else [],
    )


def rank_correlation(x: Array, y: Array) -> float:
    """Spearman's, of the finite pairs; NaN for fewer than three, and where one does not vary."""
    both = np.isfinite(x) & np.isfinite(y)
    a, b = x[both], y[both]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    told: Any = spearmanr(a, b)
    return float(told.statistic)
