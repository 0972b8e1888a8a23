"""Which images the report shows: chosen by rule, never by eye."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from virtassay.evaluation.report import plots, sheets, tables
from virtassay.evaluation.report.sentences import Finding
from virtassay.report.figures import evenly
from virtassay.report.numbers import number

WORST = 5
GALLERY = 16  # treatments shown small
LADDERS = 5
PIXELS = 450_000  # of the worst, of the gallery, and of all ladders: some 1.2 MB each

SheetAndFacts = tuple[sheets.StratumSheet, list[str]]


def by_stratum(effects: pl.DataFrame) -> pl.DataFrame:
    """One line a stratum: the medians of its effects over featurizers, largest true effect first."""
    return (
        effects.group_by("batch", "treatment", maintain_order=True)
        .agg(
            pl.col("perturbation", "dose_um", "moa", "n_real", "n_generated").first(),
            pl.col("true_effect", "generated_effect", tables.EXPLAINED).median(),
        )
        .sort("true_effect", descending=True, nulls_last=True, maintain_order=True)
    )


def large_sheets(source: sheets.ImageSource, strata: pl.DataFrame) -> list[SheetAndFacts]:
    """Show the strongest real effect and the median of effect explained, each channel too."""
    strongest = strata.filter(pl.col("true_effect").is_not_null()).to_dicts()
    ranked = _ranked(strata)
    middle = sorted(ranked, key=lambda stratum: abs(ranked.index(stratum) - len(ranked) // 2))
    chosen: list[SheetAndFacts] = []
    for reason, candidates in (("Strongest real effect", strongest), ("Median of effect explained", middle)):
        seen = {sheet.treatment for sheet, _ in chosen}
        fresh = next((stratum for stratum in candidates if stratum["treatment"] not in seen), None)
        if fresh:
            sheet = sheets.large_sheet(source, reason, fresh["treatment"], fresh["batch"], per_channel=True)
            chosen.append((sheet, _facts(fresh)))
    return chosen


def worst_sheets(
    source: sheets.ImageSource, strata: pl.DataFrame, findings: Sequence[Finding]
) -> list[tuple[sheets.StratumSheet, list[str], str]]:
    """Show the five treatments whose clear real effect is explained worst, each in its worst batch, with words.

    Treatments without a clear effect are no candidates: among them the worst is noise.
    """
    ranked = _ranked(strata)
    most = min(9, PIXELS // (3 * WORST * source.size**2))
    chosen: list[tuple[sheets.StratumSheet, list[str], str]] = []
    for finding in [f for f in findings if f.row["clear"]][:WORST]:
        treatment = finding.row["treatment"]
        stratum = next((s for s in ranked if s["treatment"] == treatment), None)
        stratum = stratum or strata.row(by_predicate=pl.col("treatment") == treatment, named=True)
        reason = f"Worst {len(chosen) + 1}"
        sheet = sheets.large_sheet(source, reason, treatment, stratum["batch"], per_channel=not chosen, most=most)
        where = "" if finding.row["batches"] == 1 else f"Over its {finding.row['batches']} batches: "
        chosen.append((sheet, _facts(stratum), where + finding.sentence))
    return chosen


def small_sheets(source: sheets.ImageSource, strata: pl.DataFrame, shown: set[str]) -> list[SheetAndFacts]:
    """Show every other treatment once, evenly spaced over the strength of the effect when there are too many."""
    fresh = strata.filter(~pl.col("treatment").is_in(list(shown)))
    rest = fresh.unique("treatment", keep="first", maintain_order=True).to_dicts()
    most = max(2, min(GALLERY, PIXELS // (12 * source.size**2)))
    taken = [rest[i] for i in evenly(len(rest), most)]
    return [(sheets.small_sheet(source, stratum["treatment"], stratum["batch"]), _facts(stratum)) for stratum in taken]


def ladders(source: sheets.ImageSource, effects: pl.DataFrame) -> tuple[list[tuple[sheets.DoseLadder, str]], int]:
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
    most = max(1, min(LADDERS, PIXELS // (24 * source.size**2)))
    shown: list[tuple[sheets.DoseLadder, str]] = []
    for entry in series[:most]:
        perturbation, batch = entry["perturbation"], entry["batch"]
        in_series = (pl.col("perturbation") == perturbation) & (pl.col("batch") == batch)
        own = dosed.filter(in_series).sort("dose_um", "treatment")
        steps = own.unique("treatment", keep="first", maintain_order=True).select("treatment", "dose_um").iter_rows()
        labelled = [(t if " + " in perturbation else f"{dose:g} µM", t) for t, dose in steps]
        shown.append((sheets.dose_ladder(source, perturbation, batch, labelled), plots.dose_response(own)))
    return shown, len(series)


def _ranked(strata: pl.DataFrame) -> list[dict[str, Any]]:
    """Strata whose effect explained is known, worst first."""
    explained = pl.col(tables.EXPLAINED)
    return strata.filter(explained.is_not_null()).sort(explained, maintain_order=True).to_dicts()


def _facts(stratum: Mapping[str, Any]) -> list[str]:
    return [
        *([stratum["moa"]] if stratum["moa"] else []),
        f"effect explained {number(stratum[tables.EXPLAINED])}",
        f"effect {number(stratum['true_effect'])} real, {number(stratum['generated_effect'])} generated",
        f"n = {stratum['n_real']} real, {stratum['n_generated']} generated",
    ]
