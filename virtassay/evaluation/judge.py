"""Judge generated images against real ones: baselines, features, scores, verdict, report."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from virtassay.data.dataset.store import Dataset
from virtassay.evaluation.baselines import floors_of, informed_of, model, real_replicate
from virtassay.evaluation.criteria import Criteria, version
from virtassay.evaluation.evaluation_set import Assignment, named
from virtassay.evaluation.judgement import CEILING, MODEL, Judgement, Row
from virtassay.evaluation.metrics.effects import effects_table
from virtassay.evaluation.metrics.explained import contrasts_of, explained
from virtassay.evaluation.metrics.findings import findings
from virtassay.evaluation.metrics.single_cells import single_cells
from virtassay.evaluation.report.results import write_results
from virtassay.evaluation.score import Measurement, score
from virtassay.evaluation.space import FeatureSpace
from virtassay.evaluation.strata import build_evaluation_set
from virtassay.evaluation.verdict import anchored, verdict

log = logging.getLogger(__name__)


def judge(real: Dataset, generated: Dataset, out: Path | str, criteria: Criteria) -> Path:
    """Judge `generated` against the real images; write reports and all numbers into the folder `out`.

    Effects are measured against the controls of the same batch, beside baselines that know no treatment and beside real
    replicates. criteria: by what, and which split of the real images. Returns the path of the report.
    Raises ValueError when the folders do not fit together, the split is empty, or no treatment is in both.
    """
    judgement = assess(real, generated, criteria)
    for sentence in (judgement.verdict["grade"], *judgement.verdict["sentences"]):
        log.info(sentence)
    return write_results(judgement, Path(out))


def assess(real: Dataset, generated: Dataset, criteria: Criteria) -> Judgement:
    """Do all the measuring of `judge` and write nothing; the same arguments."""
    featurizers, glossary = criteria.looks(), criteria.glossary()
    evaluation = build_evaluation_set(real, generated, criteria)
    candidates = {
        MODEL: criteria.candidate(evaluation, model, is_model=True),
        **{name: criteria.candidate(evaluation, baseline) for name, baseline in criteria.baselines.items()},
        CEILING: criteria.candidate(evaluation, real_replicate),
    }
    draw = candidates[MODEL].draws[0]
    warnings = evaluation.warnings + _about_replicates(candidates[CEILING].draws[0])
    contrasts = contrasts_of(evaluation, draw, featurizers)
    rows: list[Row] = []
    tables: list[tuple[pl.DataFrame, ...]] = []
    for featurizer, space, measured in score(candidates, featurizers):
        scores = {name: measurement.scores for name, measurement in measured.items()}
        warnings += _about_scores(measured, space)
        rows += anchored(scores, criteria.baselines, glossary, criteria.fingerprint(featurizer, real))
        of_effects = effects_table(evaluation, draw, space, scores[MODEL])
        of_treatments, of_cells = findings(evaluation, draw, space), single_cells(evaluation, draw, space)
        tables.append((of_effects, of_treatments, of_cells, explained(contrasts, space)))
    effects, treatments, cells, confounders = (pl.concat(parts) for parts in zip(*tables, strict=True))
    floors = floors_of(criteria.baselines)
    return Judgement(
        rows=rows,
        effects=effects,
        findings=treatments,
        cells=cells,
        confounders=confounders,
        real=real.split(criteria.split),
        generated=generated,
        verdict=verdict(rows, floors, list(dict.fromkeys(warnings))),
        provenance={
            **(generated.info.provenance or {}),
            "version": version(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "real": real.info.name,
            "generated": generated.info.name,
            "split": criteria.split,
            "seed": criteria.seed,
        },
        glossary=glossary,
        floors=floors,
        informed=informed_of(criteria.baselines),
    )


def _about_replicates(replicate: Assignment) -> list[str]:
    reasons = {
        "other_splits": "too little in the split to halve, so its wells of other splits are the replicate",
        "images": "one well in all, so its images are halved, which flatters the ceiling",
    }
    strata = {how: [name for name, sides in replicate.items() if sides.halved == how] for how in reasons}
    return [f"{len(names)} strata have {reasons[how]}: {named(names)}." for how, names in strata.items() if names]


def _about_scores(measured: Mapping[str, Measurement], space: FeatureSpace) -> list[str]:
    warnings: list[str] = []
    if space.n_constant:
        warnings.append(f"{space.featurizer}: {space.n_constant} of {space.raw.shape[1]} features are constant.")
    for generator, measurement in measured.items():
        verb = "count as worst" if generator == MODEL else "are left out"
        warnings += measurement.warnings(f"{space.featurizer}, {generator}", verb)
    shares = {name: s.value for (metric, name), s in measured[MODEL].scores.items() if metric == "effect_explained"}
    silent = [name for name, value in shares.items() if not np.isfinite(value)]
    if silent:
        warnings.append(
            f"{space.featurizer}: no real effect can be told from noise in {len(silent)} strata: {named(silent)}."
        )
    bad = int((~np.isfinite(space.raw).all(1)).sum())
    if bad:
        warnings.append(
            f"{space.featurizer}: {bad} images have features that are no numbers; their strata count as worst."
        )
    return warnings
