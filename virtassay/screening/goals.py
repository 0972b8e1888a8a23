"""What a screen looks for: a goal turns the effects of a compound into one number, larger is better.

e_u (units, d) are the effects of one treatment in s.d. of untreated cells, δ their mean over the units u, and
‖δ‖² = Σ_{u≠v} ⟨e_u, e_v⟩ / (n (n − 1)) is free of the noise of few images (an unbiased U-statistic, which may be
negative where there is no effect; Hoeffding 1948). Lengths are divided by √d: root mean square over the features.
A goal is asked of arrays (…, units, d) and answers (…); one array for each of its contexts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Array = NDArray[np.float64]
GROUPS = 10  # of units, left out one at a time


@dataclass(frozen=True)
class Context:
    """Where a compound is tried: on cells in a state (a perturbation that they already have, at a dose), of a type."""

    state: str | None = None
    dose_um: float | None = None
    cell_type: str | None = None


class Goal(Protocol):
    """One number for each compound from its effects (…, units, d), one array a context.

    is_length: whether it is the root of what few units tell without bias, so that intervals are those of its square.
    """

    is_length: ClassVar[bool]

    @property
    def contexts(self) -> tuple[Context, ...]: ...
    def __call__(self, *effects: Array) -> Array: ...


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


@dataclass(frozen=True)
class Strength:
    """How strong the effect is: ‖δ‖/√d, in s.d. of untreated cells. 0: none."""

    contexts: tuple[Context, ...] = (Context(),)
    is_length: ClassVar[bool] = True

    def __call__(self, *effects: Array) -> Array:
        return signed_root(squared_length(effects[0]))


@dataclass(frozen=True)
class Likeness:
    """How much of a reference's effect the compound shows: 1 − ‖δ − r‖²/‖r‖². 1: all of it. 0: as much as none.

    reference: (d,), in the same units. Below 0: farther from it than untreated cells are.
    """

    reference: Array
    contexts: tuple[Context, ...] = (Context(),)
    is_length: ClassVar[bool] = False

    def __call__(self, *effects: Array) -> Array:
        return 1 - squared_length(effects[0] - self.reference) / _mean_square(self.reference)


@dataclass(frozen=True)
class Rescue:
    """How much of a state's effect is gone when the compound is added: 1 − ‖δ_state+compound‖²/‖δ_state‖².

    1: cells are as untreated healthy ones. 0: as the state alone leaves them. state_effect: δ_state, (d,).
    """

    state: Context
    state_effect: Array
    is_length: ClassVar[bool] = False

    @property
    def contexts(self) -> tuple[Context, ...]:
        return (self.state,)

    def __call__(self, *effects: Array) -> Array:
        return 1 - squared_length(effects[0]) / _mean_square(self.state_effect)


@dataclass(frozen=True)
class Selectivity:
    """What one goal finds less what another does: the first cell type and not the second, this reference, not that.

    wanted − max(unwanted, 0): to lie even farther from the second than untreated cells do is no merit, or the strongest
    effects of any kind would win.
    """

    wanted: Goal
    unwanted: Goal
    is_length: ClassVar[bool] = False

    @property
    def contexts(self) -> tuple[Context, ...]:
        return (*self.wanted.contexts, *self.unwanted.contexts)

    def __call__(self, *effects: Array) -> Array:
        first = len(self.wanted.contexts)
        return self.wanted(*effects[:first]) - np.maximum(self.unwanted(*effects[first:]), 0)


@dataclass(frozen=True)
class Novelty:
    """How strong the part is that no seen effect shows at any strength: ‖δ‖/√d · min_k √(1 − cos²₊(δ, s_k)).

    seen: (k, d), the effects of what training has seen.
    """

    seen: Array
    contexts: tuple[Context, ...] = (Context(),)
    is_length: ClassVar[bool] = True

    def __call__(self, *effects: Array) -> Array:
        mean = effects[0].mean(-2)
        lengths = np.linalg.norm(mean, axis=-1, keepdims=True) * np.linalg.norm(self.seen, axis=-1)
        cosines = np.divide(mean @ self.seen.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        nearest = cosines.max(-1).clip(0, 1)
        return signed_root(squared_length(effects[0])) * np.sqrt(1 - np.square(nearest))


@dataclass(frozen=True)
class Disagreement:
    """How far units contradict each other: √(mean over features of the variance of e). Where the model is unsure."""

    contexts: tuple[Context, ...] = (Context(),)
    is_length: ClassVar[bool] = True

    def __call__(self, *effects: Array) -> Array:
        return np.sqrt(effects[0].var(-2, ddof=1).mean(-1))


def interval(goal: Goal, effects: Sequence[Array], n_batches: int) -> Array:
    """The 95 % interval of a goal, lower and upper end, (2, …); NaN for a single unit.

    That of a length is the root of its square's, √(θ² ± t s): around no effect a root is anything but normal.
    """
    if effects[0].shape[-2] < 2:
        return np.full((2, *effects[0].shape[:-2]), np.nan)
    if not goal.is_length:
        value, reach = goal(*effects), half_width(goal, effects, n_batches)
        return np.stack([value - reach, value + reach])

    def square(*parts: Array) -> Array:
        value = goal(*parts)
        return value * np.abs(value)

    value, reach = square(*effects), half_width(square, effects, n_batches)
    return signed_root(np.stack([value - reach, value + reach]))


def half_width(goal: Callable[..., Array], effects: Sequence[Array], n_batches: int) -> Array:
    """t s, half of a 95 % interval, (…), by the jackknife over g groups of seeds; of them or batches, the larger.

    s² = (g − 1)/g Σ_i (θ_(i) − θ̄)², θ_(i) without the units of group i; t the quantile of Student's distribution of
    g − 1 degrees of freedom; Tukey 1958. A group of seeds has them in each batch, and batches are left out where there
    are three. Units stand batch by batch, as in Instrument.units. NaN for a single group.
    """
    n = effects[0].shape[-2]
    seeds = n // n_batches
    of_seed, of_batch = np.tile(np.arange(seeds) % GROUPS, n_batches), np.repeat(np.arange(n_batches), seeds)
    ways = [of_seed] if n_batches < 3 else [of_seed, of_batch]
    found = [_jackknife(goal, effects, way) for way in ways if way.max() > 0]
    if not found:
        return np.full(effects[0].shape[:-2], np.nan)
    return np.max(found, axis=0)


def _jackknife(goal: Callable[..., Array], effects: Sequence[Array], group: NDArray[np.int64]) -> Array:
    g = int(group.max()) + 1
    without = np.stack([goal(*(e[..., group != i, :] for e in effects)) for i in range(g)])
    error = np.sqrt((g - 1) / g * np.square(without - without.mean(0)).sum(0))
    return student.ppf(0.975, g - 1) * error


def _mean_square(x: Array) -> float:
    size = float(np.square(x).mean())
    if size <= 0:
        raise ValueError("the reference has no effect of its own, so that nothing can be like it: choose another.")
    return size
