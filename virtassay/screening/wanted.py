"""What the user looks for, as conf/goal says it: each makes a goal of what the bench has seen.

strength   as strong an effect as can be         likeness     the effect of a reference
rescue     a state back to healthy               selectivity  one of these, and not another
novelty    an effect that nothing seen has       informative  what the model is least sure of
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from virtassay.data.dataset.store import open_dataset
from virtassay.screening.bench import Bench, seen_treatment
from virtassay.screening.goals import Context, Disagreement, Goal, Likeness, Novelty, Rescue, Selectivity, Strength


class Wanted(Protocol):
    """A goal to be: which cell types it needs, and the goal itself once a bench is there."""

    @property
    def cell_types(self) -> tuple[str | None, ...]: ...
    def goal(self, bench: Bench) -> Goal: ...


@dataclass(frozen=True)
class Effect:
    """As strong an effect as can be, in cells of a type."""

    cell_type: str | None = None

    @property
    def cell_types(self) -> tuple[str | None, ...]:
        return (self.cell_type,)

    def goal(self, bench: Bench) -> Goal:
        return Strength((Context(cell_type=self.cell_type),))


@dataclass(frozen=True)
class Like:
    """The mean effect of perturbations that the model has seen, or of those names in a dataset folder of real images.

    perturbations: a compound, a gene, or all of one mechanism. images: the folder; None: as the model predicts them, at
    dose_um (None: the highest dose that the screen asks for, within those of training).
    """

    perturbations: Sequence[str]
    images: str | Path | None = None
    dose_um: float | None = None
    cell_type: str | None = None

    @property
    def cell_types(self) -> tuple[str | None, ...]:
        return (self.cell_type,)

    def goal(self, bench: Bench) -> Goal:
        names = [self.perturbations] if isinstance(self.perturbations, str) else list(self.perturbations)
        if not names:
            raise ValueError("a reference needs perturbations, one or more.")
        return Likeness(self._reference(bench, names), (Context(cell_type=self.cell_type),))

    def _reference(self, bench: Bench, names: Sequence[str]) -> NDArray[np.float64]:
        if self.images is not None:
            return bench.effect_of_images(open_dataset(self.images, verify=False), names)
        if self.dose_um is None:
            return np.mean([bench.effect_of(name) for name in names], axis=0)
        vocabulary = bench.instrument.assay.vocabulary
        asks = [seen_treatment(vocabulary, name, self.dose_um, self.cell_type) for name in names]
        return bench.effects(asks).mean((0, 1))


@dataclass(frozen=True)
class Rescued:
    """A diseased or toxic state, which is a perturbation that the model has seen, back to untreated cells."""

    state: str
    dose_um: float | None = None  # of the state, where that is a compound; None: its highest in training
    cell_type: str | None = None

    @property
    def cell_types(self) -> tuple[str | None, ...]:
        return (self.cell_type,)

    def goal(self, bench: Bench) -> Goal:
        vocabulary, dose = bench.instrument.assay.vocabulary, self.dose_um
        if dose is None and self.state in vocabulary.perturbations:
            dose = vocabulary.seen_dose(self.state, None)
        alone = seen_treatment(vocabulary, self.state, dose, self.cell_type)
        context = Context(self.state, dose, self.cell_type)
        return Rescue(context, bench.effects([alone])[0].mean(0))


@dataclass(frozen=True)
class Selective:
    """What is wanted less what is not."""

    wanted: Wanted
    unwanted: Wanted

    @property
    def cell_types(self) -> tuple[str | None, ...]:
        return (*self.wanted.cell_types, *self.unwanted.cell_types)

    def goal(self, bench: Bench) -> Goal:
        return Selectivity(self.wanted.goal(bench), self.unwanted.goal(bench))


@dataclass(frozen=True)
class New:
    """An effect that nothing which the model has seen shows."""

    cell_type: str | None = None

    @property
    def cell_types(self) -> tuple[str | None, ...]:
        return (self.cell_type,)

    def goal(self, bench: Bench) -> Goal:
        return Novelty(bench.seen, (Context(cell_type=self.cell_type),))


@dataclass(frozen=True)
class Unsure:
    """What the model contradicts itself on: to measure it would teach it most."""

    cell_type: str | None = None

    @property
    def cell_types(self) -> tuple[str | None, ...]:
        return (self.cell_type,)

    def goal(self, bench: Bench) -> Goal:
        return Disagreement((Context(cell_type=self.cell_type),))
