"""Distances between all the real and all the generated images of the judged strata, whatever their treatment."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from virtassay.evaluation.baselines import Draw
from virtassay.evaluation.evaluation_set import Rows, World
from virtassay.evaluation.intervals import Score, Scores, jackknifed, over_perturbations
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.measure.space import NAN, Space
from virtassay.evaluation.metrics import distance
from virtassay.evaluation.metrics.manifold import manifold
from virtassay.evaluation.metrics.memorisation import memorisation

Array = NDArray[np.float64]
JACKKNIFE_GROUPS = 20
MANIFOLDS = ("precision", "recall", "density", "coverage")


def distances(
    generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int, *, fd_intervals: bool = False
) -> Scores:
    """fd and kd of one generator's first draw; a repeated image counts once.

    Intervals (of fd only if asked for: slow) are ± 1.96 standard errors from leaving out one perturbation (for fd: a
    group of them) at a time: drawing perturbations with replacement would count pairs within one twice as often as it
    should.
    """
    names = sorted({s.perturbation for s in world.strata})
    (r, of_r), (g, of_g) = _pools(draws[0], world)
    x, y = space.raw[space.position[r]], space.raw[space.position[g]]
    if not _measurable(x, y):
        return {("kd", POOLED): _plain(NAN, x, y), ("fd", POOLED): _plain(NAN, x, y)}
    key = r.tobytes() + b"|" + g.tobytes()
    if key not in space.pools:  # shuffling labels leaves the pool as it is
        sums = distance.kernel_sums(x, y, of_r, of_g, len(names))
        fd, n, again = distance.fd(x, y), (len(r), len(g)), (resamples, world.seed)
        space.pools[key] = {
            ("kd", POOLED): jackknifed(distance.kd_of_sums(*sums), _kd_left_out(sums), n, *again),
            ("fd", POOLED): jackknifed(fd, _fd_left_out(x, y, of_r, of_g), n, *again)
            if fd_intervals
            else _plain(fd, x, y),
        }
    return space.pools[key]


def extrapolated(generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int) -> Scores:
    """fd_inf of one generator's first draw."""
    x, y = _features(draws[0], world, space)
    value = distance.fd_inf(x, y, world.seed) if _measurable(x, y) and min(len(x), len(y)) >= 100 else NAN
    return {("fd_inf", POOLED): _plain(value, x, y)}


def published_kernel(
    generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int, *, subset: int = 100
) -> Scores:
    """kd as it is published, over 100 subsets, of one generator's first draw; the interval is its standard error's."""
    x, y = _features(draws[0], world, space)
    if not _measurable(x, y) or min(len(x), len(y)) < subset:
        return {("kd_subsets", POOLED): _plain(NAN, x, y)}
    found = distance.kd_subsets(x, y, size=subset)
    label = f"± 1.96 standard errors over 100 subsets of {subset}"
    return {("kd_subsets", POOLED): _score(found.mean, found.sd / 10, (len(x), len(y)), label)}


def manifolds(
    generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int, *, k: int = 5
) -> Scores:
    """Precision, recall, density and coverage of one generator's first draw, features in the controls' s.d."""
    (r, of_r), (g, of_g) = _pools(draws[0], world)
    x, y, n = space.of(r), space.of(g), (len(r), len(g))
    if min(n) < 2:
        return {(name, POOLED): _plain(NAN, x, y) for name in MANIFOLDS}
    found = manifold(x, y, k)
    kept = {"neighbours": k, "resampled": "the manifolds stay as they are"}
    return {
        (name, POOLED): over_perturbations(
            values, np.ones(len(values)), of.astype(str).tolist(), n, resamples, world.seed, **kept
        )
        for name, values, of in zip(
            MANIFOLDS, (found.realistic, found.recalled, found.holders, found.covered), (of_g, of_r, of_g, of_r),
            strict=True,
        )
    }  # fmt: skip


def memorised(generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int) -> Scores:
    """How near the generated images of one draw are to training images, beside held-out real ones of the same wells."""
    (r, _), (g, of_g) = _pools(draws[0], world)
    found = memorisation(space.of(g), space.of(r), space.of(world.memory), [str(label) for label in of_g.tolist()])
    shares = np.array(list(found.authpct.values())) / 100
    n = (len(r), len(g))
    return {
        ("memorisation", POOLED): Score(found.distance_ratio, NAN, NAN, *n, {"interval": "none"}),
        ("authenticity", POOLED): over_perturbations(
            shares, np.full(len(shares), found.authpct_held_out / 100), list(found.authpct), n, resamples, world.seed
        ),
    }


def _features(draw: Draw, world: World, space: Space) -> tuple[Array, Array]:
    (r, _), (g, _) = _pools(draw, world)
    return space.raw[space.position[r]], space.raw[space.position[g]]


def _measurable(x: Array, y: Array) -> bool:
    return min(len(x), len(y)) > 1 and bool(np.isfinite(x).all() and np.isfinite(y).all())


def _plain(value: float, x: Array, y: Array) -> Score:
    return Score(value, NAN, NAN, len(x), len(y), {"interval": "none"})


def _pools(draw: Draw, world: World) -> tuple[tuple[Rows, NDArray[np.int64]], tuple[Rows, NDArray[np.int64]]]:
    """Reference and generated images of all strata, each with the number of its perturbation."""
    names = sorted({s.perturbation for s in world.strata})
    number = {s.name: names.index(s.perturbation) for s in world.strata}
    return (
        _unique([(sides.reference, number[name]) for name, sides in draw.items()]),
        _unique([(sides.generated, number[name]) for name, sides in draw.items()]),
    )


def _score(value: float, error: float, counts: tuple[int, int], label: str) -> Score:
    return Score(value, value - 1.96 * error, value + 1.96 * error, *counts, {"repeats": 1, "interval": label})


def _unique(parts: list[tuple[Rows, int]]) -> tuple[Rows, NDArray[np.int64]]:
    """Each image once, with the perturbation in whose stratum it first stands."""
    rows = np.concatenate([p for p, _ in parts])
    of = np.concatenate([np.full(len(p), label, np.int64) for p, label in parts])
    unique, first = np.unique(rows, return_index=True)
    return unique, of[first]


def _fd_left_out(x: Array, y: Array, of_x: NDArray[np.int64], of_y: NDArray[np.int64]) -> Array:
    groups = min(JACKKNIFE_GROUPS, int(max(of_x.max(), of_y.max())) + 1)
    kept = [(of_x % groups != g, of_y % groups != g) for g in range(groups)]
    return np.array([distance.fd(x[a], y[b]) for a, b in kept if a.sum() > 1 and b.sum() > 1])


def _kd_left_out(sums: Sequence[Array]) -> Array:
    others = [np.delete(np.arange(len(sums[0])), k) for k in range(len(sums[0]))]
    parts = [[s[np.ix_(o, o)] for s in sums] for o in others]
    return np.array([distance.kd_of_sums(*p) for p in parts if all(n.sum() > 0 for n in p[3:])])
