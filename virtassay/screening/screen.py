"""A screen: library → scores → hits, in stages, each in shards; a screen that was stopped goes on where it was.

manifest.json     what the scores depend on; another screen into the same folder is refused
library.parquet   the molecules, each once; rejected.csv: what was left out
stages/           shards of each stage
others/, nuclei/  shards of the best alone, by each other model, and of their nuclei
hits.parquet, hits.csv, plate.csv, report.html, report.json, images/

The folder is one that can lock and rename files, and that all processes see. Object stores can neither: a library is
read from one, and results are uploaded to one when they are there (publish=…).
"""

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import Dataset, open_dataset
from virtassay.files import identity, lock, upload
from virtassay.screening.agreement import agreement
from virtassay.screening.bench import Bench
from virtassay.screening.engines import Engine
from virtassay.screening.ensemble import Member, Scores, recipes_of_others
from virtassay.screening.goals import Disagreement
from virtassay.screening.hits import COLUMNS, LISTS, Check, Trust, hits_table, trust_of, warnings_of
from virtassay.screening.images import Images
from virtassay.screening.library import Library, molecules, prepare_library, rows_of
from virtassay.screening.passes import Pass, Work
from virtassay.screening.plate import diverse, plate_map
from virtassay.screening.recipe import Recipe, Stage
from virtassay.screening.report import Found, write_report
from virtassay.screening.shards import Numbers, Shards, share, whole
from virtassay.screening.survival import Counting, survival

log = logging.getLogger(__name__)
PIECE = 50_000  # hits that are held in memory at once; the report and the plate are about the first of them
RESULTS = ["manifest.json", "hits.parquet", "hits.csv", "plate.csv", "rejected.csv", "report.html", "report.json"]


def screen(
    *,
    library: str | Path,
    out: str | Path,
    recipe: Recipe,
    stages: Sequence[Stage],
    engine: Engine,
    shard_size: int,
    threads: int,
    shard: str | None = None,
    dataset: str | Path | None = None,
    verdict: str | Path | None = None,
    plate: dict[str, Any] | None = None,
    images: Images | None = None,
    publish: str | None = None,
    smiles: str | None = None,
    name: str | None = None,
    truth: str | None = None,
    inactives: str | Path | None = None,
    others: Sequence[str] = (),
) -> Path | None:
    """Score a library and rank it; returns the report, or None where other shares of the work are still missing.

    stages: cheap first; each but the last says how many compounds go on, and the last may say how many of the best are
    looked at once more. others: run folders of the same data, which score those too, as in the last stage: they are
    ranked by the mean of all models. shard: "k/n" does the k-th of n shares, for arrays of jobs: the one that finds all
    of a stage done goes on to the next. dataset: the real images that the model was trained on, for inactive and
    held-out compounds. verdict: verdict.json of its evaluation. plate: {wells, controls, compounds, among} of the plate
    map. images: of the best, in some format. publish: the URL of a folder that results are uploaded to. smiles, name:
    columns of the library, a file or its URL. truth: its column that tells what is active, shown against the ranking.
    inactives: a file like the library, of compounds known to do nothing, that p and q are held against. Raises
    ValueError, FileNotFoundError, OSError for a URL that cannot be read, and BrokenRun before anything is scored.
    """
    out = Path(out)
    _check(stages, shard_size)
    share(shard, 0)
    inert = [] if inactives is None else molecules(inactives)
    found = recipes_of_others(recipe, others, stages[-1])
    there = str(library).partition("?")[0]  # what follows in the URL may be a signature, which is for nobody to read
    told = {"library_file": there, "library_is": identity(library), "columns": [smiles, name, truth]}
    out.mkdir(parents=True, exist_ok=True)
    with lock(out):  # jobs of an array begin together
        prepared, told = _begun(out, library, told | recipe.described(stages) | {"shard_size": shard_size})
    work = Work(prepared, engine, threads, shard, out)
    passes: list[Pass] = []
    compounds = np.arange(prepared.compounds)
    for number, stage in enumerate(stages, start=1):
        passes.append(Pass(f"stage {number}", recipe, stage, Shards(out / "stages" / str(number), shard_size)))
        work.begin(passes[-1], compounds)
        if not work.finish(passes[-1]):
            return None
        compounds = passes[-1].shards.best(len(compounds) if stage.keep is None else stage.keep)
    asked = [
        Pass(f"the best by {other.run}", other, stages[-1], Shards(out / "others" / model, shard_size))
        for model, other in found.items()
    ]
    for one in asked:
        work.begin(one, compounds)
    real, counting = _counting(passes[-1], dataset, Shards(out / "nuclei", shard_size))
    if counting.nuclei is not None:
        work.begin(counting.nuclei, compounds)
    if not all([work.finish(one) for one in (*asked, *counting.trusted)]):  # of a list: one array of jobs does them all
        return None
    with lock(out):
        report = _finish(out, passes, asked, counting, compounds, prepared, told, real, verdict, plate, images, inert)
    if publish is not None:
        upload(out, [*RESULTS, *([] if images is None else ["images"])], publish)
        log.info("results are at %s", publish)
    return report


def _check(stages: Sequence[Stage], shard_size: int) -> None:
    if not stages or any(stage.keep is None or stage.keep < 1 for stage in stages[:-1]):
        raise ValueError("stages: give one or more, and for each but the last `keep`, how many compounds go on.")
    numbers = [n for stage in stages for n in (stage.seeds, stage.steps, stage.keep) if n is not None]
    if min(numbers) < 1 or shard_size < 1:
        raise ValueError(f"stages={list(stages)}, shard_size={shard_size}: numbers of 1 or more.")


def _begun(out: Path, path: str | Path, told: dict[str, Any]) -> tuple[Library, dict[str, Any]]:
    """The library and the manifest of a screen that is begun, or goes on."""
    manifest = out / "manifest.json"
    if manifest.is_file():
        kept = json.loads(manifest.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(told))
        other = [key for key in now if kept.get(key) != now[key] and key != "library_file"]  # it may have been moved
        if other:
            shown = "; ".join(f"{key}: {kept.get(key)!r} there, {now[key]!r} here" for key in other[:3])
            raise ValueError(f"{out} holds another screen ({shown}): give another out=…, or remove it.")
        prepared = Library(out / "library.parquet", **{k: kept[k] for k in ("compounds", "rejected", "sha256")})
        return prepared, kept
    prepared = prepare_library(path, out, *told["columns"])
    if prepared.rejected:
        log.warning(
            "%d rows of %s are left out; %s/rejected.csv says why", prepared.rejected, told["library_file"], out
        )
    told |= {k: v for k, v in asdict(prepared).items() if k != "table"}
    with whole(manifest) as file:
        file.write(json.dumps(told, indent=1, ensure_ascii=False).encode())
    return prepared, told


def _finish(
    out: Path, passes: Sequence[Pass], others: Sequence[Pass], counting: Counting, best: Numbers, library: Library,
    told: dict[str, Any], real: Dataset | None, verdict: str | Path | None, plate: dict[str, Any] | None,
    images: Images | None, inactives: Sequence[tuple[str, str]],
) -> Path:  # fmt: skip
    for one in (*passes, *others, *counting.trusted):
        one.shards.tidy()
    recipe, last = passes[-1].recipe, passes[-1].shards
    bench = passes[-1].bench()
    goal = recipe.wanted.goal(bench)
    trust = trust_of(bench, goal, real, inactives)
    scores, checks = Scores(last, trust.null), []
    if others:
        own = Member(recipe.run, bench.instrument.assay.model_sha256[:12], last.scores(COLUMNS, best), trust.null)
        members = [own, *(Member.of(one, best, trust.inactive) for one in others)]
        scores = Scores.of(last, bench.doses_um, members)
        checks.append(agreement(members))
    checks.append(survival(scores(best).join(rows_of(library, best), on="compound"), counting, trust.known))
    ranked = scores.ranked(library.compounds)
    hits = _written(out, ranked, scores, library, bench, trust, recipe.seed, checks)
    if plate is not None:
        measured = trust.known.smiles if isinstance(goal, Disagreement) else ()  # that nothing is measured twice
        picked = diverse(hits, plate["compounds"], plate["among"], measured)
        with whole(out / "plate.csv") as file:
            file.write(plate_map(picked, plate["wells"], plate["controls"]).write_csv().encode())
    if images is not None:
        images(out / "images", hits, bench, goal.contexts[0])
    warnings = [*_of_the_model(verdict), *warnings_of(trust, goal), *(w for check in checks for w in check.warnings)]
    for warning in warnings:
        log.warning("%s", warning)
    sentences = [check.sentence for check in checks]
    found = Found(hits, ranked["score"].to_numpy(), library, told, warnings, sentences, trust, goal)
    return write_report(out, found, bench)


def _written(
    out: Path, ranked: pl.DataFrame, scores: Scores, library: Library, bench: Bench, trust: Trust, seed: int,
    checks: Sequence[Check],
) -> pl.DataFrame:  # fmt: skip
    """Write hits.parquet and hits.csv piece by piece, and return the first."""
    kept: list[pl.DataFrame] = []
    with whole(out / "hits.parquet") as parquet, whole(out / "hits.csv") as text, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for first in range(0, ranked.height, PIECE):
            some = ranked[first : first + PIECE]
            numbers = np.sort(some["compound"].to_numpy())
            hits = hits_table(some, scores(numbers), rows_of(library, numbers), bench, trust, seed, checks)
            table = hits.to_arrow()
            writer = writer or stack.enter_context(pq.ParquetWriter(parquet, table.schema))
            writer.write_table(table)
            text.write(hits.drop(*LISTS).write_csv(include_header=first == 0).encode())
            kept = kept or [hits]
    return kept[0]


def _counting(last: Pass, dataset: str | Path | None, shards: Shards) -> tuple[Dataset | None, Counting]:
    bench = last.bench()  # its model is let go before others are loaded
    real = _real(dataset, bench.instrument.assay)
    return real, Counting.of(last, bench, real, shards)


def _real(dataset: str | Path | None, assay: VirtualAssay) -> Dataset | None:
    """The images given, or those of training if they are still where they were."""
    if dataset is not None:
        return open_dataset(dataset, verify=False)
    folders = assay.config["loader"]["folder"]
    there = isinstance(folders, str) and Path(folders, "dataset.json").is_file()
    return open_dataset(folders, verify=False) if there else None


def _of_the_model(verdict: str | Path | None) -> list[str]:
    path = None if verdict is None else Path(verdict)
    if path is None or not path.is_file():
        return [
            "This model has not been evaluated (no verdict.json): nobody knows whether its images show what treatments "
            "do. Run virtassay evaluate first."
        ]
    told = json.loads(path.read_text(encoding="utf-8"))
    grade = told.get("grade", "FAIL")
    if grade == "PASS":
        return []
    return [f"This model's evaluation says {grade}: {' '.join(told.get('sentences', [])[:1])}"]
