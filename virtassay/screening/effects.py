"""Predicted effects: the same cells, drawn from the same seeds, untreated and treated, as features.

In batch b and from seed k, e_bk = φ(x | treatment, b, k) − φ(x | control, b, k): what is random about the cells is on
both sides, and cancels. The effect is the mean over seeds and over batches, Σ_b P(b) E[e | b], each batch weighing the
same: what the treatment would do whatever the batch (back-door adjustment; Pearl 1995, doi 10.1093/biomet/82.4.669).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from virtassay.assay import VirtualAssay
from virtassay.data.dataset.rows import Rows
from virtassay.data.loading.controls import ControlPool
from virtassay.evaluation.featurizers.features import Featurizer
from virtassay.flow.sampler import Sampler
from virtassay.generation.requests import image_seeds
from virtassay.schema import validate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Context:
    """Where a compound is tried: on cells in a state (a perturbation that they already have, at a dose), of a type.

    dose_um: None takes the highest dose of the state in training.
    """

    state: str | None = None
    dose_um: float | None = None
    cell_type: str | None = None


@dataclass(frozen=True)
class TreatmentQuery:
    """One treatment: its perturbations with their SMILES and doses in µM (None: not given), and the cell type."""

    perturbation: tuple[str, ...]
    smiles: tuple[str | None, ...]
    dose_um: tuple[float | None, ...]
    cell_type: str | None = None


@dataclass(frozen=True)
class EffectPredictor:
    """A model, how it is sampled and what its images are reduced to.

    batches: of training, over which effects are averaged. seeds: images of each treatment and batch. controls: where
    the model begins at control images, or is shown some.
    """

    assay: VirtualAssay
    featurizer: Featurizer
    batches: tuple[str, ...]
    seeds: int
    sampler: Sampler
    seed: int
    minibatch_size: int
    controls: ControlPool | None = None
    bf16: bool = False

    @property
    def units(self) -> list[tuple[str, int]]:
        """(batch, seed) of each image of a treatment, batch by batch."""
        return [(batch, k) for batch in self.batches for k in range(self.seeds)]

    @cached_property
    def unit_seeds(self) -> NDArray[np.int64]:
        """The seed of each unit, the same for all treatments, so that they meet the same cells.

        Instruments of other sizes draw others: who a cheap stage chose by luck is not confirmed by the same luck.
        """
        names = [f"{self.seeds}×{self.sampler.n_steps}:{batch}:{k}" for batch, k in self.units]
        return image_seeds(pl.Series(names, dtype=pl.String), self.seed)

    def features(self, queries: Sequence[TreatmentQuery]) -> Array:
        """φ of the images of each treatment, (queries, units, d)."""
        parts = [self.featurizer(images) for images in self._generated(queries, np.arange(len(self.units)))]
        return np.concatenate(parts, dtype=np.float64).reshape(len(queries), len(self.units), -1)

    def images(self, queries: Sequence[TreatmentQuery], units: NDArray[np.int64]) -> NDArray[np.generic]:
        """The images of these units of each treatment: (queries, units, c, h, w)."""
        images = np.concatenate(list(self._generated(queries, units)))
        return images.reshape(len(queries), len(units), *images.shape[1:])

    def untreated(self, cell_type: str | None = None) -> Array:
        """φ of the same units under the control, (units, d)."""
        name = self.assay.vocabulary.controls[0]
        return self.features([TreatmentQuery((name,), (None,), (None,), cell_type)])[0]

    @torch.inference_mode()
    def directions(self, queries: Sequence[TreatmentQuery]) -> Array:
        """Where each treatment moves the network's condition from the control's, v(treatment) − v(control).

        (queries, w). What the condition says of batch and cell type is added to both, and cancels. None depends on the
        other queries.
        """
        control = self.assay.vocabulary.controls[0]
        alone = [replace(query, cell_type=None) for query in (TreatmentQuery((control,), (None,), (None,)), *queries)]
        requests = Rows.of(self.requests(alone, np.zeros(1, np.int64)))
        table = self.assay.vocabulary.encode(requests, self.assay.molecules)
        encoder: Any = self.assay.network.condition
        rows = (table.condition(slice(i, i + 1)).to(self.assay.device) for i in range(len(table)))
        vectors = torch.cat([encoder(row) for row in rows]).double().cpu().numpy()  # one by one: to the bit the same
        return vectors[1:] - vectors[0]

    def _generated(self, queries: Sequence[TreatmentQuery], units: NDArray[np.int64]) -> Iterator[NDArray[np.generic]]:
        minibatches = self.assay.generate(
            self.requests(queries, units),
            np.tile(self.unit_seeds[units], len(queries)),
            self.sampler,
            minibatch_size=self.minibatch_size,
            controls=self.controls,
            bf16=self.bf16,
        )
        return (images for images, _ in minibatches)

    def requests(self, queries: Sequence[TreatmentQuery], chosen: NDArray[np.int64]) -> pl.DataFrame:
        """The index, in normal form, of the images of these treatments in the chosen units."""
        controls = set(self.assay.vocabulary.controls)
        units = pl.DataFrame({"batch": [self.units[i][0] for i in chosen.tolist()]})
        table = pl.DataFrame(
            {
                "perturbation": [list(query.perturbation) for query in queries],
                "smiles": [list(query.smiles) for query in queries],
                "dose_um": [list(query.dose_um) for query in queries],
                "cell_type": [query.cell_type for query in queries],
                "is_control": [set(query.perturbation) <= controls for query in queries],
            },
            schema_overrides={"smiles": pl.List(pl.String), "dose_um": pl.List(pl.Float64), "cell_type": pl.String},
        )
        table = table.join(units, how="cross", maintain_order="left_right").with_row_index("n")
        table = table.with_columns(
            image_id=pl.format("s{}", "n"),
            plate=pl.lit("screen"),
            well=pl.format("{}", pl.col("n") // units.height),
            split=pl.lit("generated"),
        )
        return validate(table.drop("n"), "screen")


@dataclass(frozen=True)
class EffectScale:
    """The units of effects: the s.d. of each feature among untreated cells of a batch, (d,).

    A feature that hardly varies among them is measured by a tenth of its range over all treatments instead, one that is
    constant by 1: neither vanishes, neither takes over.
    """

    values: Array

    @classmethod
    def of(cls, untreated: Array, treated: Array, n_batches: int) -> "EffectScale":
        """s² = Σ_b Σ_u (φ_bu − φ̄_b)² / (units − batches), pooled over batches.

        untreated: (units, d), batch by batch. treated: (t, units, d), of treatments that training has seen.
        """
        within = untreated.reshape(n_batches, -1, untreated.shape[1])
        freedom = max(1, len(untreated) - n_batches)
        sd = np.sqrt(np.square(within - within.mean(1, keepdims=True)).sum((0, 1)) / freedom)
        every = np.concatenate([untreated, treated.reshape(-1, untreated.shape[1])])
        scale = np.maximum(sd, 0.1 * np.ptp(every, 0))
        constant = scale <= 1e-9 * np.maximum(1e-9, np.abs(every).max(0))
        return cls(np.where(constant, 1.0, scale))

    def effects(self, treated: Array, untreated: Array) -> Array:
        """e of each unit, in s.d. of untreated cells: (…, units, d)."""
        return (treated - untreated) / self.values
