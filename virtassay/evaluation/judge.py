"""Judge generated images against real ones: baselines, features, scores, verdict, report."""

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from virtassay.data.store import Dataset
from virtassay.evaluation import baselines, strata
from virtassay.evaluation.baselines import Draw
from virtassay.evaluation.features import Features, Featurizer
from virtassay.evaluation.judgement import CEILING, MODEL, Judgement, Row
from virtassay.evaluation.measure import Measured, effects_table, measure
from virtassay.evaluation.report import write_report
from virtassay.evaluation.space import Space, space
from virtassay.evaluation.strata import Rows, World, named
from virtassay.evaluation.verdict import anchored, verdict

log = logging.getLogger(__name__)
ONCE = (baselines.model, baselines.control_copy, baselines.unconditional, baselines.mean_treated)
REPEATED = (baselines.label_shuffled, baselines.real_replicate)  # how labels fall, or wells, is chance: averaged


def judge(
    real: Dataset,
    generated: Dataset,
    out: Path | str,
    *,
    featurizers: Mapping[str, Featurizer] | Iterable[Featurizer],
    split: str = "test",
    seed: int = 0,
    resamples: int = 1000,
    repeats: int = 5,
    max_images: int = 500,
    max_controls: int = 200,
    max_training: int = 500,
    fd_intervals: bool = False,
) -> Path:
    """Judge `generated` against the `split` of `real`; write metrics.json, effects.parquet and report.html into `out`.

    Effects are measured against the controls of the same batch, beside baselines that know no treatment and beside real
    replicates. resamples: of each bootstrap. repeats: seeded halvings of the replicates and shufflings of the labels.
    max_images, max_controls, max_training: most images per stratum and side, per part of a batch's controls, and of
    a batch's training images. fd_intervals: jackknife fd (slow). Returns the path of the report.
    Raises ValueError when the folders do not fit together, the split is empty, or no treatment is in both.
    """
    judgement = assess(
        real,
        generated,
        _listed(featurizers),
        split=split,
        seed=seed,
        resamples=resamples,
        repeats=repeats,
        max_images=max_images,
        max_controls=max_controls,
        max_training=max_training,
        fd_intervals=fd_intervals,
    )
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    _write_text(out / "metrics.json", json.dumps(judgement.rows, indent=1, allow_nan=False, ensure_ascii=False))
    unfinished = out / ".effects.parquet.part"
    judgement.effects.write_parquet(unfinished)
    os.replace(unfinished, out / "effects.parquet")
    for sentence in judgement.verdict["sentences"]:
        log.info(sentence)
    return write_report(judgement, out / "report.html")


def assess(
    real: Dataset,
    generated: Dataset,
    featurizers: Sequence[Featurizer],
    *,
    split: str,
    seed: int,
    resamples: int,
    repeats: int,
    max_images: int,
    max_controls: int,
    max_training: int,
    fd_intervals: bool,
) -> Judgement:
    """Do all the measuring of `judge` and write nothing; the same arguments."""
    names = [f.name for f in featurizers]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"featurizers are {names}; give one or more, each with a name of its own.")
    world = strata.build(
        real,
        generated,
        split=split,
        seed=seed,
        draws=repeats,
        max_images=max_images,
        max_controls=max_controls,
        max_training=max_training,
    )
    warnings = list(world.warnings)
    draws = {f.__name__: [f(world, 0)] for f in ONCE}
    draws |= {f.__name__: [f(world, k) for k in range(repeats)] for f in REPEATED}
    warnings += _about_replicates(draws[CEILING])
    needed = _needed(world, draws)
    version = _version()
    rows: list[Row] = []
    effects: list[pl.DataFrame] = []
    for featurizer in featurizers:
        there = space(world, needed, _features(featurizer, needed, real, generated), len(real) + len(generated))
        if there.n_constant:
            warnings.append(f"{featurizer.name}: {there.n_constant} of {there.raw.shape[1]} features are constant.")
        measured = {g: measure(g, d, world, there, resamples, fd_intervals) for g, d in draws.items()}
        warnings += _about_unmeasured(featurizer.name, measured, there)
        fingerprint = {
            "featurizer": featurizer.name,
            **featurizer.fingerprint(),
            "features": "in units of the real controls' s.d. within a batch, at least half the s.d. of all real images",
            "quantisation": real.info.dtype,
            "image_shape": list(real.info.image_shape),
            "split": split,
            "controls": "real, of the batch, every split; disjoint thirds for real effect, generated effect and copy",
            "seed": seed,
            "resamples": resamples,
            "version": version,
        }
        rows += anchored({g: m.scores for g, m in measured.items()}, fingerprint)
        effects.append(effects_table(world, draws[MODEL][0], there, measured[MODEL], featurizer.name))
        log.info("measured %s", featurizer.name)
    decided = verdict(rows, list(dict.fromkeys(warnings)))
    provenance = {
        **(generated.info.provenance or {}),
        "version": version,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "real": real.info.name,
        "generated": generated.info.name,
        "split": split,
        "seed": seed,
    }
    return Judgement(rows, pl.concat(effects), real.split(split), generated, decided, provenance)


def _listed(featurizers: Mapping[str, Featurizer] | Iterable[Featurizer]) -> list[Featurizer]:
    if isinstance(featurizers, Mapping):
        return [featurizer for _, featurizer in cast("Mapping[str, Featurizer]", featurizers).items()]
    return list(featurizers)


def _needed(world: World, draws: Mapping[str, Sequence[Draw]]) -> Rows:
    """Every image that stands on some side, once and in order."""
    sets: list[Rows] = [rows for rows in world.treated_training.values()]
    for division in world.controls:
        sets += [part for c in division.values() for part in (c.real, c.generated, c.copy)]
    for generator in draws.values():
        sets += [part for draw in generator for s in draw.values() for part in (s.reference, s.generated)]
    return np.unique(np.concatenate(sets))


def _features(featurizer: Featurizer, rows: Rows, real: Dataset, generated: Dataset) -> Features:
    """Features of real and generated images by one call, so that both take the same path."""
    ours = rows[rows < len(real)]
    theirs = rows[rows >= len(real)] - len(real)
    images = np.concatenate([real.images(ours), generated.images(theirs)])
    features = np.asarray(featurizer(images), np.float64)
    if features.ndim != 2 or len(features) != len(images):
        raise ValueError(
            f"featurizer {featurizer.name!r} returned shape {features.shape} for {len(images)} images; expected (n, d)."
        )
    return features


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


def _version() -> str:
    try:
        return metadata.version("virtassay")
    except metadata.PackageNotFoundError:
        return "checkout, not installed"


def _write_text(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
