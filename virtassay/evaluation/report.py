"""The report: one HTML file that says how far generated images can be trusted, and shows why.

It holds everything it needs (pictures as data URIs, no script) and loads nothing. Text from the index and from folders
is escaped. Numbers are never recomputed here: they are those of `metrics.json`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from virtassay.evaluation import plots, sheets, tables
from virtassay.evaluation.glossary import METRICS
from virtassay.evaluation.judgement import BASELINES, CEILING, MODEL, POOLED, Judgement
from virtassay.evaluation.tables import name, number

GALLERY = 16  # treatments shown small
LADDERS = 5
PIXELS = 700_000  # of the gallery, and of all ladders: some 2 MB each


def write_report(judgement: Judgement, path: Path) -> Path:
    """Write the judgement as one self-contained HTML file and return its path; the folder is made if it is missing."""
    path = Path(path)
    environment: Any = jinja2.Environment(
        loader=jinja2.PackageLoader("virtassay.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, name=name)
    text = environment.get_template("report.html.j2").render(_content(judgement))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path


def _content(judgement: Judgement) -> dict[str, Any]:
    effects = _with_all_columns(judgement.effects)
    pooled = [row for row in judgement.rows if row["stratum"] == POOLED]
    featurizers = tables.in_order(row["featurizer"] for row in pooled)
    strata = _strata(effects)
    studio = sheets.open_studio(judgement.real, judgement.generated)
    large = _large_sheets(studio, strata)
    small = _small_sheets(studio, strata, {stratum["treatment"] for _, stratum in large})
    lanes = [tables.lane(pooled, featurizer) for featurizer in featurizers]
    decided: Mapping[str, Mapping[str, Any]] = judgement.verdict.get("per_featurizer", {})
    baselines = tables.in_order([*BASELINES, *(row["generator"] for row in pooled)], leave_out=(MODEL, CEILING))
    ladders, n_ladders = _ladders(studio, effects)
    used = tables.in_order(row["metric"] for row in pooled)
    return {
        "verdict": judgement.verdict,
        "warnings": [str(warning) for warning in judgement.verdict.get("warnings", [])],
        "names": (judgement.real.info.name, judgement.generated.info.name),
        "counts": {
            "real": int((~judgement.real.index["is_control"]).sum()),
            "generated": int((~judgement.generated.index["is_control"]).sum()),
            "controls": int(judgement.real.index["is_control"].sum()),
            "strata": strata.height,
            "treatments": strata["treatment"].n_unique(),
            "batches": strata["batch"].n_unique(),
        },
        "channels": judgement.real.info.channels,
        "full_colour": None if studio.shift is None else float(studio.limits[0, 1]),  # of vectors
        "shrunk_to": sheets.LARGEST if studio.shrunk else None,
        "main_figure": plots.effect_explained_figure(lanes),
        "lanes": [(lane, decided.get(f, {}).get("apart")) for lane, f in zip(lanes, featurizers, strict=True)],
        "large": [(sheet, _facts(stratum)) for sheet, stratum in large],
        "small": [(sheet, _facts(stratum)) for sheet, stratum in small],
        "ladders": ladders,
        "n_ladders": n_ladders,
        "scatter": plots.effect_scatter(clouds) if (clouds := _clouds(effects)) else None,
        "baselines": baselines,
        "tables": [(featurizer, tables.metric_lines(pooled, featurizer, baselines)) for featurizer in featurizers],
        "treatments": tables.treatment_lines(effects, strata),
        "effect_featurizers": tables.in_order(effects["featurizer"]),
        "glossary": [METRICS[metric] for metric in used if metric in METRICS],
        "fingerprints": [(featurizer, tables.fingerprint(judgement.rows, featurizer)) for featurizer in featurizers],
        "provenance": tables.flat(judgement.provenance),
    }


def _with_all_columns(effects: pl.DataFrame) -> pl.DataFrame:
    """Add the columns a screen may lack (dose, mechanism) as nulls, and turn every NaN into a null."""
    optional = {"dose_um": pl.Float64, "moa": pl.String, "lower": pl.Float64, "upper": pl.Float64}
    effects = effects.with_columns(
        pl.lit(None, dtype).alias(column)
        if column not in effects.columns
        else pl.col(column).cast(dtype)  # a column that is all null has no type
        for column, dtype in optional.items()
    )
    return effects.with_columns(pl.col(pl.Float64, pl.Float32).fill_nan(None))


def _strata(effects: pl.DataFrame) -> pl.DataFrame:
    """One line a stratum: the medians of its effects over featurizers, largest true effect first."""
    return (
        effects.group_by("batch", "treatment", maintain_order=True)
        .agg(
            pl.col("perturbation", "dose_um", "moa", "n_real", "n_generated").first(),
            pl.col("true_effect", "generated_effect", tables.EXPLAINED).median(),
        )
        .sort("true_effect", descending=True, nulls_last=True, maintain_order=True)
    )


def _facts(stratum: Mapping[str, Any]) -> list[str]:
    return [
        *([stratum["moa"]] if stratum["moa"] else []),
        f"effect explained {number(stratum[tables.EXPLAINED])}",
        f"effect {number(stratum['true_effect'])} real, {number(stratum['generated_effect'])} generated",
        f"n = {stratum['n_real']} real, {stratum['n_generated']} generated",
    ]


def _large_sheets(studio: sheets.Studio, strata: pl.DataFrame) -> list[tuple[sheets.Sheet, dict[str, Any]]]:
    """Choose by rule, never by eye: strongest, median, worst among the stronger half, worst; each treatment once."""
    by_effect = strata.filter(pl.col("true_effect").is_not_null()).to_dicts()
    explained = pl.col(tables.EXPLAINED)
    ranked = strata.filter(explained.is_not_null()).sort(explained, maintain_order=True).to_dicts()
    middle = [ranked[i] for i in sorted(range(len(ranked)), key=lambda i: abs(i - len(ranked) // 2))]
    strong = {(stratum["batch"], stratum["treatment"]) for stratum in by_effect[: -(-len(by_effect) // 2)]}
    rules = (  # among inactive treatments the worst is noise: so also the worst of those with something to explain
        ("Strongest real effect", by_effect),
        ("Median of effect explained", middle),
        ("Worst explained, of the stronger half", [s for s in ranked if (s["batch"], s["treatment"]) in strong]),
        ("Worst explained of all", ranked),
    )
    chosen: list[tuple[sheets.Sheet, dict[str, Any]]] = []
    for reason, candidates in sorted(rules, key=lambda rule: rule[1] is middle):  # the median gives way
        seen = {stratum["treatment"] for _, stratum in chosen}
        fresh = [stratum for stratum in candidates if stratum["treatment"] not in seen]
        if fresh:
            stratum = fresh[0]
            sheet = sheets.contact_sheet(studio, reason, stratum["treatment"], stratum["batch"], per_channel=True)
            chosen.append((sheet, stratum))
    order = [reason for reason, _ in rules]
    return sorted(chosen, key=lambda pair: order.index(pair[0].reason))


def _small_sheets(
    studio: sheets.Studio, strata: pl.DataFrame, shown: set[str]
) -> list[tuple[sheets.Sheet, dict[str, Any]]]:
    """Show every other treatment once, evenly spaced over the strength of the effect when there are too many."""
    rest = (
        strata.filter(~pl.col("treatment").is_in(list(shown)))
        .unique("treatment", keep="first", maintain_order=True)
        .to_dicts()
    )
    most = max(2, min(GALLERY, PIXELS // (12 * studio.size**2)))
    taken = [rest[i] for i in sheets.evenly(len(rest), most)]
    return [(sheets.small_sheet(studio, stratum["treatment"], stratum["batch"]), stratum) for stratum in taken]


def _ladders(studio: sheets.Studio, effects: pl.DataFrame) -> tuple[list[tuple[sheets.Ladder, str]], int]:
    """Each compound with two or more doses in one batch (its fullest one), strongest first, with its dose curves."""
    dosed = effects.filter(pl.col("dose_um").is_not_null() & (pl.col("dose_um") > 0))
    series = (
        dosed.group_by("perturbation", "batch", maintain_order=True)
        .agg(pl.col("treatment").n_unique().alias("doses"), pl.col("n_real").sum(), pl.col("true_effect").max())
        .filter(pl.col("doses") > 1)
        .sort("doses", "n_real", descending=True, maintain_order=True)
        .unique("perturbation", keep="first", maintain_order=True)
        .sort("true_effect", descending=True, nulls_last=True, maintain_order=True)
        .to_dicts()
    )
    most = max(1, min(LADDERS, PIXELS // (24 * studio.size**2)))
    ladders: list[tuple[sheets.Ladder, str]] = []
    for entry in series[:most]:
        one = pl.col("perturbation") == entry["perturbation"]
        own = dosed.filter(one & (pl.col("batch") == entry["batch"])).sort("dose_um", "treatment")
        combined = " + " in entry["perturbation"]
        steps = own.unique("treatment", keep="first", maintain_order=True).select("treatment", "dose_um").iter_rows()
        labelled = [(treatment if combined else f"{dose:g} µM", treatment) for treatment, dose in steps]
        ladder = sheets.dose_ladder(studio, entry["perturbation"], entry["batch"], labelled)
        columns = ("dose_um", "true_effect", "generated_effect")
        curves = [
            plots.DoseCurve(name(featurizer), *(table[column].cast(pl.Float64).to_numpy() for column in columns))
            for featurizer in tables.in_order(own["featurizer"])
            for table in (own.filter(pl.col("featurizer") == featurizer),)
        ]
        ladders.append((ladder, plots.dose_response(curves)))
    return ladders, len(series)


def _clouds(effects: pl.DataFrame) -> list[plots.Cloud]:
    batches = effects["batch"].n_unique()
    clouds: list[plots.Cloud] = []
    for featurizer in tables.in_order(effects["featurizer"]):
        own = effects.filter(pl.col("featurizer") == featurizer)
        names = [f"{t}, {b}" if batches > 1 else t for t, b in own.select("treatment", "batch").iter_rows()]
        true, generated = (own[c].cast(pl.Float64).to_numpy() for c in ("true_effect", "generated_effect"))
        clouds.append(plots.Cloud(name(featurizer), true, generated, names))
    return clouds
