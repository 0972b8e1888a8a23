"""The report: one HTML page that says how far generated images can be trusted, and shows why.

It holds everything it needs (pictures as data URIs, no script) and loads nothing. Text from the index and from folders
is escaped. Numbers are never recomputed here: they are those of `metrics.json` and the tables beside it.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from virtassay.evaluation.judgement import POOLED, Judgement
from virtassay.evaluation.report import choice, dot_plots, plots, sentences, sheets, tables
from virtassay.evaluation.report.sentences import Finding
from virtassay.evaluation.selftest.last_run import last_run
from virtassay.report.figures import evenly
from virtassay.report.numbers import flat, name
from virtassay.report.pages import page

RIDGES = 6  # treatments whose single cells are shown
FINDINGS = 100  # lines of the table of what is right and wrong


def html(judgement: Judgement) -> str:
    """The judgement as one self-contained page."""
    return page("virtassay.evaluation.report", "report.html.j2", _content(judgement))


def _content(judgement: Judgement) -> dict[str, Any]:
    effects = tables.with_all_columns(judgement.effects)
    pooled = [row for row in judgement.rows if row["stratum"] == POOLED]
    featurizers = tables.in_order(row["featurizer"] for row in pooled)
    strata = choice.by_stratum(effects)
    findings = sentences.treatments(effects, judgement.findings)
    generators = tables.in_order(row["generator"] for row in pooled)
    baselines = [b for b in (*judgement.floors, *judgement.informed) if b in generators]
    lines = [(f, tables.metric_lines(pooled, f, baselines, judgement.glossary)) for f in featurizers]
    explained = [tables.effect_explained(pooled, f, judgement.floors) for f in featurizers]
    apart = [judgement.verdict["per_featurizer"].get(f, {}).get("apart") for f in featurizers]
    kinds = tables.in_order(row["metric"].partition(":")[0] for row in pooled)
    scaled = [(name(f), [line.scaled for line in own]) for f, own in lines]
    return {
        "verdict": judgement.verdict,
        "not_looked_at": sentences.not_looked_at(judgement),
        "names": (judgement.real.info.name, judgement.generated.info.name),
        "counts": _counts(judgement, strata),
        "main_figure": plots.effect_explained_figure(explained),
        "effect_explained": list(zip(explained, apart, strict=True)),
        "scaled_figure": dot_plots.scaled_scores(scaled) if scaled else None,
        "findings": findings[:FINDINGS],
        "n_findings": len(findings),
        "judged": sentences.JUDGED,
        **_pictures(judgement, effects, strata, findings),
        "ridges": _ridges(judgement, strata),
        "confounder_figure": dot_plots.confounder_aucs(judgement.confounders),
        "confounders": judgement.confounders["confounder"].unique().to_list(),
        "explained": sentences.what_explains(judgement.confounders),
        "scatter": plots.effect_scatter(effects),
        "baselines": baselines,
        "n_informed": sum(b in judgement.informed for b in baselines),
        "tables": lines,
        "treatments": tables.treatment_lines(effects, strata),
        "effect_featurizers": tables.in_order(effects["featurizer"]),
        "glossary": [judgement.glossary[kind] for kind in kinds],
        "fingerprints": [(f, tables.fingerprint(judgement.rows, f)) for f in featurizers],
        "selftest": tables.selftest_table(last_run()),
        "provenance": flat(judgement.provenance),
    }


def _counts(judgement: Judgement, strata: pl.DataFrame) -> dict[str, int]:
    return {
        "real": int((~judgement.real.index["is_control"]).sum()),
        "generated": int((~judgement.generated.index["is_control"]).sum()),
        "controls": int(judgement.real.index["is_control"].sum()),
        "strata": strata.height,
        "treatments": strata["treatment"].n_unique(),
        "batches": strata["batch"].n_unique(),
    }


def _pictures(
    judgement: Judgement, effects: pl.DataFrame, strata: pl.DataFrame, findings: Sequence[Finding]
) -> dict[str, Any]:
    source = sheets.image_source(judgement.real, judgement.generated)
    large, worst = choice.large_sheets(source, strata), choice.worst_sheets(source, strata, findings)
    shown = {sheet.treatment for sheet, *_ in (*large, *worst)}
    ladders, n_ladders = choice.ladders(source, effects)
    return {
        "large": large,
        "worst": worst,
        "small": choice.small_sheets(source, strata, shown),
        "ladders": ladders,
        "n_ladders": n_ladders,
        "channels": judgement.real.info.channels,
        "full_colour": None if source.shift is None else float(source.limits[0, 1]),  # of vectors
        "shrunk_to": source.shrunk_to,
    }


def _ridges(judgement: Judgement, strata: pl.DataFrame) -> str | None:
    """Single cells of six treatments, evenly over the strength of the real effect, strongest first."""
    measured = strata.join(judgement.cells.select("batch", "treatment").unique(), on=["batch", "treatment"], how="semi")
    if measured.is_empty():
        return None
    chosen = [measured["treatment"][i] for i in evenly(measured.height, RIDGES)]
    return plots.ridges(judgement.cells, judgement.findings, chosen)
