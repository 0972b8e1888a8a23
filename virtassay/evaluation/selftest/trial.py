"""Judge generators whose faults are known, by every metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from virtassay.evaluation import metrics as ours
from virtassay.evaluation.baselines import BASELINES, floors_of, real_replicate
from virtassay.evaluation.candidate import Candidate, Metric
from virtassay.evaluation.criteria import Criteria
from virtassay.evaluation.evaluation_set import Assignment, EvaluationSet
from virtassay.evaluation.featurizers.features import Featurizer
from virtassay.evaluation.glossary import Glossary
from virtassay.evaluation.judgement import CEILING, MODEL, POOLED, Row
from virtassay.evaluation.metrics.effects import effects
from virtassay.evaluation.score import score
from virtassay.evaluation.selftest.generators import Generator, oracle
from virtassay.evaluation.selftest.simulated import SimulatedScreen, drug_of, write
from virtassay.evaluation.strata import build_evaluation_set
from virtassay.evaluation.verdict import anchored, verdict

METRICS: tuple[Metric, ...] = (
    ours.distances, ours.extrapolated, ours.published_kernel, ours.manifolds, ours.memorised, ours.spread,
    ours.told_apart, ours.recognised, ours.batches_shown, ours.retrieved, partial(ours.related, pairs={"moa": None}),
)  # fmt: skip
ALL = 10**9  # images of a kind: as many as there are


@dataclass(frozen=True)
class Outcome:
    """What the judgement said of one generator: its pooled scores, and the verdict (see `Judgement`)."""

    rows: list[Row]
    verdict: dict[str, Any]


def trial(
    screen: SimulatedScreen,
    generators: Mapping[str, Generator],
    featurizers: Sequence[Featurizer],
    folder: Path,
    *,
    metrics: Sequence[Metric] = METRICS,
    resamples: int = 200,
) -> dict[str, Outcome]:
    """Judge each generator as if it were the model, beside the same baselines and replicates.

    The oracle's images are written to `folder`/oracle. Baselines are measured once, their effects only: the verdict
    looks at no more of them. `metrics` are measured of the generators beside the effects.
    """
    oracle_folder = write(folder / "oracle", [(well, "generated", oracle(screen, well)) for well in screen.requests])
    criteria = Criteria(
        featurizers={f.name: f for f in featurizers},
        baselines=BASELINES,
        metrics={},
        resamples=resamples,
        repeats=3,
        max_images=ALL,
        max_controls=ALL,
        max_training=ALL,
        max_memory=ALL,
    )
    evaluation = build_evaluation_set(screen.real, oracle_folder, criteria)
    references = {name: criteria.candidate(evaluation, f) for name, f in {**BASELINES, CEILING: real_replicate}.items()}
    tried = {
        f"{MODEL} {name}": Candidate(evaluation, [_draw(evaluation, screen, generator)], resamples, True, metrics)
        for name, generator in generators.items()  # some are called as a baseline is
    }
    glossary = Glossary.of([effects, *metrics])
    rows: dict[str, list[Row]] = {name: [] for name in generators}
    for featurizer, _, measured in score({**references, **tried}, featurizers):
        known = {name: measured[name].scores for name in references}
        fingerprint = {"featurizer": featurizer.name, "features": "", **featurizer.fingerprint()}
        for name in generators:
            rows[name] += anchored(
                {MODEL: measured[f"{MODEL} {name}"].scores, **known}, BASELINES, glossary, fingerprint
            )
    return {
        name: Outcome(
            [r for r in own if (r["generator"], r["stratum"]) == (MODEL, POOLED)],
            verdict(own, floors_of(BASELINES), []),
        )
        for name, own in rows.items()
    }


def _draw(evaluation: EvaluationSet, screen: SimulatedScreen, generator: Generator) -> Assignment:
    """The answers to all requests in the place of the model's images."""
    requests = {(w.batch, drug_of(w)): w for w in screen.requests}
    return evaluation.assigned(0, lambda s: evaluation.add(generator(screen, requests[s.batch, s.perturbation])))
