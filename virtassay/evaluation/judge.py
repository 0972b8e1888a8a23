"""Judge generated images against real ones: baselines, features, scores, verdict, report."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from virtassay.data.dataset.store import Dataset
from virtassay.evaluation import baselines as generators
from virtassay.evaluation import strata
from virtassay.evaluation.baselines import Draw
from virtassay.evaluation.evaluation_set import World, named
from virtassay.evaluation.featurizers.cache import Cached
from virtassay.evaluation.featurizers.features import Featurizer
from virtassay.evaluation.fingerprint import fingerprint, version
from virtassay.evaluation.judgement import CEILING, MODEL, Judgement, Row
from virtassay.evaluation.measure.explained import contrasts, explained
from virtassay.evaluation.measure.findings import findings
from virtassay.evaluation.measure.measure import Measured, Metric, effects_table, measure
from virtassay.evaluation.measure.needed import features_of, require_own_names, rows_needed
from virtassay.evaluation.measure.single_cells import single_cells
from virtassay.evaluation.measure.space import Space, space
from virtassay.evaluation.report.results import write_results
from virtassay.evaluation.verdict import anchored, verdict
from virtassay.files import cache_folder

log = logging.getLogger(__name__)
REPEATED = ("label_shuffled", CEILING)  # how labels fall, or wells, is chance: averaged


class Baseline(Protocol):
    """Which images stand on which side of each stratum, in one seeded draw."""

    def __call__(self, world: World, draw: int) -> Draw: ...


def judge(
    real: Dataset,
    generated: Dataset,
    out: Path | str,
    *,
    featurizers: Mapping[str, Featurizer],
    baselines: Mapping[str, Baseline],
    metrics: Mapping[str, Metric],
    split: str = "test",
    seed: int = 0,
    resamples: int = 1000,
    repeats: int = 5,
    max_images: int = 500,
    max_controls: int = 200,
    max_training: int = 500,
    max_memory: int = 0,
    cache: bool = False,
) -> Path:
    """Judge `generated` against the `split` of `real`; write reports and all numbers into the folder `out`.

    Effects are measured against the controls of the same batch, beside baselines that know no treatment and beside real
    replicates. baselines: by the names of judgement.BASELINES and INFORMED. metrics: what is measured beside effects.
    resamples: of each bootstrap. repeats: seeded halvings of the replicates and shufflings of the labels. max_images,
    max_controls, max_training: most images per stratum and side, per part of a batch's controls, and of a batch's
    training images. max_memory: training images in which copies are looked for. cache: keep features on disk, so that
    images are not looked at twice (`download.cache_folder`). Returns the path of the report.
    Raises ValueError when the folders do not fit together, the split is empty, or no treatment is in both.
    """
    judgement = assess(
        real,
        generated,
        [Cached(f, cache_folder() / "features") if cache else f for f in featurizers.values()],
        baselines=baselines,
        metrics=list(metrics.values()),
        split=split,
        seed=seed,
        resamples=resamples,
        repeats=repeats,
        max_images=max_images,
        max_controls=max_controls,
        max_training=max_training,
        max_memory=max_memory,
    )
    for sentence in (judgement.verdict["grade"], *judgement.verdict["sentences"]):
        log.info(sentence)
    return write_results(judgement, Path(out))


def assess(
    real: Dataset,
    generated: Dataset,
    featurizers: Sequence[Featurizer],
    *,
    baselines: Mapping[str, Baseline],
    metrics: Sequence[Metric],
    split: str,
    seed: int,
    resamples: int,
    repeats: int,
    max_images: int,
    max_controls: int,
    max_training: int,
    max_memory: int,
) -> Judgement:
    """Do all the measuring of `judge` and write nothing; the same arguments."""
    require_own_names(featurizers)
    world = strata.build(
        real,
        generated,
        split=split,
        seed=seed,
        draws=repeats,
        max_images=max_images,
        max_controls=max_controls,
        max_training=max_training,
        max_memory=max_memory,
    )
    warnings = list(world.warnings)
    judged = {MODEL: generators.model, **baselines, CEILING: generators.real_replicate}
    draws = {name: [f(world, k) for k in range(repeats if name in REPEATED else 1)] for name, f in judged.items()}
    warnings += _about_replicates(draws[CEILING])
    needed = rows_needed(world, draws)
    rows: list[Row] = []
    asked = contrasts(world, draws[MODEL][0], featurizers)
    tables: list[tuple[pl.DataFrame, ...]] = []
    for featurizer in featurizers:
        there = space(featurizer.name, world, needed, features_of(featurizer, needed, world))
        if there.n_constant:
            warnings.append(f"{featurizer.name}: {there.n_constant} of {there.raw.shape[1]} features are constant.")
        measured = {g: measure(g, d, world, there, resamples, metrics) for g, d in draws.items()}
        warnings += _about_unmeasured(featurizer.name, measured, there)
        told = fingerprint(featurizer, real, split, seed, resamples)
        rows += anchored({g: m.scores for g, m in measured.items()}, told)
        drawn = draws[MODEL][0]
        tables.append(
            (
                effects_table(world, drawn, there, measured[MODEL], featurizer.name),
                findings(world, drawn, there),
                single_cells(world, drawn, there),
                explained(asked, there),
            )
        )
        log.info("measured %s", featurizer.name)
    decided = verdict(rows, list(dict.fromkeys(warnings)))
    provenance = {
        **(generated.info.provenance or {}),
        "version": version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "real": real.info.name,
        "generated": generated.info.name,
        "split": split,
        "seed": seed,
    }
    effects, found, cells, confounders = (pl.concat(parts) for parts in zip(*tables, strict=True))
    return Judgement(rows, effects, found, cells, confounders, real.split(split), generated, decided, provenance)


def _about_replicates(replicates: Sequence[Draw]) -> list[str]:
    by: dict[str, list[str]] = {"other_splits": [], "images": []}
    for name, sides in replicates[0].items():
        if sides.halved in by:
            by[sides.halved].append(name)
    told = {
        "other_splits": "too little in the split to halve, so its wells of other splits are the replicate",
        "images": "one well in all, so its images are halved, which flatters the ceiling",
    }
    return [f"{len(names)} strata have {told[how]}: {named(names)}." for how, names in by.items() if names]


def _about_unmeasured(featurizer: str, measured: Mapping[str, Measured], space: Space) -> list[str]:
    told: list[str] = []
    for generator, m in measured.items():
        verb = "count as worst" if generator == MODEL else "are left out"
        for reason in sorted(set(m.unmeasured.values())):
            names = [name for name, why in m.unmeasured.items() if why == reason]
            told.append(f"{featurizer}, {generator}: {len(names)} strata {verb} ({reason}): {named(names)}.")
    silent = [
        name
        for (metric, name), score in measured[MODEL].scores.items()
        if metric == "effect_explained" and not np.isfinite(score.value)
    ]
    if silent:
        told.append(f"{featurizer}: no real effect can be told from noise in {len(silent)} strata: {named(silent)}.")
    bad = int((~np.isfinite(space.raw).all(1)).sum())
    if bad:
        told.append(f"{featurizer}: {bad} images have features that are no numbers; their strata count as worst.")
    return told
