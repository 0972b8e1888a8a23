"""Reference effects: what untreated cells and all that training has seen look like to the predictor of a screen.

Made once and kept in reference.npz, so that every shard, process and restart measures with the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.data.dataset.store import Dataset
from virtassay.data.loading.vocabulary import Vocabulary
from virtassay.screening.effects import Context, EffectPredictor, EffectScale, TreatmentQuery

Array = NDArray[np.float64]
FEWEST_IMAGES = 4  # of a treatment, to be held against what is predicted for it


@dataclass(frozen=True)
class ReferenceEffects:
    """A predictor, the scale of its effects, and the effects of what training has seen.

    doses_um: that each compound is tried at. seen: effects of what training has seen, (k, d), by `names`, (k,).
    untreated: features of untreated cells, cell type → (units, d).
    """

    predictor: EffectPredictor
    scale: EffectScale
    doses_um: tuple[float, ...]
    names: tuple[str, ...]
    seen: Array
    untreated: dict[str | None, Array]

    @classmethod
    def of(
        cls, predictor: EffectPredictor, doses_um: Sequence[float], cell_types: Sequence[str | None]
    ) -> "ReferenceEffects":
        """Generate untreated cells of each type and all seen perturbations in the first.

        Each perturbation is generated at the highest of `doses_um` that is within its own in training: beyond them
        nobody knows what it does.
        """
        vocabulary = predictor.assay.vocabulary
        names = tuple(name for name in vocabulary.perturbations if name not in vocabulary.controls)
        doses = [vocabulary.seen_dose(name, max(doses_um)) for name in names]
        queries = [training_query(vocabulary, *drug, cell_types[0]) for drug in zip(names, doses, strict=True)]
        untreated = {cell_type: predictor.untreated(cell_type) for cell_type in dict.fromkeys(cell_types)}
        treated = predictor.features(queries)
        scale = EffectScale.of(untreated[cell_types[0]], treated, len(predictor.batches))
        seen = scale.effects(treated, untreated[cell_types[0]]).mean(1)
        return cls(predictor, scale, tuple(doses_um), names, seen, untreated)

    def effects(self, queries: Sequence[TreatmentQuery]) -> Array:
        """Effects of treatments, (queries, units, d), each against untreated cells of its type."""
        treated = self.predictor.features(queries)
        untreated = np.stack([self.untreated[query.cell_type] for query in queries])
        return self.scale.effects(treated, untreated)

    def query(self, name: str, smiles: str | None, dose_um: float | None, context: Context) -> TreatmentQuery:
        """A compound at a dose, on cells of a context: a state is a second perturbation of the same well."""
        state = TreatmentQuery((), (), ()) if context.state is None else self.state_query(context)
        names, structures = (*state.perturbation, name), (*state.smiles, smiles)
        return TreatmentQuery(names, structures, (*state.dose_um, dose_um), context.cell_type)

    def state_query(self, context: Context) -> TreatmentQuery:
        """The state of a context alone, at its dose or at the highest in training; raises ValueError for a strange one.

        Genes have no dose.
        """
        vocabulary, name, dose = self.predictor.assay.vocabulary, str(context.state), context.dose_um
        if dose is None and name in vocabulary.perturbations:
            dose = vocabulary.seen_dose(name, None)
        return training_query(vocabulary, name, dose, context.cell_type)

    def effect_of(self, name: str) -> Array:
        """The predicted effect (d,) of a perturbation that training has seen; raises ValueError for another name."""
        return self.seen[_place(name, self.names)]

    def units_of_images(self, real: Dataset, perturbations: Sequence[str]) -> Array:
        """Effects of single real images of the named perturbations, (n, d): φ less the mean control of the batch.

        Raises ValueError for fewer than four images with controls of their batch.
        """
        is_named = pl.col("perturbation").list.eval(pl.element().is_in(list(perturbations))).list.all()
        effects: list[Array] = []
        for batch in real.index["batch"].unique().sort():
            of_batch = real.where(pl.col("batch") == batch)
            treated, control = of_batch.where(is_named & ~pl.col("is_control")), of_batch.where(pl.col("is_control"))
            if len(treated) and len(control):
                untreated = self.predictor.featurizer(control.images()).mean(0)
                effects.append((self.predictor.featurizer(treated.images()) - untreated) / self.scale.values)
        if not effects or sum(map(len, effects)) < FEWEST_IMAGES:
            raise ValueError(
                f"{real.root} holds fewer than {FEWEST_IMAGES} images of {list(perturbations)[:5]} with controls of "
                "their batch."
            )
        return np.concatenate(effects)

    def save(self, file: IO[bytes]) -> None:
        """Keep all but the predictor, as npz."""
        arrays: dict[str, Any] = {"scale": self.scale.values, "seen": self.seen, "names": self.names}
        arrays |= {"types": [key or "" for key in self.untreated], "doses_um": self.doses_um}
        arrays |= {f"untreated{i}": value for i, value in enumerate(self.untreated.values())}
        np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path, predictor: EffectPredictor) -> "ReferenceEffects":
        """Read what `save` kept."""
        with np.load(path, allow_pickle=False) as arrays:
            untreated = {str(t) or None: arrays[f"untreated{i}"] for i, t in enumerate(arrays["types"])}
            names, doses = tuple(map(str, arrays["names"])), tuple(map(float, arrays["doses_um"]))
            return cls(predictor, EffectScale(arrays["scale"]), doses, names, arrays["seen"], untreated)


def training_query(vocabulary: Vocabulary, name: str, dose_um: float | None, cell_type: str | None) -> TreatmentQuery:
    """A perturbation of the vocabulary as a treatment; genes have no dose. Raises ValueError for another name."""
    place = _place(name, vocabulary.perturbations)
    dose = None if vocabulary.genes[place] else dose_um
    return TreatmentQuery((name,), (vocabulary.smiles[place],), (dose,), cell_type)


def _place(name: str, seen: Sequence[str]) -> int:
    if name not in seen:
        raise ValueError(f"{name!r} is no perturbation that the model has seen; it has seen {list(seen[:20])}.")
    return seen.index(name)
