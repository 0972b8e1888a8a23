"""The vocabulary of a run: names ↔ numbers, made from the training images and stored beside the weights."""

import json
import logging
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from virtassay.data.dataset.rows import Rows
from virtassay.data.dataset.store import DatasetInfo
from virtassay.data.loading.normalisation import Normalisation
from virtassay.data.molecules.descriptors import Component, Descriptor, InvalidSmiles, canonical_column
from virtassay.schema import NULL, Condition, treatment_name

log = logging.getLogger(__name__)


class UnknownToModel(ValueError):
    """A request for something the model cannot know; the message names it and what would be needed."""


@dataclass(frozen=True)
class ConditionTable:
    """The conditions of n images: m different ones as arrays, and which each image has; k is the largest combination.

    `condition(rows)` gathers a Condition.
    """

    perturbation: np.ndarray  # (m, k) rows of the vocabulary; n_perturbations where only the structure is known
    structure: np.ndarray  # (m, k) rows of `structures`
    structures: np.ndarray  # (l, d) uint8 (fingerprints) or float32; row 0 is "no structure"
    log_dose: np.ndarray  # (m, k), NaN where no dose was given
    batch: np.ndarray  # (m,)
    cell_type: np.ndarray  # (m,)
    number: np.ndarray  # (n,) row of the arrays above

    def __len__(self) -> int:
        return len(self.number)

    def condition(self, rows: np.ndarray | slice) -> Condition:
        """Gather the conditions of `rows` as tensors."""
        rows = self.number[rows]
        return Condition(
            perturbation=torch.from_numpy(self.perturbation[rows]),
            structure=torch.from_numpy(self.structures[self.structure[rows]]).float(),
            log_dose=torch.from_numpy(self.log_dose[rows]),
            batch=torch.from_numpy(self.batch[rows]),
            cell_type=torch.from_numpy(self.cell_type[rows]),
        )


@dataclass(frozen=True)
class Vocabulary:
    """Names of what the model was trained on. Doses enter as (log10 µM − dose_centre) / dose_spread.

    `dose_in_label`: the label of a perturbation is compound × dose ("taxol 0.3 µM"), as in Jones et al. 2026.
    `smiles[i]` is the canonical SMILES of perturbation i and `genes[i]` its gene, or None (control, not given).
    `dose_ranges[i]` are its lowest and highest dose in training, in µM, or None (not given).
    """

    perturbations: tuple[str, ...]
    smiles: tuple[str | None, ...]
    genes: tuple[str | None, ...]
    controls: tuple[str, ...]
    batches: tuple[str, ...]
    cell_types: tuple[str, ...]
    channels: tuple[str, ...]
    image_shape: tuple[int, int, int]  # (c, h, w)
    dtype: str
    pixel_size_um: float | None
    scaling: dict[str, Any] | None
    normalisation: Normalisation
    dose_centre: float
    dose_spread: float
    dose_in_label: bool
    dose_ranges: tuple[tuple[float, float] | None, ...]

    @classmethod
    def from_index(
        cls, rows: Rows, *, info: DatasetInfo, normalisation: Normalisation, dose_in_label: bool
    ) -> "Vocabulary":
        """Collect the names in the (training) rows of an index; `info` describes its folder."""
        index = _canonical(rows, "training split")
        labels: dict[str, Component] = {}
        controls: set[str] = set()
        ranges: dict[str, tuple[float, float]] = {}
        doses: list[tuple[float, int]] = []  # dose, images that have it
        for (is_control, components), images in zip(_treatments(index), rows.counts, strict=True):
            for component, dose in components:
                label = _label(component.name, dose, dose_in_label)
                if dose:
                    doses.append((dose, images))
                if is_control:
                    controls.add(label)
                    continue
                labels[label] = _completed(labels.get(label, component), component)
                if dose:
                    low, high = ranges.get(label, (dose, dose))
                    ranges[label] = min(low, dose), max(high, dose)
        # Controls are a perturbation of their own: their solvent's structure would say that they are one more compound
        names = sorted(labels.keys() | controls)
        known = [Component(name) if name in controls else labels[name] for name in names]
        values, images = np.array(doses or [(1.0, 1)]).T
        logs = np.repeat(np.log10(values), images.astype(np.int64))
        return cls(
            perturbations=tuple(names),
            smiles=tuple(component.smiles for component in known),
            genes=tuple(component.gene for component in known),
            controls=tuple(sorted(controls)),
            batches=tuple(index["batch"].unique().sort()),
            cell_types=tuple(index["cell_type"].drop_nulls().unique().sort()) if "cell_type" in index.columns else (),
            channels=tuple(info.channels),
            image_shape=info.image_shape,
            dtype=info.dtype,
            pixel_size_um=info.pixel_size_um,
            scaling=info.scaling,
            normalisation=normalisation,
            dose_centre=float(logs.mean()),
            dose_spread=max(float(logs.std()), 0.5),  # one dose only: half a decade, so that others stay apart
            dose_in_label=dose_in_label,
            dose_ranges=tuple(ranges.get(name) for name in names),
        )

    def seen_dose(self, name: str, dose_um: float | None) -> float | None:
        """Return the dose nearest to `dose_um` (None: the highest) among those of a perturbation in training, in µM.

        What was asked for, where training gave no doses.
        """
        known = self.dose_ranges[self._number[name]]
        if known is None:
            return dose_um
        low, high = known
        return high if dose_um is None else min(max(dose_um, low), high)

    def encode(self, rows: Rows, molecules: Descriptor | None, source: str = "index") -> ConditionTable:
        """Turn the names in an index into numbers; unknown batches become the null.

        Raises UnknownToModel naming each perturbation, dose or cell type that the model cannot know.
        """
        index = _canonical(rows, source)
        shape = (index.height, max(index["perturbation"].list.len().to_list(), default=1))
        perturbation = np.full(shape, NULL)
        structure = np.zeros(shape, np.int64)
        log_dose = np.full(shape, np.nan, np.float32)
        reads = cache(molecules.reads) if molecules is not None else lambda component: None
        place: dict[Hashable, int] = {}  # what is read of a component → its row of `structures`
        unknown: dict[str, int] = {}
        for i, (is_control, components) in enumerate(_treatments(index)):
            for j, (component, dose) in enumerate(components):
                label, number, component = self._lookup(component, dose)
                read = None if is_control or label in self.controls else reads(component)
                if number is None and read is None:
                    unknown.setdefault(label, int(np.argmax(rows.number == i)))
                    continue
                perturbation[i, j] = len(self.perturbations) if number is None else number
                if read is not None:
                    structure[i, j] = place.setdefault(read, len(place) + 1)
                if dose:
                    log_dose[i, j] = (np.log10(dose) - self.dose_centre) / self.dose_spread
        if unknown:
            raise UnknownToModel(self._unknown_message(unknown, molecules, source))
        drawn = np.zeros((0, 0), np.uint8) if molecules is None else molecules(list(place))
        return ConditionTable(
            perturbation=perturbation,
            structure=structure,
            structures=np.concatenate([np.zeros((1, drawn.shape[1]), drawn.dtype), drawn]),
            log_dose=log_dose,
            batch=self._batches(index, source),
            cell_type=self._cell_types(index, source),
            number=rows.number,
        )

    def stain(self, channels: Sequence[str]) -> np.ndarray:
        """Return the rows of the named channels, (c,); raises UnknownToModel naming those that the model has not."""
        unknown = [name for name in channels if name not in self.channels]
        if unknown or not channels or len(set(channels)) < len(channels):
            raise UnknownToModel(
                f"channels={list(channels)} shall name some of the model's channels, each once: it knows "
                f"{list(self.channels)}{f', not {unknown}' if unknown else ''}."
            )
        return np.array([self.channels.index(name) for name in channels])

    def _lookup(self, component: Component, dose: float | None) -> tuple[str, int | None, Component]:
        """Return a component's label, its number (None: not in training), and what training knows of it too."""
        label = _label(component.name, dose, self.dose_in_label)
        number = self._number.get(label)
        if number is None and not self.dose_in_label and component.smiles in self._by_smiles:
            number = self._by_smiles[component.smiles]  # the same molecule under another name
            label = self.perturbations[number]
            component = component._replace(name=label)
        if number is not None:
            component = _completed(component, Component("", self.smiles[number], self.genes[number]))
        return label, number, component

    @cached_property
    def _number(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.perturbations)}

    @cached_property
    def _by_smiles(self) -> dict[str | None, int]:
        return {smiles: i for i, smiles in enumerate(self.smiles) if smiles is not None}

    def _unknown_message(self, unknown: dict[str, int], molecules: Descriptor | None, source: str) -> str:
        shown = ", ".join(f"{name!r} (row {row})" for name, row in list(unknown.items())[:5])
        cure = (
            "This model knows perturbations by their label alone (condition=onehot); a model trained with "
            "condition=morgan could generate unseen compounds from their SMILES."
            if molecules is None
            else f"What this model was not trained on it must be able to describe: give {molecules.needs}."
        )
        names = ", ".join(self.perturbations[:12]) + (", …" if len(self.perturbations) > 12 else "")
        return f"{source}: unknown to the model: {shown}. {cure} It was trained on: {names}."

    def _batches(self, index: pl.DataFrame, source: str) -> np.ndarray:
        number = {name: i for i, name in enumerate(self.batches)}
        new = sorted(set(index["batch"]) - set(number))
        if new:
            log.warning(
                "%s: batch(es) %s were not in training: the learned null batch stands for them", source, new[:5]
            )
        return np.array([number.get(name, NULL) for name in index["batch"]], np.int64)

    def _cell_types(self, index: pl.DataFrame, source: str) -> np.ndarray:
        names = index["cell_type"] if "cell_type" in index.columns else [None] * index.height
        number = {name: i for i, name in enumerate(self.cell_types)}
        new = sorted({name for name in names if name is not None} - set(number))
        if new:
            raise UnknownToModel(f"{source}: cell type(s) {new[:5]} unknown to the model; it knows {self.cell_types}.")
        return np.array([NULL if name is None else number[name] for name in names], np.int64)

    def as_json(self) -> dict[str, Any]:
        """Return what vocabulary.json holds."""
        return asdict(self)

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read vocabulary.json."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored["dose_ranges"] = [None if ends is None else tuple(ends) for ends in stored["dose_ranges"]]
        scale = stored.pop("normalisation")
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
        normalisation = Normalisation(tuple(scale["mean"]), tuple(scale["spread"]))
        return cls(**fields, normalisation=normalisation)


def _canonical(rows: Rows, source: str) -> pl.DataFrame:
    """Return what the rows share, with each molecule written one way. Raises InvalidSmiles naming rows."""
    if "smiles" not in rows.columns:
        return rows.shared
    try:
        return rows.shared.with_columns(canonical_column(rows.shared["smiles"], source))
    except InvalidSmiles:
        canonical_column(rows.select("smiles")["smiles"], source)  # which rows of the index they are
        raise


def _label(name: str, dose: float | None, dose_in_label: bool) -> str:
    return treatment_name([name], [dose]) if dose_in_label else name


def _completed(component: Component, other: Component) -> Component:
    """Fill in what a component lacks from what another index said of the same one."""
    return component._replace(smiles=component.smiles or other.smiles, gene=component.gene or other.gene)


def _treatments(index: pl.DataFrame) -> Iterator[tuple[bool, list[tuple[Component, float | None]]]]:
    """Iterate over the rows: is it a control, and its components with their doses; absent columns count as null."""
    columns = [name for name in ("smiles", "gene", "dose_um") if name in index.columns]
    for row in index.select("perturbation", "is_control", *columns).iter_rows(named=True):
        nothing = [None] * len(row["perturbation"])
        smiles, genes, doses = (row.get(name, nothing) for name in ("smiles", "gene", "dose_um"))
        components = map(Component, row["perturbation"], smiles, genes)
        yield row["is_control"], list(zip(components, doses, strict=True))
