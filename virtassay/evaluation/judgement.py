"""What a judgement holds: the one record that judging fills and the report reads.

A **row** is one number: generator, metric, featurizer, stratum, value with its interval, floor, ceiling, scaled score,
the number of images on either side, and the fingerprint of how it was measured.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from virtassay.data.store import Dataset

Row = dict[str, Any]

MODEL = "model"
CEILING = "real_replicate"
BASELINES = ("control_copy", "unconditional", "label_shuffled", "mean_treated")  # trivial: they know no treatment
GENERATORS = (MODEL, *BASELINES, CEILING)
POOLED = "all"


@dataclass(frozen=True)
class Judgement:
    """The outcome of judging generated against real images.

    rows: as written to metrics.json. Keys: generator (one of GENERATORS), metric, featurizer, stratum (POOLED or
    "batch | treatment"), value, lower, upper, floor, ceiling, scaled, n_real, n_generated, fingerprint.
    effects: one row per (featurizer, stratum) of the model. Columns: featurizer, stratum, batch, treatment,
    perturbation (joined by " + "), dose_um (their sum, or null), moa, true_effect and generated_effect (along the
    real direction, in s.d. of the controls), effect_explained, lower, upper, n_real, n_generated.
    real: the reference images that were judged against, controls included. generated: the judged images.
    verdict: {"passes": bool, "sentences": [three strings], "per_featurizer": {name: {"model", "best_baseline",
    "baseline" (its name), "ceiling", "model_lower", "baseline_upper", "apart": bool}}, "warnings": [strings]}.
    provenance: code version, names of the folders, date, seed, and what the generated folder says of its origin.
    """

    rows: list[Row]
    effects: pl.DataFrame
    real: Dataset
    generated: Dataset
    verdict: dict[str, Any]
    provenance: dict[str, Any]
