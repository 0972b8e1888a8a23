"""Maps of perturbations, real and generated: do related ones resemble each other, do compounds find their targets?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.evaluation_set import Stratum
from virtassay.evaluation.glossary import HIGHER, Description
from virtassay.evaluation.intervals import Score, Scores, jackknifed, percentiles
from virtassay.evaluation.judgement import POOLED
from virtassay.evaluation.metrics.alignment import align
from virtassay.evaluation.metrics.maps import (
    compound_gene_ap,
    map_concordance,
    perturbation_map,
    recall_samples,
    relation_recall,
)
from virtassay.evaluation.metrics.pools import JACKKNIFE_GROUPS
from virtassay.evaluation.metrics.relations import Pairs, pairs_by_seen, pairs_of_label, read_pairs, read_targets
from virtassay.evaluation.space import NAN, Array, FeatureSpace
from virtassay.flow.traits import having

RELATION_RECALL = Description(
    "relation_recall", "Relations found", HIGHER,
    "Share of pairs known to be related that are among the 5 % most alike or 5 % most opposite pairs of the generated "
    "map. Chance is 10 %.",
)  # fmt: skip
BY_SEEN = tuple(
    replace(RELATION_RECALL, name=f"relation_recall_{part}", label=f"Relations found, {words}")
    for part, words in (
        ("seen_seen", "both seen in training"),
        ("seen_unseen", "one seen in training"),
        ("unseen_unseen", "none seen in training"),
    )
)

MAP_CONCORDANCE = Description(
    "map_concordance", "Concordance of maps", HIGHER,
    "Rank correlation of all pairwise likenesses of perturbations, generated and real.",
)  # fmt: skip
COMPOUND_GENE_AP = Description(
    "compound_gene_ap", "Compounds find their genes (AP)", HIGHER,
    "Average precision with which a compound's generated effect, by its absolute cosine, ranks the knock-outs of the "
    "genes that it acts on among other targets. Chance is the share of targets, given in the fingerprint.",
)  # fmt: skip
COMPOUND_GENE_AUC = Description(
    "compound_gene_auc", "Compounds find their genes (AUC)", HIGHER,
    "The same as the chance that a gene that it acts on ranks above one that it does not. 0.5: chance.",
)  # fmt: skip


@dataclass(frozen=True)
class Maps:
    """names: of the perturbations, (p,). real, generated: their vectors (p, d); NaN where nothing was generated."""

    names: list[str]
    real: Array
    generated: Array
    n: tuple[int, int]  # images on either side


@having(describes=(RELATION_RECALL, *BY_SEEN, MAP_CONCORDANCE))
def related(candidate: Candidate, space: FeatureSpace, *, pairs: Mapping[str, str | Path | None]) -> Scores:
    """relation_recall of each list of known pairs, by seen and unseen perturbations, and map_concordance.

    pairs: name → a table of two columns of names; None: pairs of the same mechanism. Maps are of perturbations, their
    doses together, from features aligned as EFAAR does (`alignment.align`).
    """
    maps = _maps(candidate, space)
    if maps is None:
        return {}
    names, evaluation, resamples = maps.names, candidate.evaluation, candidate.resamples
    facts = {s.perturbation: s for s in evaluation.strata}
    scores: Scores = {("map_concordance", POOLED): _concordance(maps, resamples, evaluation.seed)}
    for relation, path in pairs.items():
        known = _known(path, [facts[name] for name in names])
        if known is None:
            continue
        recalled = relation_recall(maps.generated, known)
        of_part = {"": np.ones(len(known), np.bool_), **pairs_by_seen(known, [facts[m].seen for m in names])}
        for part, mask in of_part.items():
            if mask.any() and not (part and mask.all()):
                samples = recall_samples(recalled[mask], known[mask], len(names), resamples, evaluation.seed)
                name = "relation_recall" + (f"_{part}" if part else "") + ("" if relation == "moa" else f":{relation}")
                detail: dict[str, Any] = {"interval": f"bootstrap over {len(names)} perturbations"}
                detail |= {"pairs": int(mask.sum()), "relation": relation}
                bounds = percentiles(samples)
                scores[name, POOLED] = Score(float(recalled[mask].mean()), *bounds, *maps.n, detail)
    return scores


@having(describes=(COMPOUND_GENE_AP, COMPOUND_GENE_AUC))
def on_target(candidate: Candidate, space: FeatureSpace, *, known: str | Path) -> Scores:
    """compound_gene_ap and compound_gene_auc: do compounds resemble the loss of the genes that they act on?

    known: a table of two columns, a compound and a gene that it targets, called as the perturbations are.
    """
    maps = _maps(candidate, space)
    if maps is None:
        return {}
    targets, seed = read_targets(known, maps.names), candidate.evaluation.seed
    precision = compound_gene_ap(maps.generated, maps.generated, targets, seed)
    chance = float(np.nanmean(precision.chance)) if np.isfinite(precision.chance).any() else None
    detail = {"pairs": len(targets), "chance": chance}
    values = {"compound_gene_ap": precision.ap, "compound_gene_auc": precision.auc}
    return {(metric, POOLED): candidate.pooled(v, maps.names, n=maps.n, detail=detail) for metric, v in values.items()}


def _maps(candidate: Candidate, space: FeatureSpace) -> Maps | None:
    """Both maps, aligned together; None where real images, controls or perturbations are too few for any."""
    batches = {s.batch for s in candidate.evaluation.strata}
    divided = [(b, parts) for b, parts in candidate.evaluation.controls[0].items() if b in batches]
    controls = [(b, np.concatenate([parts.real, parts.generated])) for b, parts in divided]
    real, generated = (candidate.rows(side) for side in ("reference", "generated"))
    sizes = [sum(len(rows) for _, rows in controls), len(real), len(generated)]
    batch = [b for b, rows in controls for _ in rows.tolist()]
    batch += candidate.labels("reference", "batch") + candidate.labels("generated", "batch")
    kind = np.repeat([0, 1, 2], sizes)
    x = space.raw_of(np.concatenate([*(rows for _, rows in controls), real, generated]))
    usable = np.asarray(np.isfinite(x).all(1), np.bool_)
    if not usable[kind < 2].all() or min(len(rows) for _, rows in controls) < 2:
        return None
    where = np.array(batch)[usable].tolist()
    fitted = align(x[usable], kind[usable] == 0, kind[usable] < 2, where)
    aligned = np.full((len(x), fitted.shape[1]), NAN)
    aligned[usable] = fitted
    names, of_real = _map(aligned[kind == 1], candidate, "reference")
    generated_names, of_generated = _map(aligned[kind == 2], candidate, "generated")
    if len(names) < 3:
        return None
    padded = np.full(of_real.shape, NAN)
    padded[[names.index(name) for name in generated_names]] = of_generated
    return Maps(names, of_real, padded, (len(real), len(generated)))


def _concordance(maps: Maps, resamples: int, seed: int) -> Score:
    """Left out a group of perturbations at a time: drawn twice, a perturbation would be exactly like itself."""
    p = len(maps.names)
    groups = min(JACKKNIFE_GROUPS, p)
    kept = [np.arange(p) % groups != g for g in range(groups)]
    left_out = [map_concordance(maps.generated[k], maps.real[k]) for k in kept if k.sum() >= 3]
    return jackknifed(map_concordance(maps.generated, maps.real), np.array(left_out), maps.n, resamples, seed)


def _known(path: str | Path | None, rows: Sequence[Stratum]) -> Pairs | None:
    if path is not None:
        return read_pairs(path, [s.perturbation for s in rows])
    labels = [s.moa for s in rows]
    named = [label for label in labels if label is not None]
    return pairs_of_label(labels) if len(set(named)) < len(named) else None


def _map(aligned: Array, candidate: Candidate, side: str) -> tuple[list[str], Array]:
    return perturbation_map(aligned, candidate.labels(side, "perturbation"), candidate.labels(side, "batch"))
