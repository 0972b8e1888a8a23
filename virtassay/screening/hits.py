"""Hits: the scores of a screen with what says how far to trust each of them.

rank, name, smiles, score, lower, upper (95 %; means over models, where several were asked), dose_um (of the score),
ec50_um …, nearest, similarity (Tanimoto), taken_for, cosine (nearest to the model), expected_error (of held-out
compounds as far from training), p, q, flags (in words), seed, model, truth (if known); of the best, what else was
looked at (agreement, survival)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.data.dataset.store import Dataset
from virtassay.screening.bench import FEWEST_IMAGES, Bench
from virtassay.screening.confidence import Calibration, Known, p_values, q_values, taken_for
from virtassay.screening.dose_response import FEWEST_DOSES, hill
from virtassay.screening.goals import Context, Disagreement, Goal, half_width, squared_length
from virtassay.screening.recipe import Scorer

Array = NDArray[np.float64]
LISTS = ("scores", "lowers", "uppers")  # of all doses; not in the csv
COLUMNS = ["compound", "score", "lower", "upper", "dose_um", *LISTS]  # of scores, that hits are made of
FAR = 0.3  # Tanimoto similarity below which a compound has no like in training
FEWEST_INACTIVE = 5
NARROW = 10.0  # doses of a compound in training, highest over lowest, that say too little of a curve


@dataclass(frozen=True)
class Trust:
    """What is known of the model beside its scores, found out once for a screen.

    null: the scores of compounds that do nothing, as Scorer gives them; inactive: their names and SMILES; seen: whether
    training has seen them, which is so where its real images told who they are, and not where the user named them.
    calibration: None where there are no held-out compounds with real images. dose_spread: highest over lowest dose in
    the training images of a compound, the median of compounds; None where doses are not given.
    """

    known: Known
    null: pl.DataFrame
    inactive: tuple[tuple[str, str], ...]
    seen: bool
    calibration: Calibration | None
    dose_spread: float | None


@dataclass(frozen=True)
class Check:
    """What else was looked at of the best: a table by `compound`, with `flags` in words ("" for none), for the hits;
    a sentence that sums it up, and warnings, for the report."""

    table: pl.DataFrame
    sentence: str
    warnings: list[str]


def trust_of(bench: Bench, goal: Goal, real: Dataset | None, inactives: Sequence[tuple[str, str]] = ()) -> Trust:
    """Hold the goal's predictions against real images: of inactive compounds, and of those that training has not seen.

    A compound is inactive where the 95 % interval of its real effect holds none in the training images. Held-out
    compounds are those of other splits. Both are looked at in their highest dose, where most is to be seen. Goals on
    cells in a state, or of several types, are not calibrated. inactives: (name, SMILES) of compounds that are known to
    do nothing, in place of those that the images tell.
    """
    vocabulary = bench.instrument.assay.vocabulary
    seen = [(n, s) for n, s in zip(vocabulary.perturbations, vocabulary.smiles, strict=True) if s is not None]
    known = Known.of(*zip(*seen, strict=True)) if seen else Known.of([], [])
    if real is None or "smiles" not in real.index.columns:
        null = null_scores(Scorer(bench, goal), inactives)
        return Trust(known, null, tuple(inactives), not inactives, None, None)
    alone = real.index.filter(~pl.col("is_control") & (pl.col("perturbation").list.len() == 1))
    compounds = alone.select(
        name=pl.col("perturbation").list.first(), smiles=pl.col("smiles").list.first(), split="split"
    ).drop_nulls()
    train = real.split("train")
    inactive = list(inactives) or [
        (name, smiles)
        for name, smiles in _unique(compounds.filter(pl.col("split") == "train"))
        if _does_nothing(bench, train, name)
    ]
    null, inactive, spread = null_scores(Scorer(bench, goal), inactive), tuple(inactive), _dose_spread(train)
    plain = goal.contexts == (Context(cell_type=goal.contexts[0].cell_type),)
    new = [c for c in _unique(compounds) if c[0] not in vocabulary.perturbations] if plain else []
    found = [(*c, *shown) for c in new if (shown := _shown(bench, real, c[0])) is not None]
    if not found:
        return Trust(known, null, inactive, not inactives, None, spread)
    observed = np.array([float(goal(units)) for *_, units in found])
    predicted = _predicted(bench, goal, [(name, smiles, dose) for name, smiles, dose, _ in found])
    similarity = known.nearest([smiles for _, smiles, *_ in found])[1]
    return Trust(known, null, inactive, not inactives, Calibration(similarity, predicted, observed), spread)


def null_scores(scorer: Scorer, inactive: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """The scores of inactive compounds (name, SMILES), as those of the library are found."""
    smiles = pl.Series("smiles", [smiles for _, smiles in inactive], pl.String)
    return scorer(pl.DataFrame({"compound": np.arange(len(smiles)), "smiles": smiles}))


def p_of(score: Array, null: pl.DataFrame) -> Array:
    """P(an inactive compound scores as high) of each, (n,); NaN where too few inactive compounds are known."""
    few = null.height < FEWEST_INACTIVE
    return np.full(len(score), np.nan) if few else p_values(score, null["score"].to_numpy())


def ranks(parts: Sequence[tuple[pl.DataFrame, pl.DataFrame]], tried: int) -> pl.DataFrame:
    """All compounds in order, by numbers alone, so that a million fit into memory: rank, compound, score, p, q.

    parts: scores with their null; all of one part rank before those of the next. Within one the highest score is first,
    NaN last, ties go by number. tried: how many the first stage saw.
    """
    ordered: list[pl.DataFrame] = []
    for scores, null in parts:
        table = scores.select("compound", "score").with_columns(pl.col("score").fill_nan(None))
        table = table.sort(["score", "compound"], descending=[True, False], nulls_last=True)
        table = table.with_columns(pl.col("score").fill_null(float("nan")))
        ordered.append(table.with_columns(p=pl.Series(p_of(table["score"].to_numpy(), null))))
    table = pl.concat(ordered)
    return table.with_columns(q=pl.Series(q_values(table["p"].to_numpy(), tried))).with_row_index("rank", offset=1)


def hits_table(
    ranked: pl.DataFrame, scores: pl.DataFrame, rows: pl.DataFrame, bench: Bench, trust: Trust, seed: int,
    checks: Sequence[Check] = (),
) -> pl.DataFrame:  # fmt: skip
    """Say how far to trust each compound. ranked: some of `ranks`; of the same compounds scores, as Scorer gives them,
    and rows of the library; checks: of some of them."""
    table = ranked.join(scores.drop("score"), on="compound", how="left", maintain_order="left")
    table = table.join(rows, on="compound", how="left", maintain_order="left")
    nearest, similarity = trust.known.nearest(table["smiles"].to_list())
    taken, cosine = taken_for(bench.instrument, trust.known, table["smiles"].to_list(), table["dose_um"].to_numpy())
    value, lower, upper = (table[name].to_numpy() for name in ("score", "lower", "upper"))
    expected = (
        np.full(len(value), np.nan) if trust.calibration is None else trust.calibration.expected_error(similarity)
    )
    table = table.with_columns(
        nearest=pl.Series(nearest),
        similarity=pl.Series(similarity),
        taken_for=pl.Series(taken),
        cosine=pl.Series(cosine),
        expected_error=pl.Series(expected),
        seed=pl.lit(seed),
        model=pl.lit(bench.instrument.assay.model_sha256[:12]),
    )
    curves = (
        [
            hill(bench.doses_um, one, (np.array(above) - np.array(below)) / 3.92)
            for one, below, above in table.select("scores", "lowers", "uppers").iter_rows()
        ]
        if len(bench.doses_um) >= FEWEST_DOSES
        else []
    )
    if curves:
        table = table.with_columns(
            ec50_um=pl.Series([c.ec50_um for c in curves]),
            ec50_lower=pl.Series([c.lower for c in curves]),
            ec50_upper=pl.Series([c.upper for c in curves]),
            top=pl.Series([c.top for c in curves]),
            hill_slope=pl.Series([c.slope for c in curves]),
        )
    checked: list[list[str]] = []
    for check in checks:
        table = table.join(check.table, on="compound", how="left", maintain_order="left")
        checked.append(table["flags"].fill_null("").to_list())
        table = table.drop("flags")
    flags = [
        "; ".join(flag for flag in row if flag)
        for row in zip(
            _when(similarity < FAR, f"unlike anything in training (similarity below {FAR})"),
            _when(_beyond(bench, table["dose_um"].to_numpy()), "beyond the doses of training"),
            _when(lower <= 0, "no clear effect: the interval holds 0"),
            _when(upper - lower > 2 * np.abs(value), "seeds and batches disagree"),
            _when(table["is_salt"].to_numpy(), "scored without its counter-ion"),
            [c.warning for c in curves] if curves else [""] * len(value),
            *checked,
            strict=True,
        )
    ]
    table = table.with_columns(flags=pl.Series(flags, dtype=pl.String))
    if table["truth"].null_count() == table.height:
        table = table.drop("truth")
    first = ["rank", "name", "smiles", "score", "lower", "upper", "dose_um"]
    return table.select(*first, pl.exclude(first))


def warnings_of(trust: Trust, goal: Goal) -> list[str]:
    """What the screen could not find out, in words."""
    told: list[str] = []
    if len(trust.inactive) < FEWEST_INACTIVE:
        told.append(
            f"{len(trust.inactive)} compounds that do nothing are known, and {FEWEST_INACTIVE} are needed to say how "
            "often chance scores as high: p and q are empty. Name some by inactives=…."
        )
    else:
        told.append(
            f"p and q are held against {trust.null.height} compounds that do nothing: no p can be below "
            f"{1 / (1 + trust.null.height):.3g}. "
            + (
                "The model has seen these; inactive compounds that it has not seen score higher, unlike ones most of "
                "all: p and q are too small. Name others by inactives=…."
                if trust.seen
                else "They tell of compounds like them: unlike ones may score higher and do nothing."
            )
        )
    if trust.calibration is None:
        told.append("No compound outside training has real images: nobody knows how wrong scores of new compounds are.")
    else:
        c = trust.calibration
        told.append(
            f"{len(c.predicted)} compounds outside training have real images; their predicted and observed scores "
            f"correlate at {_correlation(c.predicted, c.observed):.2f}."
        )
    if trust.dose_spread is not None and trust.dose_spread < NARROW:
        told.append(
            f"The training images give each compound doses within a factor of {trust.dose_spread:g}: the model cannot "
            "tell what a dose does from what the compound does. Do not trust its potencies, nor doses unlike those."
        )
    if isinstance(goal, Disagreement):
        told.append(
            "On simulated drugs, compounds proposed in this way taught a model no more than as many drawn at random "
            "from the library: measure some of both."
        )
    if any(context.state is not None for context in goal.contexts):
        told.append("Compounds are tried on a state as combinations of two, which training may never have shown.")
    return told


def _correlation(x: Array, y: Array) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if len(x) > 2 and x.std() > 0 and y.std() > 0 else float("nan")


def _beyond(bench: Bench, dose_um: Array) -> NDArray[np.bool_]:
    known = [ends for ends in bench.instrument.assay.vocabulary.dose_ranges if ends is not None]
    if not known:
        return np.zeros(len(dose_um), bool)
    lowest, highest = np.min(known), np.max(known)
    return (dose_um < lowest * (1 - 1e-6)) | (dose_um > highest * (1 + 1e-6))


def _when(mask: NDArray[np.bool_], text: str) -> list[str]:
    return [text if one else "" for one in mask.tolist()]


def _unique(compounds: pl.DataFrame) -> list[tuple[str, str]]:
    return list(compounds.unique("name", maintain_order=True).select("name", "smiles").iter_rows())


def _dose_spread(train: Dataset) -> float | None:
    alone = train.index.filter(~pl.col("is_control") & (pl.col("perturbation").list.len() == 1))
    if "dose_um" not in alone.columns:
        return None
    doses = alone.select(name=pl.col("perturbation").list.first(), dose=pl.col("dose_um").list.first()).drop_nulls()
    folds = doses.filter(pl.col("dose") > 0).group_by("name").agg(pl.col("dose").max() / pl.col("dose").min())
    return None if folds.is_empty() else float(np.median(folds["dose"].to_numpy()))


def _shown(bench: Bench, real: Dataset, name: str) -> tuple[float | None, Array] | None:
    """The highest dose of a compound in the images (None: not given) and its effects there; None: too few images."""
    own = real.where(pl.col("perturbation").list.eval(pl.element() == name).list.all() | pl.col("is_control"))
    dose = None
    if "dose_um" in own.index.columns:
        of_dose = pl.col("dose_um").list.first()
        dose = own.index.filter(~pl.col("is_control")).select(of_dose.max()).item()
        if dose is not None:
            own = own.where(pl.col("is_control") | (of_dose == dose))
    if own.index.filter(~pl.col("is_control")).height < FEWEST_IMAGES:
        return None
    return dose, bench.units_of_images(own, [name])


def _does_nothing(bench: Bench, train: Dataset, name: str) -> bool:
    shown = _shown(bench, train, name)
    if shown is None:
        return False
    return float(squared_length(shown[1])) < float(half_width(squared_length, [shown[1]], 1))


def _predicted(bench: Bench, goal: Goal, compounds: Sequence[tuple[str, str, float | None]]) -> Array:
    return goal(
        *(bench.effects([bench.ask(*compound, context) for compound in compounds]) for context in goal.contexts)
    )
