"""Starting from a run: another training begins at its weights, and trains all of them on, or a few.

Two-stage training (CellFluxV2: noise → perturbed, then control → perturbed) and the adaptation of a model of labels to
unseen molecules (Jones et al. 2026, arXiv 2603.26790) are one thing: copy what both networks have, freeze what shall
stay. The null is copied too, and dropped in as in any training, so that what was adapted can still be guided.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import polars as pl
from torch import Tensor, nn

from virtassay.assay import VirtualAssay
from virtassay.data.loading.datamodule import AssayData
from virtassay.data.loading.vocabulary import Vocabulary
from virtassay.flow.traits import trait
from virtassay.schema import treatment_name

log = logging.getLogger(__name__)

ENCODER = "condition."  # what a network begins the names of its condition encoder's weights with
ROWS = "condition.perturbation.rows.weight"  # (perturbations, width): found by name, not by number
NULLS = "condition.null."
NUMBERED = {"condition.batch.weight": "batches", "condition.cell_type.weight": "cell_types"}


def take_scales(data: AssayData, first: VirtualAssay) -> None:
    """Give `data` the normalisation and the scale of doses that the weights of `first` have learned to see.

    Warns where `first` was trained on perturbations that `data` holds out. Raises ValueError where images have another
    shape or other channels, or molecules another descriptor.
    """
    known, source = first.vocabulary, str(data.dataset.root / "index.parquet")
    for what in ("channels", "image_shape"):
        expected, actual = getattr(known, what), getattr(data.vocabulary, what)
        if expected != actual:
            raise ValueError(
                f"{source} has {what} {actual}, and the run to start from {expected}: prepare the images as they were "
                "for that run, or train with start=none."
            )
    data.vocabulary = replace(
        data.vocabulary,
        normalisation=known.normalisation,
        dose_centre=known.dose_centre,
        dose_spread=known.dose_spread,
    )
    data.train_conditions = data.vocabulary.encode(data.train.rows, data.molecules, source)
    data.validation_conditions = data.vocabulary.encode(data.validation.rows, data.molecules, source)
    if data.molecules is not None and first.molecules is not None:
        as_first = data.vocabulary.encode(data.train.rows, first.molecules, source).structures
        if not np.array_equal(as_first, data.train_conditions.structures):
            raise ValueError(
                f"the run to start from describes molecules by {first.molecules}, this one by {data.molecules}: choose "
                "the condition and the molecules=… that it has in its config.yaml."
            )
    seen = _seen_of_held_out(data, known)
    if seen:
        log.warning(
            "The run to start from was trained on %d perturbation(s) that %s holds out for test (%s): scores on them "
            "will not be those of unseen ones. Start from a run that was trained on the same split.",
            len(seen), source, ", ".join(seen[:5]),
        )  # fmt: skip


def start_from(
    network: nn.Module, vocabulary: Vocabulary, first: VirtualAssay, train: Sequence[str] | None = None
) -> None:
    """Copy the weights of `first` (its EMA) into `network`, and freeze those whose name matches none of `train`.

    train: patterns as of file names ("*film.*"); None: all weights are trained. Whatever the patterns, what `first`
    lacks is trained: weights of a new perturbation encoder, its rows where a perturbation is new, a null that was never
    dropped in. Raises ValueError naming what differs where the network but for its condition encoder is another, or
    batches or cell types are, or a pattern matches nothing.
    """
    own, start = network.state_dict(), first.network.state_dict()
    for weight, what in NUMBERED.items():
        names, known = getattr(vocabulary, what), getattr(first.vocabulary, what)
        if weight in own and weight in start and names != known:
            raise ValueError(
                f"the training images are of {what} {_first(names)}, and the run to start from knows {_first(known)}: "
                "each has a learned row. Train on the same ones, or begin with a run that is not told them "
                "(condition=morgan_controls, for batches)."
            )
    _require_same_weights(own, start)
    parameters = dict(network.named_parameters())
    idle = [pattern for pattern in train or () if not any(fnmatchcase(name, pattern) for name in parameters)]
    if idle:
        raise ValueError(f"start.train={idle} matches no weight. There are {_first(list(parameters), 12)}.")
    fresh = set(own) - set(start)
    if not trait(first.network.condition, "has_null"):
        fresh |= {name for name in own if name.startswith(NULLS)}
    for name in own.keys() & start.keys() - {ROWS}:
        own[name].copy_(start[name])
    if ROWS in own and ROWS in start:
        number = {name: row for row, name in enumerate(first.vocabulary.perturbations)}
        both = [(row, number[name]) for row, name in enumerate(vocabulary.perturbations) if name in number]
        for row, of_run in both:
            own[ROWS][row].copy_(start[ROWS][of_run])
        if len(both) < len(vocabulary.perturbations):
            fresh.add(ROWS)
    for name, parameter in parameters.items():
        parameter.requires_grad_(train is None or name in fresh or any(fnmatchcase(name, pattern) for pattern in train))
    trained = sum(parameter.numel() for parameter in parameters.values() if parameter.requires_grad)
    if not trained:
        raise ValueError(f"start.train={list(train or ())} leaves nothing to train: name weights, or null for all.")
    log.info(
        "starting from %s: %d weights are new, %.1f M of %.1f M parameters are trained",
        first.config.get("run"), len(fresh), trained / 1e6, sum(p.numel() for p in parameters.values()) / 1e6,
    )  # fmt: skip


def _require_same_weights(own: dict[str, Tensor], start: dict[str, Tensor]) -> None:
    """Raise ValueError where weights are missing outside the condition encoder, or of another shape."""
    lone = [name for name in sorted(own.keys() ^ start.keys()) if not name.startswith(ENCODER)]
    differ = [f"{name} in {'this network' if name in own else 'the run'} only" for name in lone]
    for name in (name for name in own if name in start):
        shape, of_run = tuple(own[name].shape), tuple(start[name].shape)
        if shape != of_run and (name != ROWS or shape[1:] != of_run[1:]):
            differ.append(f"{name} is {shape} in this network and {of_run} in the run")
    if differ:
        raise ValueError(
            f"the network is not that of the run to start from: {'; '.join(differ[:5])}"
            f"{f' … {len(differ)} weights in all' if len(differ) > 5 else ''}. Choose the network=… and the "
            "condition.width that it has in its config.yaml."
        )


def _seen_of_held_out(data: AssayData, known: Vocabulary) -> list[str]:
    """Name the perturbations that are in the test split alone, and in the training of the other run."""
    test = data.dataset.rows.where(pl.col("split") == "test").shared
    doses = test["dose_um"] if "dose_um" in test.columns else [None] * test.height
    names, labels = set(data.train.rows.shared["perturbation"].explode(empty_as_null=False)), set(known.perturbations)
    seen: set[str] = set()
    for perturbations, each in zip(test["perturbation"], doses, strict=True):
        for name, dose in zip(perturbations, [None] * len(perturbations) if each is None else each, strict=True):
            label = treatment_name([name], [dose]) if known.dose_in_label else name
            if name not in names and label in labels:
                seen.add(name)
    return sorted(seen)


def _first(names: Sequence[str], n: int = 5) -> str:
    return ", ".join(names[:n]) + (f", … ({len(names)} in all)" if len(names) > n else "")
