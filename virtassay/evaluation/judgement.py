"""What a judgement holds: the one record that judging fills and the report reads.

A **row** is one number: generator, metric, featurizer, stratum, value with its interval, floor, ceiling, scaled score,
the number of images on either side, and the fingerprint of how it was measured.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl

from virtassay.data.dataset.store import Dataset
from virtassay.evaluation.glossary import Glossary

Row = dict[str, Any]

MODEL = "model"  # names of generators that every judgement has
CEILING = "real_replicate"
POOLED = "all"


def pooled(rows: Iterable[Row]) -> dict[tuple[str, str, str], Row]:
    """The rows of all strata together, by (featurizer, metric, generator)."""
    return {(r["featurizer"], r["metric"], r["generator"]): r for r in rows if r["stratum"] == POOLED}


@dataclass(frozen=True)
class Judgement:
    """The outcome of judging generated against real images.

    rows: as written to metrics.json. Keys: generator (MODEL, CEILING or a baseline), metric, featurizer, stratum
    (POOLED or "batch | treatment"), value, lower, upper, floor, ceiling, scaled, n_real, n_generated, fingerprint.
    effects: one row per (featurizer, stratum) of the model. Columns: featurizer, stratum, batch, treatment,
    perturbation (joined by " + "), dose_um (their sum, or null), moa, true_effect and generated_effect (along the
    real direction, in s.d. of the controls), effect_explained, lower, upper, n_real, n_generated.
    findings: what is right and wrong about each treatment in each featurizer, as `findings.findings` says.
    cells: single images along the effects of a few treatments, as `single_cells.single_cells` says.
    confounders: what brightness and cell count explain of a few, as `explained.explained` says.
    real: the reference images that were judged against, controls included. generated: the judged images.
    verdict: {"passes": bool, "grade": "PASS", "PASS, WITH RESERVATIONS" or "FAIL", "sentences": [three strings],
    "reservations": as `reservations.reservations` returns them, "unchecked": [metrics], "per_featurizer": {name:
    {"model", "best_baseline", "baseline" (its name), "ceiling", "model_lower", "baseline_upper", "apart": bool}},
    "warnings": [strings]}.
    glossary: what the metrics mean. floors: the trivial baselines, informed: the others, by name.
    provenance: code version, names of the folders, date, seed, and what the generated folder says of its origin.
    """

    rows: list[Row]
    effects: pl.DataFrame
    findings: pl.DataFrame
    cells: pl.DataFrame
    confounders: pl.DataFrame
    real: Dataset
    generated: Dataset
    verdict: dict[str, Any]
    provenance: dict[str, Any]
    glossary: Glossary
    floors: tuple[str, ...]
    informed: tuple[str, ...]
