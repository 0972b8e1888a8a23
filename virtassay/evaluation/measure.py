"""Measure one generator in one featurizer: every metric, pooled and for each stratum, with intervals.

Distances between pools (fd, kd) use the features as they are, in the units of published figures. Energies and effects
use features in units of the real controls' s.d. within a batch, so that no single feature speaks for all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.evaluation import distance, effect, intervals, recall
from virtassay.evaluation.baselines import Draw, Sides
from virtassay.evaluation.judgement import MODEL, POOLED
from virtassay.evaluation.strata import Rows, World

Array = NDArray[np.float64]
NAN = float("nan")
WORST_EXPLAINED = -1.0  # of a stratum that cannot be measured: an effect of the right size the wrong way
JACKKNIFE_GROUPS = 20

GOODNESS: dict[str, Callable[[float], float]] = {  # larger is better
    "effect_explained": lambda v: v,
    "energy": lambda v: -v,
    "fd": lambda v: -v,
    "kd": lambda v: -v,
    "pds": lambda v: v,
    "pearson_delta": lambda v: v,
    "pearson_delta_centred": lambda v: v,
    "effect_slope": lambda v: -abs(v - 1),
    "nsc": lambda v: v,
    "nscb": lambda v: v,
}


@dataclass(frozen=True)
class Score:
    """One number with its 95 % interval; `detail` joins the fingerprint."""

    value: float
    lower: float
    upper: float
    n_real: int
    n_generated: int
    detail: dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """All scores of one generator in one featurizer by (metric, stratum), and the strata that could not be measured."""

    scores: dict[tuple[str, str], Score]
    unmeasured: dict[str, str]  # stratum → why


@dataclass(frozen=True)
class Space:
    """Features of the images that are needed: `raw`, and `scaled` by the controls' s.d.; row r lies at position[r]."""

    position: NDArray[np.int64]
    raw: Array
    scaled: Array
    shared: list[Array]  # for each division of the controls: the mean effect c over training treatments
    n_constant: int
    sides: dict[tuple[bytes, int], intervals.Side] = field(default_factory=dict[tuple[bytes, int], intervals.Side])

    def of(self, rows: Rows) -> Array:
        return self.scaled[self.position[rows]]

    def side(self, rows: Rows, resamples: int, keep: bool) -> intervals.Side:
        """One side ready for resampling; equal rows get equal resamples. References and controls recur: `keep` them."""
        key = (rows.tobytes(), resamples)
        if key in self.sides:
            return self.sides[key]
        made = intervals.side(self.of(rows), resamples, int(rows.sum()))
        if keep:
            self.sides[key] = made
        return made


def space(world: World, rows: Rows, features: Array, n_images: int) -> Space:
    """Scale features by the pooled within-batch s.d. of the real controls, and find the mean training effect.

    A feature that hardly varies among controls is divided by a tenth of its s.d. over all the real images instead, one
    that is constant throughout by 1: neither vanishes, neither takes over.
    """
    position = np.full(n_images, -1, np.int64)
    position[rows] = np.arange(len(rows))
    parts = [np.concatenate([c.real, c.generated, c.copy]) for c in world.controls[0].values()]
    groups = [features[position[p]] for p in parts if len(p) > 1]
    groups = [g for g in groups if np.isfinite(g).all()]
    squares = sum((np.square(g - g.mean(0)).sum(0) for g in groups), np.zeros(features.shape[1]))
    freedom = max(1, sum(len(g) - 1 for g in groups))
    real = features[rows < len(world.well)]
    overall = real[np.isfinite(real).all(1)].std(0) if len(real) else np.zeros(features.shape[1])
    scale = np.maximum(np.sqrt(squares / freedom), 0.1 * overall)
    constant = scale <= 1e-9 * np.maximum(1e-9, np.abs(np.nan_to_num(real)).max(0, initial=0.0))
    scaled = features / np.where(constant, 1.0, scale)
    shared = [_shared_effect(world, k, lambda r: scaled[position[r]]) for k in range(len(world.controls))]
    return Space(position, features, scaled, shared, int(constant.sum()))


def _shared_effect(world: World, draw: int, of: Callable[[Rows], Array]) -> Array:
    """c: the mean over batches of (treated training images − controls)."""
    moves = [
        of(treated).mean(0) - of(controls).mean(0)
        for batch, treated in world.treated_training.items()
        for controls in [world.controls[draw][batch].real]
        if len(treated) and len(controls)
    ]
    finite = [m for m in moves if np.isfinite(m).all()]
    return np.mean(finite, 0) if finite else np.zeros(of(np.zeros(0, np.int64)).shape[1])


@dataclass(frozen=True)
class _Stratum:
    """One stratum of one draw; NaN energies and `problem` say that it could not be measured."""

    left: float  # energy(R, G)
    size: float  # energy(R, C)
    left_samples: Array
    size_samples: Array
    move: Array  # generated effect
    real_move: Array
    noise: float
    problem: str


def _stratum(sides: Sides, space: Space, resamples: int) -> _Stratum:
    real, generated = space.of(sides.reference), space.of(sides.generated)
    control, other = space.of(sides.control), space.of(sides.generated_control)
    nothing = np.full(resamples, NAN)
    empty = np.full(space.scaled.shape[1], NAN)
    problem = ""
    for name, x in (("real images", real), ("controls", control), ("controls", other)):
        problem = problem or _problem(name, x)
    if problem:
        return _Stratum(NAN, NAN, nothing, nothing, empty, empty, NAN, problem)
    reference = space.side(sides.reference, resamples, True)
    size, size_samples = intervals.energy_samples(reference, space.side(sides.control, resamples, True))
    real_move = real.mean(0) - control.mean(0)
    noise = effect.mean_variance(real) + effect.mean_variance(control)
    problem = _problem("generated images", generated)
    if problem:
        return _Stratum(NAN, size, nothing, size_samples, empty, real_move, noise, problem)
    left, left_samples = intervals.energy_samples(reference, space.side(sides.generated, resamples, False))
    return _Stratum(
        left, size, left_samples, size_samples, generated.mean(0) - other.mean(0), real_move, noise, problem
    )


def _problem(name: str, x: Array) -> str:
    if len(x) < 2:
        return f"fewer than two {name}"
    return "" if np.isfinite(x).all() else f"{name} with features that are no numbers"


def measure(
    generator: str, draws: Sequence[Draw], world: World, space: Space, resamples: int, fd_intervals: bool
) -> Measured:
    """Score one generator. Only the model gets the worst value where it cannot be measured: it would lower a floor."""
    each = max(1, resamples // len(draws))
    parts = [[_stratum(draw[s.name], space, each) for s in world.strata] for draw in draws]
    n = [(len(draws[0][s.name].reference), len(draws[0][s.name].generated)) for s in world.strata]
    left, size = (_mean([[getattr(p, key) for p in row] for row in parts]) for key in ("left", "size"))
    left_samples = np.concatenate([[p.left_samples for p in row] for row in parts], axis=1)  # (strata, resamples)
    size_samples = np.concatenate([[p.size_samples for p in row] for row in parts], axis=1)
    halved = [sorted({draw[s.name].halved for draw in draws}) for s in world.strata]
    unmeasured = {
        s.name: next(row[i].problem for row in parts if row[i].problem)
        for i, s in enumerate(world.strata)
        if not np.isfinite(left[i])
    }
    explained = np.array([1 - a / b if b > 0 else NAN for a, b in zip(left, size, strict=True)])
    if generator == MODEL and unmeasured:
        worst = min([WORST_EXPLAINED, *explained[np.isfinite(explained)].tolist()])
        for i in np.flatnonzero(~np.isfinite(left)):
            size[i] = max(size[i], 0.0) if np.isfinite(size[i]) else 0.0
            explained[i], left[i] = worst, (1 - worst) * size[i]
            left_samples[i], size_samples[i] = left[i], size[i]
    scores: dict[tuple[str, str], Score] = {}
    for i, s in enumerate(world.strata):
        detail = {"repeats": len(draws), "replicate_by": halved[i], "interval": "bootstrap over images"}
        share = np.full(left_samples.shape[1], NAN)
        share = 1 - np.divide(left_samples[i], size_samples[i], out=share, where=size_samples[i] > 0)
        bounds = intervals.percentiles(share) if s.name not in unmeasured else (NAN, NAN)
        scores["effect_explained", s.name] = Score(float(explained[i]), *bounds, *n[i], detail)
        scores["energy", s.name] = Score(float(left[i]), *intervals.percentiles(left_samples[i]), *n[i], detail)

    kept = np.flatnonzero(np.isfinite(left))
    names = sorted({s.perturbation for s in world.strata})
    cluster = np.array([names.index(s.perturbation) for s in world.strata], np.int64)
    seed = world.seed
    of_strata = (sum(n[i][0] for i in kept), sum(n[i][1] for i in kept))
    for metric, above, below, above_samples, below_samples in (
        ("effect_explained", size - left, size, size_samples - left_samples, size_samples),
        ("energy", left, np.ones_like(left), left_samples, np.ones_like(left_samples)),
    ):
        if len(kept) == 0:
            scores[metric, POOLED] = Score(NAN, NAN, NAN, 0, 0, {})
            continue
        total = below[kept].sum()
        value = float(above[kept].sum() / total) if total > 0 else NAN
        if len(names) >= intervals.FEWEST_PERTURBATIONS:
            label = f"bootstrap over {len(names)} perturbations"
            samples = intervals.ratio_samples(above[kept], below[kept], _dense(cluster[kept]), resamples, seed)
        else:  # two perturbations resampled say nothing: their images do
            label = "bootstrap over images"
            bottom = below_samples[kept].sum(0)
            samples = np.full(len(bottom), NAN)
            np.divide(above_samples[kept].sum(0), bottom, out=samples, where=bottom > 0)
        detail = {"repeats": len(draws), "interval": label, "n_strata": len(kept), "pooled": "ratio of sums over strata"}
        scores[metric, POOLED] = Score(value, *intervals.percentiles(samples), *of_strata, detail)
    scores |= _effects(generator, parts, world, space, resamples, of_strata)
    scores |= _distances(draws, world, space, resamples, fd_intervals)
    return Measured(scores, unmeasured)


def _dense(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _mean(values: Sequence[Sequence[float]] | Array) -> Array:
    """Mean over draws (the first axis) of the finite values; NaN where there is none."""
    x = np.asarray(values, np.float64)
    finite = np.isfinite(x)
    total = np.where(finite, x, 0.0).sum(0)
    count = finite.sum(0)
    return np.divide(total, count, out=np.full(x.shape[1:], NAN), where=count > 0)


def _effects(
    generator: str,
    parts: list[list[_Stratum]],
    world: World,
    space: Space,
    resamples: int,
    n: tuple[int, int],
) -> dict[tuple[str, str], Score]:
    """Metrics of mean effects, for each treatment (its batches averaged) and pooled over treatments."""
    treatments = sorted({s.treatment for s in world.strata})
    members = [[i for i, s in enumerate(world.strata) if s.treatment == t] for t in treatments]
    first = [world.strata[m[0]] for m in members]
    compounds, moas = [s.perturbation for s in first], [s.moa for s in first]
    above: dict[str, list[Array]] = {}
    below: dict[str, list[Array]] = {}

    def put(metric: str, where: NDArray[np.int64], value: Array, size: Array, length: int) -> None:
        a, b = np.full(length, NAN), np.full(length, NAN)
        a[where], b[where] = value, size
        above.setdefault(metric, []).append(a)
        below.setdefault(metric, []).append(b)

    for draw, row in enumerate(parts):
        good = [[i for i in m if not row[i].problem] for m in members]
        at = np.array([t for t, g in enumerate(good) if g], np.int64)
        if len(at) == 0:
            continue
        move = np.stack([np.mean([row[i].move for i in good[t]], 0) for t in at])
        real = np.stack([np.mean([row[i].real_move for i in good[t]], 0) for t in at])
        noise = np.array([sum(row[i].noise for i in good[t]) / len(good[t]) ** 2 for t in at])
        slope = effect.effect_slope(move, real, noise)
        c, one, k = space.shared[draw], np.ones(len(at)), len(treatments)
        centred = effect.pearson_delta_centred(move, real, c)
        put("pearson_delta", at, np.nan_to_num(effect.pearson_delta(move, real), nan=-1.0), one, k)
        put("pearson_delta_centred", at, np.nan_to_num(centred, nan=-1.0), one, k)
        put("effect_slope", at, slope.along, slope.size, k)
        put("pds", at, recall.pds(move, real, c), one, k)
        put("nsc", at, recall.nsc(move, real, [moas[t] for t in at], [compounds[t] for t in at]), one, k)
        ok = np.array([i for i, part in enumerate(row) if not part.problem], np.int64)
        strata = [world.strata[i] for i in ok]
        of = np.stack([row[i].move for i in ok]), np.stack([row[i].real_move for i in ok])
        by = [s.moa for s in strata], [s.perturbation for s in strata], [s.batch for s in strata]
        put("nscb", ok, recall.nsc(*of, *by), np.ones(len(ok)), len(row))

    names = sorted({s.perturbation for s in world.strata})
    by_perturbation = len(names) >= intervals.FEWEST_PERTURBATIONS
    scores: dict[tuple[str, str], Score] = {}
    for metric, draws in above.items():
        top, bottom = _mean(np.stack(draws)), _mean(np.stack(below[metric]))
        if generator == MODEL:  # what could not be asked of the model counts as its worst answer
            _worst(metric, top, bottom, parts[0], members)
        kept = np.flatnonzero(np.isfinite(top) & np.isfinite(bottom))
        if len(kept) == 0:
            continue
        labels = [s.perturbation for s in world.strata] if metric == "nscb" else compounds
        if not by_perturbation:
            labels = [s.treatment for s in world.strata] if metric == "nscb" else treatments
        cluster = _dense(np.array([sorted(set(labels)).index(labels[i]) for i in kept], np.int64))
        total = bottom[kept].sum()
        value = float(top[kept].sum() / total) if total > 0 else NAN
        samples = intervals.ratio_samples(top[kept], bottom[kept], cluster, resamples, world.seed)
        label = f"bootstrap over {cluster.max() + 1} {'perturbations' if by_perturbation else 'treatments'}"
        detail = {"repeats": len(parts), "interval": label, "n": len(kept)}
        scores[metric, POOLED] = Score(value, *intervals.percentiles(samples), *n, detail)
    return scores


def _worst(metric: str, top: Array, bottom: Array, row: list[_Stratum], members: list[list[int]]) -> None:
    """Fill in, in place, the treatments that the model could not be asked about though the real images could."""
    value = {"pearson_delta": -1.0, "pearson_delta_centred": -1.0, "pds": 0.0}
    for t, m in enumerate(members if metric in (*value, "effect_slope") else []):
        known = [i for i in m if np.isfinite(row[i].real_move).all()]
        if np.isfinite(top[t]) or not known or len(members) < 2:
            continue
        if metric == "effect_slope":
            real = np.mean([row[i].real_move for i in known], 0)
            bottom[t] = np.square(real).sum() - sum(row[i].noise for i in known) / len(known) ** 2
            top[t] = -abs(bottom[t])
        else:
            top[t], bottom[t] = value[metric], 1.0


def _distances(
    draws: Sequence[Draw], world: World, space: Space, resamples: int, fd_intervals: bool
) -> dict[tuple[str, str], Score]:
    """fd and kd between all real and all generated images of the judged strata; a repeated image counts once."""
    names = sorted({s.perturbation for s in world.strata})
    number = {s.name: names.index(s.perturbation) for s in world.strata}
    fds: dict[bytes, float] = {}
    fd_values: list[float] = []
    kd_values: list[float] = []
    kd_samples: list[Array] = []
    spread = NAN
    counts = (0, 0)
    each = max(1, resamples // len(draws))
    for k, draw in enumerate(draws):
        (r, of_r), (g, of_g) = (
            _unique([(getattr(sides, which), number[name]) for name, sides in draw.items()])
            for which in ("reference", "generated")
        )
        x, y = space.raw[space.position[r]], space.raw[space.position[g]]
        if len(x) < 2 or len(y) < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()):
            continue
        counts = max(counts, (len(r), len(g)))
        key = r.tobytes() + g.tobytes()
        if key not in fds:  # shuffling labels leaves the pool as it is
            fds[key] = distance.fd(x, y)
        fd_values.append(fds[key])
        if fd_intervals and k == 0:
            spread = _jackknife(x, y, of_r, of_g)
        sums = distance.kernel_sums(x, y, of_r, of_g, len(names))
        kd_values.append(distance.kd_of_sums(*sums))
        weight = intervals.multinomial(len(names), each, world.seed)
        totals = [((weight @ part) * weight).sum(1) for part in sums]
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample without a pair is no sample
            kd_samples.append(totals[0] / totals[3] + totals[1] / totals[4] - 2 * totals[2] / totals[5])
    fd_value, kd_value = (float(np.mean(v)) if v else NAN for v in (fd_values, kd_values))
    bounds = intervals.percentiles(np.concatenate(kd_samples)) if kd_samples else (NAN, NAN)
    detail = {"repeats": len(draws), "interval": f"bootstrap over {len(names)} perturbations"}
    label = "jackknife over groups of perturbations, ± 1.96 s.e." if fd_intervals else "none"
    return {
        ("kd", POOLED): Score(kd_value, *bounds, *counts, detail),
        ("fd", POOLED): Score(
            fd_value, fd_value - 1.96 * spread, fd_value + 1.96 * spread, *counts, detail | {"interval": label}
        ),
    }


def _unique(parts: list[tuple[Rows, int]]) -> tuple[Rows, NDArray[np.int64]]:
    """Each image once, with the perturbation in whose stratum it first stands."""
    rows = np.concatenate([p for p, _ in parts])
    of = np.concatenate([np.full(len(p), label, np.int64) for p, label in parts])
    unique, first = np.unique(rows, return_index=True)
    return unique, of[first]


def _jackknife(x: Array, y: Array, of_x: NDArray[np.int64], of_y: NDArray[np.int64]) -> float:
    """Standard error of fd from leaving out one group of perturbations at a time (a bootstrap would be biased)."""
    groups = min(JACKKNIFE_GROUPS, int(max(of_x.max(), of_y.max())) + 1)
    values = [
        distance.fd(x[of_x % groups != g], y[of_y % groups != g])
        for g in range(groups)
        if (of_x % groups != g).sum() > 1 and (of_y % groups != g).sum() > 1
    ]
    return float(np.sqrt((len(values) - 1) * np.var(values))) if len(values) > 1 else NAN


def effects_table(world: World, draw: Draw, space: Space, measured: Measured, featurizer: str) -> pl.DataFrame:
    """One row per stratum of the model: real and generated effect along the real direction, in s.d. of the controls."""
    rows: list[dict[str, Any]] = []
    for s in world.strata:
        sides = draw[s.name]
        part = _stratum(sides, space, 1)
        length = float(np.linalg.norm(part.real_move))
        true = generated = NAN
        if np.isfinite(length) and length > 0:
            direction = part.real_move / length
            unit = max(float((space.of(sides.control) @ direction).std(ddof=1)), 1e-12)
            true = (length - part.noise / length) / unit  # without the length that noise alone gives
            generated = float(part.move @ direction) / unit
        score = measured.scores["effect_explained", s.name]
        rows.append(
            {
                "featurizer": featurizer,
                "stratum": s.name,
                "batch": s.batch,
                "treatment": s.treatment,
                "perturbation": s.perturbation,
                "dose_um": s.dose_um,
                "moa": s.moa,
                "true_effect": true,
                "generated_effect": generated,
                "effect_explained": score.value,
                "lower": score.lower,
                "upper": score.upper,
                "n_real": score.n_real,
                "n_generated": score.n_generated,
            }
        )
    text = dict.fromkeys(("featurizer", "stratum", "batch", "treatment", "perturbation", "moa"), pl.String)
    return pl.DataFrame(rows, schema_overrides=text | {"dose_um": pl.Float64})
