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

import polars as pl

from virtassay.data.dataset.rows import Rows
from virtassay.data.dataset.store import Dataset
from virtassay.evaluation.baselines import model, real_replicate
from virtassay.evaluation.comparison.record import HEADLINES, Comparison, write_comparison
from virtassay.evaluation.criteria import Criteria
from virtassay.evaluation.evaluation_set import EvaluationSet, named
from virtassay.evaluation.glossary import HIGHER, Description
from virtassay.evaluation.intervals import Score, Scores, percentiles
from virtassay.evaluation.judgement import CEILING, MODEL, POOLED, Row, pooled
from virtassay.evaluation.score import score
from virtassay.evaluation.strata import build_evaluation_set
from virtassay.evaluation.verdict import IncomparableScores, anchored, comparable
from virtassay.flow.traits import trait

log = logging.getLogger(__name__)


def compare(real: Dataset, generated: Mapping[str, Dataset], out: Path | str, criteria: Criteria) -> Path:
    """Compare the folders `generated` (by name) on the same real images; write compare.json, .md and .html into `out`.

    Only strata that all folders hold are compared; the others are named in the warnings. Baselines that are made of the
    generated images (label_shuffled) are left out: they are others for each folder. Returns the path of compare.html.
    Raises ValueError as `judge` does, for fewer than two folders, and where folders have no stratum in common;
    IncomparableScores, naming the fields, where two folders' numbers were measured differently (so also where they hold
    different numbers of images).
    """
    if len(generated) < 2:
        raise ValueError(f"{len(generated)} folder(s) to compare; give two or more. One alone is judged: generated=….")
    clash = sorted(set(generated) & {MODEL, CEILING, *criteria.baselines})
    if clash:
        raise ValueError(f"folders called {clash} would be taken for baselines of that name: rename them.")
    featurizers, glossary = criteria.looks(), criteria.glossary()
    sets = {name: build_evaluation_set(real, folder, criteria) for name, folder in generated.items()}
    sets, warnings = side_by_side(sets)
    first = next(iter(sets.values()))
    baselines = {name: f for name, f in criteria.baselines.items() if not trait(f, "of_generated")}
    candidates = {name: criteria.candidate(own, model, is_model=True) for name, own in sets.items()}
    candidates |= {name: criteria.candidate(first, f) for name, f in {**baselines, CEILING: real_replicate}.items()}
    rows: list[Row] = []
    differences: list[dict[str, Any]] = []
    for featurizer, _, measured in score(candidates, featurizers):
        scores = {name: measurement.scores for name, measurement in measured.items()}
        anchors = anchored(scores, baselines, glossary, criteria.fingerprint(featurizer, real))
        differences += _differences(list(sets), scores, anchors)
        rows += anchors
        for name in sets:
            warnings += measured[name].warnings(f"{name}, {featurizer.name}", "count as worst")
    comparison = Comparison(
        folders={
            name: {"folder": str(folder.root), **(folder.info.provenance or {})} for name, folder in generated.items()
        },
        real=real.info.name,
        split=criteria.split,
        rows=rows,
        differences=differences,
        warnings=list(dict.fromkeys(warnings)),
        glossary=glossary,
    )
    for sentence in comparison.sentences:
        log.info(sentence)
    return write_comparison(comparison, Path(out))


def side_by_side(sets: Mapping[str, EvaluationSet]) -> tuple[dict[str, EvaluationSet], list[str]]:
    """Put the generated images of several sets of the same real images into one, and keep the strata that all hold.

    Returns a set for each folder, which differ in their generated images only, and what to warn of.
    """
    strata = [{s.name for s in own.strata if len(s.generated)} for own in sets.values()]
    common = strata[0].intersection(*strata)
    left_out = sorted({name for names in strata for name in names - common})
    if not common:
        raise ValueError(
            f"the folders {named(list(sets))} have no batch and treatment in common, so there is nothing to compare. "
            "Generate the same requests with each model."
        )
    first = next(iter(sets.values()))
    warnings = [text for text in first.warnings if all(text in own.warnings for own in sets.values())]
    warnings += [f"{name}: {text}" for name, own in sets.items() for text in own.warnings if text not in warnings]
    if left_out:
        warnings.append(f"{len(left_out)} strata that not all folders hold are left out for all: {named(left_out)}.")
    joined = _joined([own.generated for own in sets.values()])
    moved: dict[str, EvaluationSet] = {}
    offset = 0
    for name, own in sets.items():
        kept = [replace(s, generated=s.generated + offset) for s in own.strata if s.name in common]
        begun_at = {row + offset: control for row, control in own.begun_at.items()}
        moved[name] = replace(first, strata=kept, generated=joined, begun_at=begun_at)
        offset += len(own.generated)
    counts = {name: {"n_generated": sum(len(s.generated) for s in own.strata)} for name, own in moved.items()}
    reference = next(iter(counts))
    for other in counts:
        _require_comparable(reference, other, counts[reference], counts[other])
    return moved, warnings


def _joined(folders: Sequence[Dataset]) -> Dataset:
    """One dataset of the images of all folders, in their order."""
    places: list[pl.DataFrame] = []
    shards = 0
    for folder in folders:
        place = folder.rows.select("batch", "shard", "offset")
        places.append(place.with_columns(pl.col("shard").cast(pl.Int64) + shards, pl.col("offset").cast(pl.Int64)))
        shards += len(folder.maps)
    maps = tuple(shard for folder in folders for shard in folder.maps)
    return replace(folders[0], rows=Rows.of(pl.concat(places)), maps=maps)


def _differences(names: Sequence[str], scores: Mapping[str, Scores], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every pair of folders in every headline metric of one featurizer."""
    of = {(metric, generator): row for (_, metric, generator), row in pooled(rows).items()}
    differences: list[dict[str, Any]] = []
    for first, second in combinations(names, 2):
        for metric in HEADLINES:
            if (metric.name, first) in of and (metric.name, second) in of:
                a, b = of[metric.name, first], of[metric.name, second]
                _require_comparable(first, second, a["fingerprint"], b["fingerprint"])
                pair = scores[first][metric.name, POOLED], scores[second][metric.name, POOLED]
                differences.append(difference(metric, a["featurizer"], (first, second), *pair))
    return differences


def _require_comparable(first: str, second: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    try:
        comparable(a, b)
    except IncomparableScores as error:
        raise IncomparableScores(
            f"{first} against {second}: {error} (Where the numbers of images differ, evaluation.max_images=… takes at "
            "most so many of each batch and treatment.)"
        ) from error


def difference(
    metric: Description, featurizer: str, names: tuple[str, str], first: Score, second: Score
) -> dict[str, Any]:
    """first − second with its paired 95 % interval, and the name of the better one if that interval excludes 0.

    Keys as `Comparison.differences`; None where a score could not be measured, or has no interval.
    """
    lower = upper = float("nan")
    if len(first.samples) == len(second.samples):
        lower, upper = percentiles(first.samples - second.samples)
    above = lower > 0 if metric.better == HIGHER else upper < 0
    below = upper < 0 if metric.better == HIGHER else lower > 0
    numbers = {"value": first.value - second.value, "lower": lower, "upper": upper}
    return {
        "metric": metric.name,
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
    for i, path in enumerate(parts):
        if path in parts[:i]:
            raise ValueError(f"the folder {folders[i]} is given twice; name each folder to compare once.")
    for end in (0, -1):
        while all(len(path) > 1 for path in parts) and len({path[end] for path in parts}) == 1:
            for path in parts:
                path.pop(end)
    return ["/".join(path) for path in parts]
