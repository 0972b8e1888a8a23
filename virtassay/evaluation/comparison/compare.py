"""Compare several generated folders on the same real images: which is better, and is the difference more than chance?

All folders pass the pipeline of `judge` together: the same strata, controls, seed, baselines and replicates, each
measured once. Differences are paired: resample i draws the same perturbations for every folder, so that what is hard
for all of them cancels.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from virtassay.data.dataset.rows import Rows
from virtassay.data.dataset.store import Dataset
from virtassay.evaluation import baselines as generators
from virtassay.evaluation import strata
from virtassay.evaluation.baselines import Draw
from virtassay.evaluation.comparison.record import HEADLINES, Comparison, write_comparison
from virtassay.evaluation.evaluation_set import World, named
from virtassay.evaluation.featurizers.cache import Cached
from virtassay.evaluation.featurizers.features import Featurizer
from virtassay.evaluation.fingerprint import fingerprint
from virtassay.evaluation.intervals import Score, Scores, percentiles
from virtassay.evaluation.judge import REPEATED, Baseline
from virtassay.evaluation.judgement import CEILING, GENERATORS, MODEL, POOLED, Row
from virtassay.evaluation.measure.measure import Metric, measure
from virtassay.evaluation.measure.needed import features_of, require_own_names, rows_needed
from virtassay.evaluation.measure.space import space
from virtassay.evaluation.report import glossary
from virtassay.evaluation.verdict import IncomparableScores, anchored, comparable
from virtassay.files import cache_folder

log = logging.getLogger(__name__)


def compare(
    real: Dataset,
    generated: Mapping[str, Dataset],
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
    """Compare the folders `generated` (by name) on the `split` of `real`; write compare.json, .md and .html into `out`.

    The other arguments are those of `judge`. Only strata that all folders hold are compared; the others are named in
    the warnings. The baseline label_shuffled is left out: it is another for each folder. Returns the path of
    compare.html. Raises ValueError as `judge` does, for fewer than two folders, and where folders have no stratum in
    common; IncomparableScores, naming the fields, where two folders' numbers were measured differently (so also where
    they hold different numbers of images).
    """
    if len(generated) < 2:
        raise ValueError(f"{len(generated)} folder(s) to compare; give two or more. One alone is judged: generated=….")
    clash = sorted(set(generated) & set(GENERATORS))
    if clash:
        raise ValueError(f"folders called {clash} would be taken for baselines of that name: rename them.")
    looked_through = [Cached(f, cache_folder() / "features") if cache else f for f in featurizers.values()]
    require_own_names(looked_through)
    worlds = {
        name: strata.build(
            real,
            folder,
            split=split,
            seed=seed,
            draws=repeats,
            max_images=max_images,
            max_controls=max_controls,
            max_training=max_training,
            max_memory=max_memory,
        )
        for name, folder in generated.items()
    }
    worlds, warnings = side_by_side(worlds)
    asked = {
        **{name: f for name, f in baselines.items() if name != "label_shuffled"},
        CEILING: generators.real_replicate,
    }
    ours = {name: [generators.model(world, 0)] for name, world in worlds.items()}
    first = next(iter(worlds.values()))
    beside = {name: [f(first, k) for k in range(repeats if name in REPEATED else 1)] for name, f in asked.items()}
    rows: list[Row] = []
    differences: list[dict[str, Any]] = []
    for featurizer in looked_through:
        scores, told = _measured(featurizer, worlds, ours, beside, list(metrics.values()), resamples)
        made = anchored(scores, fingerprint(featurizer, real, split, seed, resamples))
        differences += _differences(list(worlds), scores, made)
        rows, warnings = rows + made, warnings + told
        log.info("measured %s", featurizer.name)
    origins = {name: {"folder": str(one.root), **(one.info.provenance or {})} for name, one in generated.items()}
    found = Comparison(origins, real.info.name, split, rows, differences, list(dict.fromkeys(warnings)))
    for sentence in found.sentences:
        log.info(sentence)
    return write_comparison(found, Path(out))


def _measured(
    featurizer: Featurizer,
    worlds: Mapping[str, World],
    ours: Mapping[str, Sequence[Draw]],
    beside: Mapping[str, Sequence[Draw]],
    metrics: Sequence[Metric],
    resamples: int,
) -> tuple[dict[str, Scores], list[str]]:
    """Scores of all folders (each as the model of `judge`), baselines and the replicate, and what to warn of."""
    first = next(iter(worlds.values()))
    sets = [rows_needed(world, {**beside, name: ours[name]}) for name, world in worlds.items()]
    needed = np.unique(np.concatenate(sets))
    there = space(featurizer.name, first, needed, features_of(featurizer, needed, first))
    scores: dict[str, Scores] = {}
    warnings: list[str] = []
    for name, world in worlds.items():
        measured = measure(MODEL, ours[name], world, there, resamples, metrics)
        scores[name] = measured.scores
        for reason in sorted(set(measured.unmeasured.values())):
            strata = [stratum for stratum, why in measured.unmeasured.items() if why == reason]
            warnings.append(
                f"{name}, {featurizer.name}: {len(strata)} strata count as worst ({reason}): {named(strata)}."
            )
    for name, draws in beside.items():
        scores[name] = measure(name, draws, first, there, resamples, metrics).scores
    return scores, warnings


def side_by_side(worlds: Mapping[str, World]) -> tuple[dict[str, World], list[str]]:
    """Put the generated images of several worlds of the same real images into one, and keep the strata that all hold.

    Returns a world for each folder, which differ in their generated images only, and what to warn of.
    """
    held = [{s.name for s in world.strata if len(s.generated)} for world in worlds.values()]
    common = held[0].intersection(*held)
    left_out = sorted({name for mine in held for name in mine - common})
    if not common:
        raise ValueError(
            f"the folders {named(list(worlds))} have no batch and treatment in common, so there is nothing to compare. "
            "Generate the same requests with each model."
        )
    first = next(iter(worlds.values()))
    warnings = [text for text in first.warnings if all(text in world.warnings for world in worlds.values())]
    warnings += [f"{name}: {text}" for name, world in worlds.items() for text in world.warnings if text not in warnings]
    if left_out:
        warnings.append(f"{len(left_out)} strata that not all folders hold are left out for all: {named(left_out)}.")
    joined = _joined([world.generated for world in worlds.values()])
    moved: dict[str, World] = {}
    offset = 0
    for name, world in worlds.items():
        kept = [replace(s, generated=s.generated + offset) for s in world.strata if s.name in common]
        begun_at = {row + offset: control for row, control in world.begun_at.items()}
        moved[name] = replace(first, strata=kept, generated=joined, begun_at=begun_at)
        offset += len(world.generated)
    counts = {name: {"n_generated": sum(len(s.generated) for s in world.strata)} for name, world in moved.items()}
    one = next(iter(counts))
    for other in counts:
        _require_comparable(one, other, counts[one], counts[other])
    return moved, warnings


def _joined(folders: Sequence[Dataset]) -> Dataset:
    """One dataset of the images of all folders, in their order."""
    places: list[pl.DataFrame] = []
    shards = 0
    for folder in folders:
        place = folder.rows.select("batch", "shard", "offset")
        places.append(place.with_columns(pl.col("shard").cast(pl.Int64) + shards, pl.col("offset").cast(pl.Int64)))
        shards += len(folder.maps)
    maps = tuple(one for folder in folders for one in folder.maps)
    return replace(folders[0], rows=Rows.of(pl.concat(places)), maps=maps)


def _differences(names: Sequence[str], scores: Mapping[str, Scores], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every pair of folders in every headline metric of one featurizer."""
    pooled = {(row["generator"], row["metric"]): row for row in rows if row["stratum"] == POOLED}
    found: list[dict[str, Any]] = []
    for first, second in combinations(names, 2):
        for metric in HEADLINES:
            if (first, metric) in pooled and (second, metric) in pooled:
                one, other = pooled[first, metric], pooled[second, metric]
                _require_comparable(first, second, one["fingerprint"], other["fingerprint"])
                pair = scores[first][metric, POOLED], scores[second][metric, POOLED]
                found.append(difference(metric, one["featurizer"], (first, second), *pair))
    return found


def _require_comparable(first: str, second: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    try:
        comparable(a, b)
    except IncomparableScores as error:
        raise IncomparableScores(
            f"{first} against {second}: {error} (Where the numbers of images differ, evaluation.max_images=… takes at "
            "most so many of each batch and treatment.)"
        ) from error


def difference(metric: str, featurizer: str, names: tuple[str, str], first: Score, second: Score) -> dict[str, Any]:
    """first − second with its paired 95 % interval, and the name of the better one if that interval excludes 0.

    Keys as `Comparison.differences`; None where a score could not be measured, or has no interval.
    """
    lower = upper = float("nan")
    if len(first.samples) == len(second.samples):
        lower, upper = percentiles(first.samples - second.samples)
    above = lower > 0 if glossary.metric(metric).better == "↑" else upper < 0
    below = upper < 0 if glossary.metric(metric).better == "↑" else lower > 0
    numbers = {"value": first.value - second.value, "lower": lower, "upper": upper}
    return {
        "metric": metric,
        "featurizer": featurizer,
        "first": names[0],
        "second": names[1],
        **{key: value if value == value else None for key, value in numbers.items()},
        "better": names[0] if above else names[1] if below else None,
    }


def names_of(folders: Sequence[str | Path]) -> list[str]:
    """What tells paths apart: without the folders that all of them begin or end with.

    runs/a/generated and runs/b/generated are a and b. Raises ValueError for a folder that is given twice.
    """
    parts = [list(Path(os.path.abspath(folder)).parts) for folder in folders]
    for i, one in enumerate(parts):
        if one in parts[:i]:
            raise ValueError(f"the folder {folders[i]} is given twice; name each folder to compare once.")
    for end in (0, -1):
        while all(len(one) > 1 for one in parts) and len({one[end] for one in parts}) == 1:
            for one in parts:
                one.pop(end)
    return ["/".join(one) for one in parts]
