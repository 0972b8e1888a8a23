"""Distances between all the real and all the generated images of the judged strata, whatever their treatment."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.evaluation_set import Rows
from virtassay.evaluation.glossary import LOWER, Description
from virtassay.evaluation.intervals import Scores, jackknifed, plain, with_error
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics import distance
from virtassay.evaluation.space import NAN, Array, FeatureSpace
from virtassay.flow.traits import having

JACKKNIFE_GROUPS = 20

FD = Description(
    "fd", "Fréchet distance (FD)", LOWER,
    "Distance between two Gaussians fitted to all images. Never the verdict: a model that ignores the drug, or copies "
    "controls, can score well because most cells look alike whatever the treatment. It also falls with the number of "
    "images: compare equal n only. Unit: features squared; it is called FID only with the Inception features.",
    pooled=True, raw=True,
)  # fmt: skip
KD = Description(
    "kd", "Kernel distance (KD)", LOWER,
    "A distance of the same kind that does not depend on n (squared maximum mean discrepancy, cubic kernel). Never "
    "the verdict. Not multiplied by 1,000 here; papers often do. Small negative values are sampling noise.",
    pooled=True, raw=True,
)  # fmt: skip
FD_INF = Description(
    "fd_inf", "Fréchet distance, infinite n", LOWER,
    "The Fréchet distance extrapolated to infinitely many images. Never the verdict, for the same reasons.",
    pooled=True, raw=True,
)  # fmt: skip
KD_SUBSETS = Description(
    "kd_subsets", "Kernel distance (KD), as published", LOWER,
    "The mean over 100 subsets of 100 images on either side, the protocol of published tables; not × 1,000 here.",
    pooled=True, raw=True,
)  # fmt: skip


@having(describes=(FD, KD))
def distances(candidate: Candidate, space: FeatureSpace, *, fd_intervals: bool = False) -> Scores:
    """fd and kd of one generator's first draw; a repeated image counts once.

    Intervals (of fd with `fd_intervals` only: slow) are ± 1.96 standard errors from leaving out one perturbation (for
    fd: a group of them) at a time: drawing perturbations with replacement would count pairs within one twice as often
    as it should.
    """
    names = sorted({s.perturbation for s in candidate.evaluation.strata})
    (r, of_r), (g, of_g) = pools(candidate)
    x, y = space.raw_of(r), space.raw_of(g)
    n = len(r), len(g)
    if not _measurable(x, y):
        return {("kd", POOLED): plain(NAN, n), ("fd", POOLED): plain(NAN, n)}
    key = r.tobytes() + b"|" + g.tobytes()
    if key not in space.pools:  # shuffling labels leaves the pool as it is
        sums = distance.kernel_sums(x, y, of_r, of_g, len(names))
        fd, again = distance.fd(x, y), (n, candidate.resamples, candidate.evaluation.seed)
        space.pools[key] = {
            ("kd", POOLED): jackknifed(distance.kd_of_sums(*sums), _kd_left_out(sums), *again),
            ("fd", POOLED): jackknifed(fd, _fd_left_out(x, y, of_r, of_g), *again) if fd_intervals else plain(fd, n),
        }
    return space.pools[key]


@having(describes=(FD_INF,))
def extrapolated(candidate: Candidate, space: FeatureSpace) -> Scores:
    """fd_inf of one generator's first draw."""
    x, y = _features(candidate, space)
    enough = _measurable(x, y) and min(len(x), len(y)) >= 100
    value = distance.fd_inf(x, y, candidate.evaluation.seed) if enough else NAN
    return {("fd_inf", POOLED): plain(value, (len(x), len(y)))}


@having(describes=(KD_SUBSETS,))
def published_kernel(candidate: Candidate, space: FeatureSpace, *, subset: int = 100) -> Scores:
    """kd as it is published, over 100 subsets, of one generator's first draw; the interval is its standard error's."""
    x, y = _features(candidate, space)
    n = len(x), len(y)
    if not _measurable(x, y) or min(n) < subset:
        return {("kd_subsets", POOLED): plain(NAN, n)}
    subsets = distance.kd_subsets(x, y, size=subset)
    label = f"± 1.96 standard errors over 100 subsets of {subset}"
    return {("kd_subsets", POOLED): with_error(subsets.mean, subsets.sd / 10, n, {"repeats": 1, "interval": label})}


def _features(candidate: Candidate, space: FeatureSpace) -> tuple[Array, Array]:
    (r, _), (g, _) = pools(candidate)
    return space.raw_of(r), space.raw_of(g)


def _measurable(x: Array, y: Array) -> bool:
    return min(len(x), len(y)) > 1 and bool(np.isfinite(x).all() and np.isfinite(y).all())


def pools(candidate: Candidate) -> tuple[tuple[Rows, NDArray[np.int64]], tuple[Rows, NDArray[np.int64]]]:
    """Reference and generated images of all strata of the first draw, each with the number of its perturbation."""
    strata, draw = candidate.evaluation.strata, candidate.draws[0]
    names = sorted({s.perturbation for s in strata})
    number = {s.name: names.index(s.perturbation) for s in strata}
    real = _unique([(sides.reference, number[name]) for name, sides in draw.items()])
    return real, _unique([(sides.generated, number[name]) for name, sides in draw.items()])


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
