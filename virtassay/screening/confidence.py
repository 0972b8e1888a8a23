"""How far to trust a score: how near the compound is to what was trained on, and how often chance does as well."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from virtassay.data.dataset.store import Dataset
from virtassay.data.molecules.similarity import nearest
from virtassay.flow.traits import trait
from virtassay.screening.effects import Context, EffectPredictor, TreatmentQuery
from virtassay.screening.goals import Goal, half_width, squared_length
from virtassay.screening.recipe import Scorer
from virtassay.screening.reference import FEWEST_IMAGES, ReferenceEffects

Array = NDArray[np.float64]
BANDWIDTH = 0.1  # of Tanimoto similarity, in which held-out compounds vouch for one of the library
AT_ONCE = 2048  # molecules whose descriptors are in memory
FEWEST_ALIKE = 3.0  # held-out compounds, as good as at the same similarity
FEWEST_INACTIVE = 5
ALONE = ~pl.col("is_control") & (pl.col("perturbation").list.len() == 1)  # of one perturbation
NARROW = 10.0  # doses of a compound in training, highest over lowest, that say too little of a curve


@dataclass(frozen=True)
class TrainingCompounds:
    """The compounds that training has seen: names, and their SMILES. Raises ValueError where there is none."""

    names: Sequence[str]
    smiles: Sequence[str]

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("the model has seen no compound with a structure, so that nothing is near to any.")

    def nearest(self, smiles: Sequence[str]) -> tuple[list[str], Array]:
        """The name of the nearest seen compound of each, and its Tanimoto similarity (n,), 0 to 1."""
        numbers, values = nearest(smiles, self.smiles)
        return [self.names[int(number)] for number in numbers], values


def nearest_by_embedding(
    predictor: EffectPredictor, training: TrainingCompounds, smiles: Sequence[str], dose_um: ArrayLike
) -> tuple[list[str], Array]:
    """The seen compound that the model itself likens each to most, at the same dose: its name, and how much (n,).

    cos(v(z) − v₀, v(s) − v₀), −1 to 1, of what the network's condition encoder makes of both and of the control. Where
    the structures are unlike and this is near 1, the model shows the seen compound's effect. dose_um: (n,).
    """
    doses = np.asarray(dose_um, np.float64)
    names, values = np.empty(len(smiles), object), np.empty(len(smiles))
    for dose in np.unique(doses):
        seen = _unit(predictor, training.names, training.smiles, dose)
        of_dose = np.flatnonzero(doses == dose)
        for some in np.split(of_dose, range(AT_ONCE, len(of_dose), AT_ONCE)):
            own = [smiles[int(i)] for i in some]
            cosines = (_unit(predictor, own, own, dose) @ seen.T).round(6)  # the same whatever else is in the product
            names[some] = np.array(training.names, object)[cosines.argmax(1)]
            values[some] = cosines.max(1)
    return names.tolist(), values


def _unit(predictor: EffectPredictor, names: Sequence[str], smiles: Sequence[str], dose_um: float) -> Array:
    queries = [TreatmentQuery((name,), (text,), (dose_um,)) for name, text in zip(names, smiles, strict=True)]
    vectors = predictor.directions(queries)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)


@dataclass(frozen=True)
class Calibration:
    """What the model got wrong of compounds that it had not seen: predicted and observed score, by similarity, (m,).

    Observed: the score of the same goal in real images of held-out wells.
    """

    similarity: Array
    predicted: Array
    observed: Array

    def expected_error(self, similarity: ArrayLike) -> Array:
        """Root mean square of predicted − observed of held-out compounds at about that similarity, (n,).

        Weights exp(−½ (Δ/0.1)²) (Nadaraya 1964; Watson 1964). NaN where fewer than the weight of three are near.
        """
        centre = np.atleast_1d(np.asarray(similarity, np.float64))
        weight = np.exp(-0.5 * np.square((centre[:, None] - self.similarity) / BANDWIDTH))
        total = weight.sum(1)
        squares = weight @ np.square(self.predicted - self.observed)
        mean = np.divide(squares, total, out=np.zeros(len(centre)), where=total > 0)
        return np.where(total >= FEWEST_ALIKE, np.sqrt(mean), np.nan)


@dataclass(frozen=True)
class Confidence:
    """What is known of the model beside its scores, found out once for a screen.

    null: the scores of compounds that do nothing, as Scorer gives them; inactive: their names and SMILES; seen: whether
    training has seen them, which is so where its real images showed who they are, and not where the user named them.
    calibration: None where there are no held-out compounds with real images. dose_spread: highest over lowest dose in
    the training images of a compound, the median of compounds; None where doses are not given.
    """

    training: TrainingCompounds
    null: pl.DataFrame
    inactive: tuple[tuple[str, str], ...]
    seen: bool
    calibration: Calibration | None
    dose_spread: float | None

    @classmethod
    def of(cls, scorer: Scorer, real: Dataset | None, inactives: Sequence[tuple[str, str]] = ()) -> "Confidence":
        """Hold predicted scores against real images: of inactive compounds, and of those that training has not seen.

        A compound is inactive where the 95 % interval of its real effect holds none in the training images. Held-out
        compounds are those of other splits. Both are looked at in their highest dose, where most is to be seen. Goals
        on cells in a state, or of several types, are not calibrated. inactives: (name, SMILES) of compounds that are
        known to do nothing, in place of those that the images show. Raises ValueError where training has seen no
        compound with a structure.
        """
        reference, contexts = scorer.reference, scorer.goal.contexts
        vocabulary = reference.predictor.assay.vocabulary
        seen = [(n, s) for n, s in zip(vocabulary.perturbations, vocabulary.smiles, strict=True) if s is not None]
        training = TrainingCompounds([name for name, _ in seen], [smiles for _, smiles in seen])
        if real is None or "smiles" not in real.index.columns:
            return cls(training, null_scores(scorer, inactives), tuple(inactives), not inactives, None, None)
        first = {column: pl.col(column).list.first() for column in ("perturbation", "smiles")}
        compounds = real.index.filter(ALONE).select(name=first["perturbation"], smiles=first["smiles"], split="split")
        compounds = compounds.drop_nulls()
        train = real.split("train")
        trained = _unique(compounds.filter(pl.col("split") == "train"))
        inactive = list(inactives) or [drug for drug in trained if _does_nothing(reference, train, drug[0])]
        plain = contexts == (Context(cell_type=contexts[0].cell_type),)
        new = [c for c in _unique(compounds) if c[0] not in vocabulary.perturbations] if plain else []
        shown = {compound: of_images for compound in new if (of_images := _real_effects(reference, real, compound[0]))}
        calibration = None
        if shown:
            observed = np.array([float(scorer.score(units)) for _, units in shown.values()])
            queries = [reference.query(name, smiles, dose, contexts[0]) for (name, smiles), (dose, _) in shown.items()]
            predicted = scorer.score(reference.effects(queries))
            calibration = Calibration(training.nearest([smiles for _, smiles in shown])[1], predicted, observed)
        spread = _dose_spread(train)
        return cls(training, null_scores(scorer, inactive), tuple(inactive), not inactives, calibration, spread)

    def warnings(self, goal: Goal) -> list[str]:
        """What the screen could not find out, in words."""
        n, calibration = len(self.inactive), self.calibration
        who = (
            "The model has seen these; inactive compounds that it has not seen score higher, unlike ones most of all: "
            "p and q are too small. Name others by inactives=…."
            if self.seen
            else "They tell of compounds like them: unlike ones may score higher and do nothing."
        )
        chance = f"p and q are held against {n} compounds that do nothing: no p can be below {1 / (1 + n):.3g}. {who}"
        if n < FEWEST_INACTIVE:
            chance = (
                f"{n} compounds that do nothing are known, and {FEWEST_INACTIVE} are needed to say how often chance "
                "scores as high: p and q are empty. Name some by inactives=…."
            )
        error = "No compound outside training has real images: nobody knows how wrong scores of new compounds are."
        if calibration is not None:
            error = (
                f"{len(calibration.predicted)} compounds outside training have real images; their predicted and "
                f"observed scores correlate at {_correlation(calibration.predicted, calibration.observed):.2f}."
            )
        texts = [chance, error]
        if self.dose_spread is not None and self.dose_spread < NARROW:
            texts.append(
                f"The training images give each compound doses within a factor of {self.dose_spread:g}: the model "
                "cannot tell what a dose does from what the compound does. Do not trust its potencies, nor doses "
                "unlike those."
            )
        if trait(goal, "next_experiment"):
            texts.append(
                "On simulated drugs, compounds proposed in this way taught a model no more than as many drawn at "
                "random from the library: measure some of both."
            )
        if any(context.state is not None for context in goal.contexts):
            texts.append("Compounds are tried on a state as combinations of two, which training may never have shown.")
        return texts


def null_scores(scorer: Scorer, inactive: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """The scores of inactive compounds (name, SMILES), as those of the library are found."""
    smiles = pl.Series("smiles", [smiles for _, smiles in inactive], pl.String)
    return scorer(pl.DataFrame({"compound": np.arange(len(smiles)), "smiles": smiles}))


def p_of(score: Array, null: pl.DataFrame) -> Array:
    """P(an inactive compound scores as high) of each, (n,); NaN where too few inactive compounds are known."""
    few = null.height < FEWEST_INACTIVE
    return np.full(len(score), np.nan) if few else p_values(score, null["score"].to_numpy())


def p_values(scores: ArrayLike, null: ArrayLike) -> Array:
    """P(an inactive compound scores as high), (n,): (1 + #{null ≥ s}) / (1 + m), never 0.

    Source: Phipson & Smyth 2010 (doi 10.2202/1544-6115.1585). null (m,), scores of compounds known to do nothing.
    """
    s, inactive = np.asarray(scores, np.float64), np.sort(np.asarray(null, np.float64))
    above = len(inactive) - np.searchsorted(inactive, s, side="left")
    return np.where(np.isfinite(s), (1 + above) / (1 + len(inactive)), np.nan)


def q_values(p: ArrayLike, tried: int | None = None) -> Array:
    """The smallest false-discovery rate at which each would be a hit, (n,); NaN where p is NaN.

    q_(i) = min_{j ≥ i} p_(j) N / j. Source: Benjamini & Hochberg 1995. tried: N, where these are the best of more that
    were tried: what was left behind was looked at too; None: these are all.
    """
    values = np.asarray(p, np.float64)
    finite = np.flatnonzero(np.isfinite(values))
    order = finite[np.argsort(values[finite], kind="stable")]
    n = len(order)
    raw = values[order] * (n if tried is None else tried) / np.arange(1, n + 1)
    q = np.full(values.shape, np.nan)
    q[order] = np.minimum.accumulate(raw[::-1])[::-1].clip(max=1)
    return q


def _correlation(x: Array, y: Array) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if len(x) > 2 and x.std() > 0 and y.std() > 0 else float("nan")


def _unique(compounds: pl.DataFrame) -> list[tuple[str, str]]:
    return compounds.unique("name", maintain_order=True).select("name", "smiles").rows()


def _dose_spread(train: Dataset) -> float | None:
    if "dose_um" not in train.index.columns:
        return None
    own = {"name": pl.col("perturbation").list.first(), "dose": pl.col("dose_um").list.first()}
    doses = train.index.filter(ALONE).select(**own).drop_nulls()
    folds = doses.filter(pl.col("dose") > 0).group_by("name").agg(pl.col("dose").max() / pl.col("dose").min())
    return None if folds.is_empty() else float(np.median(folds["dose"].to_numpy()))


def _real_effects(reference: ReferenceEffects, real: Dataset, name: str) -> tuple[float | None, Array] | None:
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
    return dose, reference.units_of_images(own, [name])


def _does_nothing(reference: ReferenceEffects, train: Dataset, name: str) -> bool:
    shown = _real_effects(reference, train, name)
    return shown is not None and bool(squared_length(shown[1]) < half_width(squared_length, [shown[1]], 1))
