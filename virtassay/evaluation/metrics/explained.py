"""Can an effect be explained by brightness, or by cell count? Of real and of generated images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from virtassay.evaluation.evaluation_set import NO_ROWS, Assignment, EvaluationSet, Rows, at_most, generator_for
from virtassay.evaluation.featurizers.cells import CellStatistics
from virtassay.evaluation.featurizers.features import Featurizer
from virtassay.evaluation.metrics.confounders import explained_by
from virtassay.evaluation.metrics.single_cells import one_a_treatment
from virtassay.evaluation.space import Array, FeatureSpace
from virtassay.report.heatmaps import are_vectors

TREATMENTS, BATCHES, IMAGES = 12, 4, 100  # of a treatment at most four batches, of those together 100 images a side
BRIGHTNESS, CELL_COUNT = "brightness", "cell count"
TEXT, NUMBERS = ("featurizer", "treatment", "side", "confounder"), ("all", "alone", "without", "null_sd")
SCHEMA: dict[str, type[pl.DataType]] = {c: pl.String if c in TEXT else pl.Float64 for c in (*TEXT, *NUMBERS)}


@dataclass(frozen=True)
class Contrast:
    """One treatment's images, real or generated, beside real controls of the same batches, and their confounders."""

    treatment: str
    side: str  # real, generated
    rows: Rows  # (n,)
    treated: NDArray[np.bool_]  # (n,)
    batch: NDArray[np.int64]  # (n,)
    well: NDArray[np.int64]  # (n,) each generated image is a well of its own
    confounders: dict[str, Array]  # name → (n, c)

    def less_controls(self, values: Array) -> Array:
        """(n, d) values less the mean of the controls of the batch, so that batches can stand together."""
        shifted = values.copy()
        for b in np.unique(self.batch):
            inside = self.batch == b
            shifted[inside] -= values[inside & ~self.treated].mean(0)
        return shifted


def contrasts_of(evaluation: EvaluationSet, draw: Assignment, featurizers: Sequence[Featurizer]) -> list[Contrast]:
    """Contrasts of at most twelve treatments, evenly over their names, with their confounders measured.

    Brightness: the mean intensity of each channel. Cell count: the nuclei, the first of CellStatistics, if a featurizer
    of that name is among `featurizers`. At most 100 images a side. None of vectors.
    """
    if are_vectors(evaluation.real.info.image_shape):
        return []
    counter = next((f for f in featurizers if f.name == CellStatistics.name), None)
    contrasts: list[Contrast] = []
    for owner in one_a_treatment(evaluation, TREATMENTS):
        for side in ("real", "generated"):
            contrast = _contrast(evaluation, draw, owner.treatment, side)
            if len(contrast.rows) == 0:
                continue
            images = evaluation.images(contrast.rows)
            confounders = {BRIGHTNESS: images.mean((2, 3), dtype=np.float64)}
            if counter is not None:
                confounders[CELL_COUNT] = np.asarray(counter(images), np.float64)[:, :1]
            contrasts.append(replace(contrast, confounders=confounders))
    return contrasts


def explained(contrasts: Sequence[Contrast], space: FeatureSpace) -> pl.DataFrame:
    """One row per contrast and confounder in one featurizer: the three AUCs of `confounders.explained_by`.

    Treated against control images, φ and confounder less the mean of the controls of the batch. Columns: featurizer,
    treatment, side, confounder; all (by φ), alone (by the confounder), without (by what of φ the confounder does
    not predict), 0.5 is chance; null_sd, how far chance goes. NaN where `explained_by` says so, as with one well.
    The controls are real: what sets generated images apart from any real one adds to their `all` and `without`.
    """
    rows: list[dict[str, object]] = []
    for contrast in contrasts:
        features = contrast.less_controls(space.of(contrast.rows))
        for name, values in contrast.confounders.items():
            auc = explained_by(features, contrast.less_controls(values), contrast.treated, contrast.well)
            rows.append(
                {
                    "featurizer": space.featurizer,
                    "treatment": contrast.treatment,
                    "side": contrast.side,
                    "confounder": name,
                    "all": auc.features.value,
                    "alone": auc.confounder.value,
                    "without": auc.features_without.value,
                    "null_sd": auc.features.null_sd,
                }
            )
    return pl.DataFrame(rows, SCHEMA)


def _contrast(evaluation: EvaluationSet, draw: Assignment, treatment: str, side: str) -> Contrast:
    """The rows of a contrast: as many of each of its batches that has both sides and controls."""
    parts: list[tuple[Rows, Rows]] = []
    for s in evaluation.strata:
        sides = draw[s.name]
        rows = sides.reference if side == "real" else sides.generated
        controls = np.concatenate([sides.control, sides.generated_control])
        if s.treatment == treatment and len(rows) and len(controls) and len(parts) < BATCHES:
            parts.append((rows, controls))
    each = IMAGES // max(1, len(parts))
    rng = generator_for(evaluation.seed, treatment, side, "explained")
    chosen = [(at_most(rows, each, rng), at_most(controls, each, rng)) for rows, controls in parts]
    rows = np.concatenate([NO_ROWS, *(x for pair in chosen for x in pair)])
    sizes = [len(x) for pair in chosen for x in pair]
    known = rows < len(evaluation.well)
    well = np.where(known, evaluation.well[np.where(known, rows, 0)], len(evaluation.well) + 1 + rows)
    return Contrast(
        treatment=treatment,
        side=side,
        rows=rows,
        treated=np.repeat(np.arange(len(sizes)) % 2 == 0, sizes),
        batch=np.repeat(np.arange(len(sizes)) // 2, sizes),
        well=well,
        confounders={},
    )
