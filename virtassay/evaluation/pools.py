"""Distances between all the real and all the generated images of the judged strata, whatever their treatment."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from virtassay.evaluation import distance
from virtassay.evaluation.baselines import Draw
from virtassay.evaluation.intervals import Score
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.space import NAN, Space
from virtassay.evaluation.strata import Rows, World

Array = NDArray[np.float64]
JACKKNIFE_GROUPS = 20


def pool_scores(draw: Draw, world: World, space: Space, fd_intervals: bool) -> dict[tuple[str, str], Score]:
    """fd and kd of one generator in one draw; a repeated image counts once.

    Intervals are ± 1.96 standard errors from leaving out one perturbation (for fd: a group of them) at a time: drawing
    perturbations with replacement would count pairs within one twice as often as it should.
    """
    names = sorted({s.perturbation for s in world.strata})
    number = {s.name: names.index(s.perturbation) for s in world.strata}
    (r, of_r), (g, of_g) = (
        _unique([(getattr(sides, which), number[name]) for name, sides in draw.items()])
        for which in ("reference", "generated")
    )
    x, y = space.raw[space.position[r]], space.raw[space.position[g]]
    key = r.tobytes() + b"|" + g.tobytes()
    if len(x) < 2 or len(y) < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        space.pools[key] = (NAN, NAN, NAN, NAN)
    elif key not in space.pools:  # shuffling labels leaves the pool as it is
        sums = distance.kernel_sums(x, y, of_r, of_g, len(names))
        error = _fd_error(x, y, of_r, of_g) if fd_intervals else NAN
        space.pools[key] = distance.fd(x, y), error, distance.kd_of_sums(*sums), _kd_error(sums)
    fd, fd_error, kd, kd_error = space.pools[key]
    label = "± 1.96 jackknife standard errors over perturbations"
    return {
        ("kd", POOLED): _score(kd, kd_error, (len(r), len(g)), label),
        ("fd", POOLED): _score(fd, fd_error, (len(r), len(g)), label if fd_intervals else "none"),
    }


def _score(value: float, error: float, counts: tuple[int, int], label: str) -> Score:
    return Score(value, value - 1.96 * error, value + 1.96 * error, *counts, {"repeats": 1, "interval": label})


def _unique(parts: list[tuple[Rows, int]]) -> tuple[Rows, NDArray[np.int64]]:
    """Each image once, with the perturbation in whose stratum it first stands."""
    rows = np.concatenate([p for p, _ in parts])
    of = np.concatenate([np.full(len(p), label, np.int64) for p, label in parts])
    unique, first = np.unique(rows, return_index=True)
    return unique, of[first]


def _fd_error(x: Array, y: Array, of_x: NDArray[np.int64], of_y: NDArray[np.int64]) -> float:
    groups = min(JACKKNIFE_GROUPS, int(max(of_x.max(), of_y.max())) + 1)
    kept = [(of_x % groups != g, of_y % groups != g) for g in range(groups)]
    return _jackknife([distance.fd(x[a], y[b]) for a, b in kept if a.sum() > 1 and b.sum() > 1])


def _kd_error(sums: Sequence[Array]) -> float:
    others = [np.delete(np.arange(len(sums[0])), k) for k in range(len(sums[0]))]
    parts = [[s[np.ix_(o, o)] for s in sums] for o in others]
    return _jackknife([distance.kd_of_sums(*p) for p in parts if all(n.sum() > 0 for n in p[3:])])


def _jackknife(values: Sequence[float]) -> float:
    """Standard error from estimates that leave out one part each; NaN for fewer than two."""
    return float(np.sqrt((len(values) - 1) * np.var(values))) if len(values) > 1 else NAN
