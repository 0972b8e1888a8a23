"""How far to trust a score: how near the compound is to what was trained on, and how often chance does as well."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from virtassay.data.molecules.similarity import nearest
from virtassay.screening.effects import Ask, Instrument

Array = NDArray[np.float64]
BANDWIDTH = 0.1  # of Tanimoto similarity, in which held-out compounds vouch for one of the library
AT_ONCE = 2048  # molecules whose descriptors are in memory
FEWEST_ALIKE = 3.0  # held-out compounds, as good as at the same similarity


@dataclass(frozen=True)
class Known:
    """The compounds that training has seen: names, and their SMILES."""

    names: tuple[str, ...]
    smiles: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str], smiles: Sequence[str]) -> "Known":
        """Raises ValueError where there is none."""
        if not names:
            raise ValueError("the model has seen no compound with a structure, so that nothing is near to any.")
        return cls(tuple(names), tuple(smiles))

    def nearest(self, smiles: Sequence[str]) -> tuple[list[str], Array]:
        """The name of the nearest seen compound of each, and its Tanimoto similarity (n,), 0 to 1."""
        numbers, values = nearest(smiles, self.smiles)
        return [self.names[number] for number in numbers], values


def taken_for(
    instrument: Instrument, known: Known, smiles: Sequence[str], dose_um: ArrayLike
) -> tuple[list[str], Array]:
    """The seen compound that the model itself likens each to most, at the same dose: its name, and how much (n,).

    cos(v(z) − v₀, v(s) − v₀), −1 to 1, of what the network's condition encoder makes of both and of the control. Where
    the structures are unlike and this is near 1, the model shows the seen compound's effect. dose_um: (n,).
    """
    doses = np.asarray(dose_um, np.float64)
    names, values = np.empty(len(smiles), object), np.empty(len(smiles))
    for dose in np.unique(doses):
        seen = _unit(instrument, known.names, known.smiles, dose)
        of_dose = np.flatnonzero(doses == dose)
        for some in np.split(of_dose, range(AT_ONCE, len(of_dose), AT_ONCE)):
            own = [smiles[int(i)] for i in some]
            cosines = (_unit(instrument, own, own, dose) @ seen.T).round(6)  # the same whatever else is in the product
            names[some] = np.array(known.names, object)[cosines.argmax(1)]
            values[some] = cosines.max(1)
    return names.tolist(), values


def _unit(instrument: Instrument, names: Sequence[str], smiles: Sequence[str], dose_um: float) -> Array:
    asks = [Ask((name,), (text,), (dose_um,)) for name, text in zip(names, smiles, strict=True)]
    vectors = instrument.directions(asks)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)


@dataclass(frozen=True)
class Calibration:
    """What the model got wrong of compounds that it had not seen: predicted and observed score, by similarity, (m,).

    Observed: the same goal, asked of real images of held-out wells.
    """

    similarity: Array
    predicted: Array
    observed: Array

    def expected_error(self, similarity: ArrayLike) -> Array:
        """Root mean square of predicted − observed of held-out compounds at about that similarity, (n,).

        Weights exp(−½ (Δ/0.1)²) (Nadaraya 1964; Watson 1964). NaN where fewer than the weight of three are near.
        """
        asked = np.atleast_1d(np.asarray(similarity, np.float64))
        weight = np.exp(-0.5 * np.square((asked[:, None] - self.similarity) / BANDWIDTH))
        total = weight.sum(1)
        mean = np.divide(
            weight @ np.square(self.predicted - self.observed), total, out=np.zeros(len(asked)), where=total > 0
        )
        return np.where(total >= FEWEST_ALIKE, np.sqrt(mean), np.nan)


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
    given = np.asarray(p, np.float64)
    kept = np.flatnonzero(np.isfinite(given))
    order = kept[np.argsort(given[kept], kind="stable")]
    n = len(order)
    raw = given[order] * (n if tried is None else tried) / np.arange(1, n + 1)
    found = np.full(given.shape, np.nan)
    found[order] = np.minimum.accumulate(raw[::-1])[::-1].clip(max=1)
    return found
