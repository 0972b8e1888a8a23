"""The report of a screen: what was found, how far it can be trusted, and the best compounds one by one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.files import write_text
from virtassay.report.figures import png_uri
from virtassay.report.pages import as_json, page
from virtassay.report.pictures import composite, display_limits
from virtassay.screening.effects import Context
from virtassay.screening.enrichment import actives, enrichment_curve, enrichment_factor, roc_auc
from virtassay.screening.figures import chemical_space, dose_curves, enrichment_figure, scores_figure, structure
from virtassay.screening.hits import LISTS
from virtassay.screening.library import Library
from virtassay.screening.recipe import Scorer
from virtassay.screening.reference import ReferenceEffects

LISTED, PICTURED, CURVES, MAPPED, CELLS = 50, 8, 12, 400, 8
FACTS = ("model_sha256", "wanted", "doses_um", "batches", "stages", "solver", "grid", "guidance", "seed", "version")


@dataclass(frozen=True)
class ScreenResult:
    """What a screen gave, for its report. hits: the first of them; scores: of all, (n,), and of inactive ones, null.

    sentences: of what the hits are annotated with.
    """

    hits: pl.DataFrame
    scores: NDArray[np.float64]
    null: NDArray[np.float64]
    library: Library
    manifest: dict[str, Any]
    warnings: list[str]
    sentences: list[str]


def write_report(out: Path, result: ScreenResult, scorer: Scorer) -> Path:
    """Write report.json and report.html, which loads nothing, and return the path of the latter."""
    hits, reference, label = result.hits, scorer.reference, type(scorer.goal).__name__.lower()
    summary = {
        "compounds": result.library.compounds,
        "rejected": result.library.rejected,
        "ranked": len(result.scores),
        "warnings": result.warnings,
        "sentences": result.sentences,
        "screen": result.manifest,
    }
    enrichment = _enrichment(hits, result.library)
    if enrichment is not None:
        summary["enrichment"] = {key: value for key, value in enrichment.items() if key != "figure"}
    write_text(out / "report.json", as_json(summary))
    finite = hits.filter(pl.col("score").is_finite())
    best, mapped, curves, space = finite.head(CURVES), finite.head(MAPPED), None, None
    seen = [smiles for smiles in reference.predictor.assay.vocabulary.smiles if smiles is not None]
    if len(reference.doses_um) > 1 and best.height:
        scores, *ends = (np.array(best[name].to_list()) for name in LISTS)
        curves = dose_curves(best["name"].to_list(), reference.doses_um, scores, np.array(ends), label)
    if mapped.height + len(seen) > 5:
        space = chemical_space(mapped["smiles"].to_list(), mapped["score"].to_numpy(), seen)
    content = {
        "summary": summary,
        "label": label,
        "lines": [line | {"structure": structure(line["smiles"])} for line in hits.head(LISTED).iter_rows(named=True)],
        "listed": LISTED,
        "has_potency": "ec50_um" in hits.columns,
        "has_cells": hits["cells_left"].count() > 0,
        "models": [name.partition("_")[2] for name in hits.columns if name.startswith("score_")],
        "scores": scores_figure(result.scores, result.null, label),
        "curves": curves,
        "space": space,
        "enrichment": enrichment,
        "pictures": _pictures(finite.head(PICTURED), reference, scorer.goal.contexts[0]),
        "facts": {key: result.manifest[key] for key in FACTS if key in result.manifest},
    }
    return write_text(out / "report.html", page("virtassay.screening", "report.html.j2", content))


def _enrichment(hits: pl.DataFrame, library: Library) -> dict[str, Any] | None:
    """The ranking against what the library says is active; those that a stage left out share the last place."""
    with_truth = pl.read_parquet(library.table, columns=["compound", "truth"]).drop_nulls()
    if not with_truth.height:
        return None
    ranks = with_truth.join(hits.select("compound", "rank"), on="compound", how="left")["rank"]
    scores = -ranks.cast(pl.Float64).fill_null(hits.height + 1.0).to_numpy()
    active = actives(with_truth["truth"].to_numpy())
    return {
        "compounds": with_truth.height,
        "actives": int(active.sum()),
        "yes_or_no": with_truth["truth"].is_in([0.0, 1.0]).all(),
        "roc_auc": roc_auc(active, scores),
        **{f"ef{percent}": enrichment_factor(active, scores, percent / 100) for percent in (1, 5)},
        "figure": enrichment_figure(enrichment_curve(active, scores), int(active.sum()), with_truth.height),
    }


def _pictures(hits: pl.DataFrame, reference: ReferenceEffects, context: Context) -> list[dict[str, Any]]:
    """The same cells untreated and under each of the best compounds, at the dose of their score."""
    vocabulary = reference.predictor.assay.vocabulary
    if not hits.height or min(vocabulary.image_shape[1:]) < 2:  # vectors have no picture
        return []
    healthy = reference.query(vocabulary.controls[0], None, None, Context(cell_type=context.cell_type))
    queries = [reference.query(s, s, dose, context) for s, dose in hits.select("smiles", "dose_um").iter_rows()]
    images = reference.predictor.images([healthy, *queries], np.arange(len(reference.predictor.units))[:CELLS])
    limits = display_limits(images[0])
    return [
        {"name": name, "dose_um": dose, **_strip(composite(cells, vocabulary.channels, limits))}
        for name, dose, cells in zip(["untreated", *hits["name"]], [None, *hits["dose_um"]], images, strict=True)
    ]


def _strip(cells: NDArray[np.uint8]) -> dict[str, Any]:
    pixels = np.concatenate(list(np.pad(cells, ((0, 0), (0, 0), (0, 2), (0, 0)), constant_values=255)), axis=1)
    zoom = max(1, round(96 / cells.shape[1]))
    return {"uri": png_uri(pixels), "width": pixels.shape[1] * zoom, "height": pixels.shape[0] * zoom}
