"""What a screen looks for: a goal turns the effects of a compound into one number, larger is better.

e_u (units, d) are the effects of one treatment in s.d. of untreated cells, δ their mean over the units u, and
‖δ‖² = Σ_{u≠v} ⟨e_u, e_v⟩ / (n (n − 1)) is free of the noise of few images (an unbiased U-statistic, which may be
negative where there is no effect; Hoeffding 1948). Lengths are divided by √d: root mean square over the features.

    @dataclass(frozen=True)
    class Dark:
        contexts = (Context(),)

        def prepare(self, reference):
            return lambda effects: -effects[..., 0].mean(-1)

One's own goal is one such class and one yaml.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from virtassay.data.dataset.store import open_dataset
from virtassay.screening.effects import Context
from virtassay.screening.reference import ReferenceEffects, training_query

Array = NDArray[np.float64]
Score = Callable[..., Array]  # effects (…, units, d), an array for each context → (…)
GROUPS = 10  # of units, left out one at a time


class Goal(Protocol):
    """What the user looks for: `contexts` compounds are tried in, and a score of the effects in each of them.

    Traits beside it, false where absent: `is_length`, the score is the root of what few units tell without bias, so
    that intervals are those of its square; `next_experiment`, compounds are to be measured for the model to learn from.
    """

    @property
    def contexts(self) -> tuple[Context, ...]: ...
    def prepare(self, reference: ReferenceEffects) -> Score: ...


@property
def _of_cell_type(goal: Any) -> tuple[Context, ...]:
    """The one context of a goal on untreated cells of its type."""
    return (Context(cell_type=goal.cell_type),)


def squared_length(effects: Array) -> Array:
    """‖δ‖²/d without the noise of few units: (…, units, d) → (…). Raises ValueError for fewer than two units."""
    n, d = effects.shape[-2:]
    if n < 2:
        raise ValueError(f"{n} image of a treatment says nothing of chance: give two or more (seeds × batches).")
    total = np.square(effects.sum(-2)).sum(-1) - np.square(effects).sum((-2, -1))
    return total / (n * (n - 1) * d)


def signed_root(x: Array) -> Array:
    """√x, and −√−x below 0, so that noise around no effect stays around 0."""
    return np.sign(x) * np.sqrt(np.abs(x))


def share_shown(effects: Array, target: Array, whole: Array) -> Array:
    """1 − ‖δ − target‖²/‖whole‖² of effects (…, units, d), (…). Raises ValueError where `whole`, (d,), is 0."""
    size = float(np.square(whole).mean())
    if size <= 0:
        raise ValueError("the reference has no effect of its own, so that nothing can be like it: choose another.")
    return 1 - squared_length(effects - target) / size


@dataclass(frozen=True)
class Strength:
    """As strong an effect as can be, in cells of a type: ‖δ‖/√d, in s.d. of untreated cells. 0: none."""

    cell_type: str | None = None
    is_length: ClassVar[bool] = True

    contexts = _of_cell_type

    def prepare(self, reference: ReferenceEffects) -> Score:
        return lambda effects: signed_root(squared_length(effects))


@dataclass(frozen=True)
class Likeness:
    """How much of a reference's effect r the compound shows: 1 − ‖δ − r‖²/‖r‖². 1: all of it. 0: as much as none.

    Below 0: farther from it than untreated cells are. r is the mean effect of perturbations that the model has seen (a
    compound, a gene, or all of one mechanism), or of those names in a dataset folder of real images. images: the
    folder; None: as the model predicts them, at dose_um (None: the highest dose that the screen asks for, within those
    of training). Raises ValueError for no name, strange ones, and where the reference has no effect.
    """

    perturbations: str | Sequence[str]
    images: str | Path | None = None
    dose_um: float | None = None
    cell_type: str | None = None

    contexts = _of_cell_type

    def prepare(self, reference: ReferenceEffects) -> Score:
        target = self._effect(reference)
        return lambda effects: share_shown(effects, target, target)

    def _effect(self, reference: ReferenceEffects) -> Array:
        names = [self.perturbations] if isinstance(self.perturbations, str) else list(self.perturbations)
        if not names:
            raise ValueError("a reference needs perturbations, one or more.")
        if self.images is not None:
            return reference.units_of_images(open_dataset(self.images, verify=False), names).mean(0)
        if self.dose_um is None:
            return np.mean([reference.effect_of(name) for name in names], axis=0)
        vocabulary = reference.predictor.assay.vocabulary
        queries = [training_query(vocabulary, name, self.dose_um, self.cell_type) for name in names]
        return reference.effects(queries).mean((0, 1))


@dataclass(frozen=True)
class Rescue:
    """How much of a state's effect is gone when the compound is added: 1 − ‖δ_state+compound‖²/‖δ_state‖².

    1: cells are as untreated healthy ones. 0: as the state alone leaves them. state: diseased or toxic, a perturbation
    that the model has seen, at dose_um where that is a compound (None: its highest in training).
    """

    state: str
    dose_um: float | None = None
    cell_type: str | None = None

    @property
    def contexts(self) -> tuple[Context, ...]:
        return (Context(self.state, self.dose_um, self.cell_type),)

    def prepare(self, reference: ReferenceEffects) -> Score:
        state = reference.effects([reference.state_query(self.contexts[0])])[0].mean(0)
        return lambda effects: share_shown(effects, np.zeros_like(state), state)


@dataclass(frozen=True)
class Selectivity:
    """What one goal finds less what another does: the first cell type and not the second, this reference, not that.

    wanted − max(unwanted, 0): to lie even farther from the second than untreated cells do is no merit, or the strongest
    effects of any kind would win.
    """

    wanted: Goal
    unwanted: Goal

    @property
    def contexts(self) -> tuple[Context, ...]:
        return (*self.wanted.contexts, *self.unwanted.contexts)

    def prepare(self, reference: ReferenceEffects) -> Score:
        first, second = self.wanted.prepare(reference), self.unwanted.prepare(reference)
        n = len(self.wanted.contexts)
        return lambda *effects: first(*effects[:n]) - np.maximum(second(*effects[n:]), 0)


@dataclass(frozen=True)
class Novelty:
    """How strong the part is that no seen effect s shows at any strength: ‖δ‖/√d · min_k √(1 − cos²₊(δ, s_k))."""

    cell_type: str | None = None
    is_length: ClassVar[bool] = True

    contexts = _of_cell_type

    def prepare(self, reference: ReferenceEffects) -> Score:
        seen = reference.seen

        def novelty(effects: Array) -> Array:
            mean = effects.mean(-2)
            lengths = np.linalg.norm(mean, axis=-1, keepdims=True) * np.linalg.norm(seen, axis=-1)
            cosines = np.divide(mean @ seen.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
            nearest = cosines.max(-1).clip(0, 1)
            return signed_root(squared_length(effects)) * np.sqrt(1 - np.square(nearest))

        return novelty


@dataclass(frozen=True)
class Disagreement:
    """How far units contradict each other, √(mean over features of the variance of e): where the model is unsure.

    To measure it would teach the model most.
    """

    cell_type: str | None = None
    is_length: ClassVar[bool] = True
    next_experiment: ClassVar[bool] = True

    contexts = _of_cell_type

    def prepare(self, reference: ReferenceEffects) -> Score:
        return lambda effects: np.sqrt(effects.var(-2, ddof=1).mean(-1))


def interval(score: Score, effects: Sequence[Array], n_batches: int, is_length: bool = False) -> Array:
    """The 95 % interval of a score, lower and upper end, (2, …); NaN for a single unit.

    That of a length is the root of its square's, √(θ² ± t s): around no effect a root is anything but normal.
    """
    if effects[0].shape[-2] < 2:
        return np.full((2, *effects[0].shape[:-2]), np.nan)

    def squared(*parts: Array) -> Array:
        value = score(*parts)
        return value * np.abs(value) if is_length else value

    value, reach = squared(*effects), half_width(squared, effects, n_batches)
    ends = np.stack([value - reach, value + reach])
    return signed_root(ends) if is_length else ends


def half_width(score: Score, effects: Sequence[Array], n_batches: int) -> Array:
    """t s, half of a 95 % interval, (…), by the jackknife over g groups of seeds; of them or batches, the larger.

    s² = (g − 1)/g Σ_i (θ_(i) − θ̄)², θ_(i) without the units of group i; t the quantile of Student's distribution of
    g − 1 degrees of freedom; Tukey 1958. A group of seeds has them in each batch, and batches are left out where there
    are three. Units stand batch by batch, as in EffectPredictor.units. NaN for a single group.
    """
    n = effects[0].shape[-2]
    seeds = n // n_batches
    of_seed, of_batch = np.tile(np.arange(seeds) % GROUPS, n_batches), np.repeat(np.arange(n_batches), seeds)
    ways = [of_seed] if n_batches < 3 else [of_seed, of_batch]
    reaches = [_jackknife(score, effects, way) for way in ways if way.max() > 0]
    return np.max(reaches, axis=0) if reaches else np.full(effects[0].shape[:-2], np.nan)


def _jackknife(score: Score, effects: Sequence[Array], group: NDArray[np.int64]) -> Array:
    g = int(group.max()) + 1
    without = np.stack([score(*(e[..., group != i, :] for e in effects)) for i in range(g)])
    error = np.sqrt((g - 1) / g * np.square(without - without.mean(0)).sum(0))
    return student.ppf(0.975, g - 1) * error
