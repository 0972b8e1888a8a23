"""What a screen measures with: an instrument, the units of its effects, and what training has seen, through it.

Made once and kept in bench.npz, so that every shard, process and restart measures with the same.
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
from virtassay.screening.effects import Ask, Instrument, Ruler
from virtassay.screening.goals import Context

Array = NDArray[np.float64]
FEWEST_IMAGES = 4  # of a treatment, to be held against what is predicted for it


@dataclass(frozen=True)
class Bench:
    """doses_um: that each compound is tried at. seen: effects of what training has seen, (k, d), by `names`, (k,)."""

    instrument: Instrument
    ruler: Ruler
    doses_um: tuple[float, ...]
    names: tuple[str, ...]
    seen: Array
    untreated: dict[str | None, Array]  # cell type → (units, d)

    @classmethod
    def of(cls, instrument: Instrument, doses_um: Sequence[float], cell_types: Sequence[str | None]) -> "Bench":
        """Generate untreated cells and all seen perturbations, each at the highest of the doses asked for that is
        within its own in training: beyond them nobody knows what it does."""
        vocabulary = instrument.assay.vocabulary
        names = tuple(name for name in vocabulary.perturbations if name not in vocabulary.controls)
        asks = [seen_treatment(vocabulary, n, vocabulary.seen_dose(n, max(doses_um)), cell_types[0]) for n in names]
        untreated = {cell_type: instrument.untreated(cell_type) for cell_type in dict.fromkeys(cell_types)}
        treated = instrument.features(asks)
        ruler = Ruler.of(untreated[cell_types[0]], treated, len(instrument.batches))
        seen = ruler.effects(treated, untreated[cell_types[0]]).mean(1)
        return cls(instrument, ruler, tuple(doses_um), names, seen, untreated)

    def effects(self, asks: Sequence[Ask]) -> Array:
        """Effects of treatments, (asks, units, d), each against untreated cells of its type."""
        treated = self.instrument.features(asks)
        zero = np.stack([self.untreated[ask.cell_type] for ask in asks])
        return self.ruler.effects(treated, zero)

    def ask(self, name: str, smiles: str | None, dose_um: float | None, context: Context) -> Ask:
        """A compound at a dose, on cells of a context: a state is a second perturbation of the same well."""
        if context.state is None:
            return Ask((name,), (smiles,), (dose_um,), context.cell_type)
        state = seen_treatment(self.instrument.assay.vocabulary, context.state, context.dose_um, context.cell_type)
        return Ask((*state.perturbation, name), (*state.smiles, smiles), (*state.dose_um, dose_um), context.cell_type)

    def effect_of(self, name: str) -> Array:
        """The predicted effect (d,) of a perturbation that training has seen; raises ValueError for another name."""
        if name not in self.names:
            raise ValueError(
                f"{name!r} is no perturbation that the model has seen; it has seen {list(self.names[:20])}."
            )
        return self.seen[self.names.index(name)]

    def effect_of_images(self, real: Dataset, perturbations: Sequence[str]) -> Array:
        """The effect (d,) in real images: of the named perturbations against the controls of their batches."""
        return self.units_of_images(real, perturbations).mean(0)

    def units_of_images(self, real: Dataset, perturbations: Sequence[str]) -> Array:
        """Effects of single real images of the named perturbations, (n, d): φ less the mean control of the batch."""
        holds = pl.col("perturbation").list.eval(pl.element().is_in(list(perturbations))).list.all()
        parts: list[Array] = []
        for batch in real.index["batch"].unique().sort():
            here = real.where(pl.col("batch") == batch)
            treated, control = here.where(holds & ~pl.col("is_control")), here.where(pl.col("is_control"))
            if len(treated) and len(control):
                zero = self.instrument.featurizer(control.images()).mean(0)
                parts.append((self.instrument.featurizer(treated.images()) - zero) / self.ruler.scale)
        if not parts or sum(map(len, parts)) < FEWEST_IMAGES:
            raise ValueError(
                f"{real.root} holds fewer than {FEWEST_IMAGES} images of {list(perturbations)[:5]} with controls of "
                "their batch."
            )
        return np.concatenate(parts)

    def save(self, file: IO[bytes]) -> None:
        """Keep all but the instrument."""
        arrays: dict[str, Any] = {f"untreated{i}": value for i, value in enumerate(self.untreated.values())}
        types = np.array(["" if key is None else key for key in self.untreated])
        np.savez(
            file,
            scale=self.ruler.scale,
            seen=self.seen,
            names=np.array(self.names),
            types=types,
            doses_um=np.array(self.doses_um),
            **arrays,
        )

    @classmethod
    def load(cls, path: Path, instrument: Instrument) -> "Bench":
        """Read what `save` kept."""
        with np.load(path, allow_pickle=False) as kept:
            untreated = {str(t) or None: kept[f"untreated{i}"] for i, t in enumerate(kept["types"])}
            names, doses = tuple(map(str, kept["names"])), tuple(map(float, kept["doses_um"]))
            return cls(instrument, Ruler(kept["scale"]), doses, names, kept["seen"], untreated)


def seen_treatment(vocabulary: Vocabulary, name: str, dose_um: float | None, cell_type: str | None) -> Ask:
    """A perturbation of the vocabulary as a treatment; genes have no dose. Raises ValueError for another name."""
    if name not in vocabulary.perturbations:
        raise ValueError(
            f"{name!r} is no perturbation that the model has seen; it has seen {list(vocabulary.perturbations[:20])}."
        )
    place = vocabulary.perturbations.index(name)
    return Ask((name,), (vocabulary.smiles[place],), (None if vocabulary.genes[place] else dose_um,), cell_type)
