"""Hits: the scores of a screen with what says how far to trust each of them.

rank, name, smiles, score, lower, upper (95 %; means over models, where several score), dose_um (of the score),
ec50_um …, nearest, similarity (Tanimoto), taken_for, cosine (nearest to the model), expected_error (of held-out
compounds as far from training), p, q, flags (in words), seed, model, truth (if known); of the best, what is annotated
(by an ensemble, by counts of cells)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.screening.confidence import Confidence, nearest_by_embedding, p_of, q_values
from virtassay.screening.dose_response import FEWEST_DOSES, hill
from virtassay.screening.reference import ReferenceEffects

Array = NDArray[np.float64]
LISTS = ("scores", "lowers", "uppers")  # of all doses; not in the csv
COLUMNS = ["compound", "score", "lower", "upper", "dose_um", *LISTS]  # of scores, that hits are made of
FITTED = ["ec50_um", "ec50_lower", "ec50_upper", "top", "hill_slope"]
FAR = 0.3  # Tanimoto similarity below which a compound has no like in training


@dataclass(frozen=True)
class HitAnnotation:
    """What else is known of the best: a table by `compound`, with `flags` in words ("" for none), for the hits;
    a sentence that sums it up, and warnings, for the report."""

    table: pl.DataFrame
    sentence: str
    warnings: list[str]


def joined_flags(*flags: Iterable[str]) -> pl.Series:
    """Flags of each hit, (n,) of each kind and "" for none, in one text a hit."""
    rows = ["; ".join(flag for flag in row if flag) for row in zip(*flags, strict=True)]
    return pl.Series("flags", rows, pl.String)


def ranks(parts: Sequence[tuple[pl.DataFrame, pl.DataFrame]], tried: int) -> pl.DataFrame:
    """All compounds in order, by numbers alone, so that a million fit into memory: rank, compound, score, p, q.

    parts: scores with their null; all of one part rank before those of the next. Within one the highest score is first,
    NaN last, ties go by number. tried: how many the first stage saw.
    """
    ordered: list[pl.DataFrame] = []
    for scores, null in parts:
        by = [pl.col("score").fill_nan(None), pl.col("compound")]
        table = scores.select("compound", "score").sort(by, descending=[True, False], nulls_last=True)
        ordered.append(table.with_columns(p=pl.Series(p_of(table["score"].to_numpy(), null))))
    table = pl.concat(ordered)
    return table.with_columns(q=pl.Series(q_values(table["p"].to_numpy(), tried))).with_row_index("rank", offset=1)


def hits_table(
    table: pl.DataFrame, reference: ReferenceEffects, confidence: Confidence, annotations: Sequence[HitAnnotation] = ()
) -> pl.DataFrame:
    """Say how far to trust each compound, in the columns of this module's head.

    table: some of `ranks`, with their scores as Scorer gives them and their rows of the library. annotations: of some
    of them.
    """
    smiles, doses, training = table["smiles"].to_list(), table["dose_um"].to_numpy(), confidence.training
    nearest, similarity = training.nearest(smiles)
    nearest_embedded, cosine = nearest_by_embedding(reference.predictor, training, smiles, doses)
    value, lower, upper = (table[name].to_numpy() for name in ("score", "lower", "upper"))
    calibration, predictor = confidence.calibration, reference.predictor
    expected = np.full(len(value), np.nan) if calibration is None else calibration.expected_error(similarity)
    table = table.with_columns(
        pl.Series("nearest", nearest),
        pl.Series("similarity", similarity),
        pl.Series("taken_for", nearest_embedded),
        pl.Series("cosine", cosine),
        pl.Series("expected_error", expected),
        seed=pl.lit(predictor.seed),
        model=pl.lit(predictor.assay.model_sha256[:12]),
    )
    warnings = [""] * table.height
    if len(reference.doses_um) >= FEWEST_DOSES and table.height:
        curves = [
            hill(reference.doses_um, response, (np.array(above) - np.array(below)) / 3.92)
            for response, below, above in table.select(LISTS).iter_rows()
        ]
        fits = [(c.ec50_um, c.lower, c.upper, c.top, c.slope) for c in curves]
        table = table.hstack(pl.DataFrame(fits, FITTED, orient="row"))
        warnings = [curve.warning for curve in curves]
    flags = [
        np.where(similarity < FAR, f"unlike anything in training (similarity below {FAR})", ""),
        np.where(_beyond(reference, doses), "beyond the doses of training", ""),
        np.where(lower <= 0, "no clear effect: the interval holds 0", ""),
        np.where(upper - lower > 2 * np.abs(value), "seeds and batches disagree", ""),
        np.where(table["is_salt"].to_numpy(), "scored without its counter-ion", ""),
        warnings,
    ]
    for annotation in annotations:
        table = table.join(annotation.table, on="compound", how="left", maintain_order="left")
        flags.append(table["flags"].fill_null("").to_list())
        table = table.drop("flags")
    table = table.with_columns(flags=joined_flags(*flags))
    if table["truth"].null_count() == table.height:
        table = table.drop("truth")
    first = ["rank", "name", "smiles", "score", "lower", "upper", "dose_um"]
    return table.select(*first, pl.exclude(first))


def _beyond(reference: ReferenceEffects, dose_um: Array) -> NDArray[np.bool_]:
    ranges = [ends for ends in reference.predictor.assay.vocabulary.dose_ranges if ends is not None]
    if not ranges:
        return np.zeros(len(dose_um), bool)
    lowest, highest = np.min(ranges), np.max(ranges)
    return (dose_um < lowest * (1 - 1e-6)) | (dose_um > highest * (1 + 1e-6))
