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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch

from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import Dataset, open_dataset
from virtassay.files import identity, lock, upload
from virtassay.flow.traits import trait
from virtassay.screening.cell_counts import CellCounts, cells_left
from virtassay.screening.confidence import Confidence
from virtassay.screening.engines import Execution, StagePlan
from virtassay.screening.ensemble import FinalScores, Member, agreement, ensemble_recipes
from virtassay.screening.hits import COLUMNS, LISTS, hits_table
from virtassay.screening.images import ImageWriter
from virtassay.screening.library import Library, LibraryColumns, molecules, prepare_library, rows_of
from virtassay.screening.plate import Plate
from virtassay.screening.recipe import Recipe, Stage
from virtassay.screening.report import ScreenResult, write_report
from virtassay.screening.shards import Numbers, durable

log = logging.getLogger(__name__)
PIECE = 50_000  # hits that are held in memory at once; the report and the plate are about the first of them
RESULTS = ["manifest.json", "hits.parquet", "hits.csv", "plate.csv", "rejected.csv", "report.html", "report.json"]


@dataclass(frozen=True)
class Evidence:
    """What is known beside the library, and says how far scores can be trusted.

    dataset: the real images that the model was trained on, for inactive and held-out compounds and for cells in wells;
    None: where the run says, if they are still there. verdict: verdict.json of the model's evaluation. inactives: a
    file like a library, of compounds known to do nothing, that p and q are held against.
    """

    dataset: str | Path | None = None
    verdict: str | Path | None = None
    inactives: str | Path | None = None

    def images(self, assay: VirtualAssay) -> Dataset | None:
        """The images given, or those of training if they are still where they were."""
        folder = self.dataset or assay.config["loader"]["folder"]
        if self.dataset is None and not (isinstance(folder, str) and Path(folder, "dataset.json").is_file()):
            return None
        return open_dataset(folder, verify=False)

    def of_the_model(self) -> list[str]:
        """What the model's evaluation warns of, in words."""
        path = Path(self.verdict or "")
        if not path.is_file():
            return [
                "This model has not been evaluated (no verdict.json): nobody knows whether its images show what "
                "treatments do. Run virtassay evaluate first."
            ]
        verdict = json.loads(path.read_text(encoding="utf-8"))
        grade, sentence = verdict.get("grade", "FAIL"), " ".join(verdict.get("sentences", [])[:1])
        return [] if grade == "PASS" else [f"This model's evaluation says {grade}: {sentence}"]


def screen(
    *,
    library: str | Path,
    out: str | Path,
    recipe: Recipe,
    stages: Sequence[Stage],
    execution: Execution,
    columns: LibraryColumns | None = None,
    evidence: Evidence | None = None,
    others: Sequence[str] = (),
    plate: Plate | None = None,
    images: ImageWriter | None = None,
    publish: str | None = None,
) -> Path | None:
    """Score a library and rank it; returns the report, or None where other shares of the work are still missing.

    library: a file or its URL. stages: cheap first; each but the last says how many compounds go on, and the last may
    say how many of the best are looked at once more. execution: of an array of jobs, the one that finds all of a stage
    done goes on to the next. others: run folders of the same data, which score those too, as in the last stage: they
    are ranked by the mean of all models. plate: of the map for the lab, None for none. images: of the best, in some
    format. publish: the URL of a folder that results are uploaded to. Raises ValueError, FileNotFoundError, OSError for
    a URL that cannot be read, and BrokenRun before anything is scored.
    """
    out, columns, evidence = Path(out), columns or LibraryColumns(), evidence or Evidence()
    with _as_a_worker(execution.threads):
        _validate(stages)
        inactive = [] if evidence.inactives is None else molecules(evidence.inactives)
        recipes = ensemble_recipes(recipe, others, stages[-1])
        file = str(library).partition("?")[0]  # what follows in the URL may be a signature, which is for nobody to read
        manifest = {"library_file": file, "library_is": identity(library), "columns": list(asdict(columns).values())}
        manifest |= recipe.described(stages) | {"shard_size": execution.shard_size}
        out.mkdir(parents=True, exist_ok=True)
        with lock(out):  # jobs of an array begin together
            prepared, manifest = _begin(out, library, columns, manifest)
        plans: list[StagePlan] = []
        compounds = np.arange(prepared.compounds)
        for number, stage in enumerate(stages, start=1):
            plan = StagePlan(f"stage {number}", recipe, stage, out / "stages" / str(number), prepared, execution)
            plans.append(plan)
            plan.begin(compounds)
            if not plan.finish():
                return None
            compounds = plan.shards.best(len(compounds) if stage.keep is None else stage.keep)
        by_others = [
            replace(plans[-1], name=f"the best by {other.run}", recipe=other, folder=out / "others" / model)
            for model, other in recipes.items()
        ]
        for plan in by_others:
            plan.begin(compounds)
        real, counts = _counts(plans[-1], evidence, out / "nuclei")
        if counts.nuclei is not None:
            counts.nuclei.begin(compounds)
        more = [*by_others, *counts.trusted]
        if not all([plan.finish() for plan in more]):  # of a list: one array of jobs does them all
            return None
        with lock(out):
            scored = _Scored(manifest, plans, by_others, counts, compounds, real, inactive)
            report = _finish(out, scored, evidence, plate, images)
    if publish is not None:
        upload(out, [*RESULTS, *([] if images is None else ["images"])], publish)
        log.info("results are at %s", publish)
    return report


@contextmanager
def _as_a_worker(threads: int) -> Iterator[None]:
    """Let this process compute as a new one of an engine does, to the bit: as many threads, products in full float32.

    One that has trained before multiplies matrices with less precision.
    """
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])


def _validate(stages: Sequence[Stage]) -> None:
    if not stages or any(stage.keep is None or stage.keep < 1 for stage in stages[:-1]):
        raise ValueError("stages: give one or more, and for each but the last `keep`, how many compounds go on.")
    if min(n for stage in stages for n in (stage.seeds, stage.steps, stage.keep) if n is not None) < 1:
        raise ValueError(f"stages={list(stages)}: numbers of 1 or more.")


def _begin(
    out: Path, path: str | Path, columns: LibraryColumns, manifest: dict[str, Any]
) -> tuple[Library, dict[str, Any]]:
    """The library and the manifest of a screen that is begun, or goes on."""
    file = out / "manifest.json"
    if file.is_file():
        kept = json.loads(file.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(manifest))
        other = [key for key in now if kept.get(key) != now[key] and key != "library_file"]  # it may have been moved
        if other:
            shown = "; ".join(f"{key}: {kept.get(key)!r} there, {now[key]!r} here" for key in other[:3])
            raise ValueError(f"{out} holds another screen ({shown}): give another out=…, or remove it.")
        return Library(out / "library.parquet", **{k: kept[k] for k in ("compounds", "rejected", "sha256")}), kept
    library = prepare_library(path, out, columns)
    if library.rejected:
        name = manifest["library_file"]
        log.warning("%d rows of %s are left out; %s/rejected.csv says why", library.rejected, name, out)
    manifest |= {key: value for key, value in asdict(library).items() if key != "table"}
    with durable(file) as handle:
        handle.write(json.dumps(manifest, indent=1, ensure_ascii=False).encode())
    return library, manifest


def _counts(last: StagePlan, evidence: Evidence, folder: Path) -> tuple[Dataset | None, CellCounts]:
    assay = last.scorer().reference.predictor.assay  # a model that is let go before others are loaded
    real = evidence.images(assay)
    return real, CellCounts.of(last, assay.vocabulary, real, folder)


@dataclass(frozen=True)
class _Scored:
    """What was scored: the library in each stage, the best (numbers) by each other model, and their nuclei.

    real: images of training; inactive: compounds (name, SMILES) that are known to do nothing.
    """

    manifest: dict[str, Any]
    stages: Sequence[StagePlan]
    others: Sequence[StagePlan]
    counts: CellCounts
    best: Numbers
    real: Dataset | None
    inactive: Sequence[tuple[str, str]]


def _finish(out: Path, scored: _Scored, evidence: Evidence, plate: Plate | None, images: ImageWriter | None) -> Path:
    """Rank what was scored and write all results; returns the report."""
    for plan in (*scored.stages, *scored.others, *scored.counts.trusted):
        plan.shards.tidy()
    last, best = scored.stages[-1], scored.best
    scorer = last.scorer()
    reference, goal = scorer.reference, scorer.goal
    confidence = Confidence.of(scorer, scored.real, scored.inactive)
    scores, annotations = FinalScores(last.shards, confidence.null), []
    if scored.others:
        model = reference.predictor.assay.model_sha256[:12]
        own = Member(last.recipe.run, model, last.shards.scores(COLUMNS, best), confidence.null)
        members = [own, *(Member.of(plan, best, confidence.inactive) for plan in scored.others)]
        scores = FinalScores.of(last.shards, reference.doses_um, members)
        annotations.append(agreement(members))
    hits_of_best = scores(best).join(rows_of(last.library, best), on="compound")
    annotations.append(cells_left(hits_of_best, scored.counts, confidence.training))
    ranked = scores.ranked(last.library.compounds)
    pieces = _pieces(ranked, scores, last.library)
    hits = _write_hits(out, (hits_table(piece, reference, confidence, annotations) for piece in pieces))
    if plate is not None:
        measured = confidence.training.smiles if trait(goal, "next_experiment") else ()  # nothing is measured twice
        with durable(out / "plate.csv") as file:
            file.write(plate(hits, measured).write_csv().encode())
    if images is not None:
        images(out / "images", hits, reference, goal.contexts[0])
    warnings = [*evidence.of_the_model(), *confidence.warnings(goal), *chain(*(a.warnings for a in annotations))]
    for warning in warnings:
        log.warning("%s", warning)
    sentences = [annotation.sentence for annotation in annotations]
    null = confidence.null["score"].to_numpy()
    result = ScreenResult(hits, ranked["score"].to_numpy(), null, last.library, scored.manifest, warnings, sentences)
    return write_report(out, result, scorer)


def _pieces(ranked: pl.DataFrame, scores: FinalScores, library: Library) -> Iterator[pl.DataFrame]:
    """Some compounds at a time, in order: their ranks, scores and rows of the library."""
    for piece in ranked.iter_slices(PIECE):
        numbers = np.sort(piece["compound"].to_numpy())
        for table in (scores(numbers).drop("score"), rows_of(library, numbers)):
            piece = piece.join(table, on="compound", how="left", maintain_order="left")
        yield piece


def _write_hits(out: Path, tables: Iterator[pl.DataFrame]) -> pl.DataFrame:
    """Write hits.parquet and hits.csv table by table, and return the first."""
    with durable(out / "hits.parquet") as parquet, durable(out / "hits.csv") as text:
        first = next(tables)
        with pq.ParquetWriter(parquet, first.to_arrow().schema) as writer:
            for table in chain([first], tables):
                writer.write_table(table.to_arrow())
                text.write(table.drop(*LISTS).write_csv(include_header=table is first).encode())
    return first
