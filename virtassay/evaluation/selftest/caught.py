"""Who is caught by what, and what follows the truth: the tables that the self-test ends in."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from virtassay.evaluation.glossary import Glossary
from virtassay.evaluation.judgement import Row
from virtassay.evaluation.metrics.effects import effects
from virtassay.evaluation.reservations import enough
from virtassay.evaluation.selftest.trial import METRICS, Outcome

Key = tuple[str, str]  # metric, featurizer
GLOSSARY = Glossary.of([effects, *METRICS])


def who_catches_what(outcomes: Mapping[str, Outcome], oracles: Sequence[str]) -> pl.DataFrame:
    """Say of each generator and metric whether it is caught.

    Columns: generator, grade, metric, caught, seen_in, asked_in, verdict.

    A score sees a fault where it is worse than that of every oracle, by more than the oracles differ among themselves,
    and its interval, if it has one, holds none of theirs. `caught`: seen in half of the featurizers that could
    measure an oracle, or in two (`seen_in` of `asked_in`). `verdict`: the verdict fails or has a reservation for it.
    """
    truth = [_by_key(outcomes[name]) for name in oracles]
    known = [key for key in truth[0] if all(rows_of[key]["value"] is not None for rows_of in truth)]
    metrics = list(dict.fromkeys(metric for metric, _ in known))
    rows: list[dict[str, Any]] = []
    for name, outcome in outcomes.items():
        if name in oracles:
            continue
        own = _by_key(outcome)
        against = {r["metric"] for r in outcome.verdict["reservations"]}
        against |= set() if outcome.verdict["passes"] else {"effect_explained"}
        for metric in metrics:
            keys = [key for key in known if key[0] == metric]
            seen = sum(_sees(own.get(key), [rows_of[key] for rows_of in truth]) for key in keys)
            rows.append(
                {
                    "generator": name,
                    "grade": outcome.verdict["grade"],
                    "metric": metric,
                    "caught": seen >= enough(len(keys)),
                    "seen_in": seen,
                    "asked_in": len(keys),
                    "verdict": metric in against,
                }
            )
    return pl.DataFrame(rows)


def follows_the_truth(levels: Sequence[Outcome]) -> dict[str, float]:
    """How well each metric follows an error that grows from level to level: Spearman's ρ, the mean over featurizers.

    1: every step is seen as one for the worse; 0: it does not move with the truth, or not at all; −1: it praises the
    error. A score that is no number is worst.
    """
    rho: dict[str, list[float]] = {}
    for key in _by_key(levels[0]):
        rows = [_by_key(level).get(key) for level in levels]
        good = GLOSSARY[key[0]].goodness
        values = np.array([-np.inf if r is None or r["value"] is None else good(r["value"]) for r in rows])
        rho.setdefault(key[0], []).append(-_spearman(values))
    return {metric: float(np.mean(rhos)) for metric, rhos in rho.items()}


def _by_key(outcome: Outcome) -> dict[Key, Row]:
    return {(r["metric"], r["featurizer"]): r for r in outcome.rows}


def _sees(row: Row | None, truth: Sequence[Row]) -> bool:
    if row is None or row["value"] is None:
        return True
    good = GLOSSARY[row["metric"]].goodness
    right = [good(oracle["value"]) for oracle in truth]
    if good(row["value"]) >= min(right) - (max(right) - min(right)):
        return False
    return row["lower"] is None or not any(row["lower"] <= oracle["value"] <= row["upper"] for oracle in truth)


def _spearman(values: NDArray[np.float64]) -> float:
    """Rank correlation with 0, 1, 2, …; 0 where all values are tied."""
    rank = np.asarray(rankdata(values), np.float64)
    rank -= rank.mean()
    step = np.arange(len(values)) - (len(values) - 1) / 2
    size = float(np.sqrt((rank @ rank) * (step @ step)))
    return float(rank @ step) / size if size > 0 else 0.0
