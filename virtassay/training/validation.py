"""What is generated at validations: pictures beside real ones, and the cheap part of the evaluation.

The evaluation asks what val/loss cannot tell: whether the images generated for held-out wells show the effects of their
treatments, each its own. Two cheap featurizers and no baselines: a curve to watch, not a verdict. The test split is
never touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning
import numpy as np
import polars as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from virtassay.assay import VirtualAssay
from virtassay.data.dataset.rows import Rows
from virtassay.data.dataset.store import Dataset
from virtassay.data.loading.controls import ControlPool
from virtassay.evaluation.baselines import model
from virtassay.evaluation.candidate import Candidate
from virtassay.evaluation.evaluation_set import EvaluationSet, Limits
from virtassay.evaluation.evaluation_set import Rows as RowNumbers
from virtassay.evaluation.featurizers import Features, Featurizer, PixelStatistics, Texture, Vectors
from virtassay.evaluation.judgement import MODEL, POOLED
from virtassay.evaluation.score import features_of, rows_needed, score
from virtassay.evaluation.strata import build_evaluation_set
from virtassay.flow.sampler import Sampler
from virtassay.generation.requests import image_seeds, like_dataset
from virtassay.report.pictures import contact_sheet, display_limits
from virtassay.schema import treatment

METRICS = ("effect_explained", "pds")
SPLIT = "val"


@dataclass(frozen=True)
class ModelInTraining:
    """The model in training, and how it is sampled. minibatch_size: of training, which counts the images seen by it."""

    assay: VirtualAssay
    sampler: Sampler
    minibatch_size: int
    bf16: bool = False

    def images(
        self, requests: pl.DataFrame, seeds: np.ndarray, channels: Sequence[str], controls: ControlPool | None
    ) -> np.ndarray:
        """Generate images (n, c, h, w) of these channels; the random numbers of training stay where they are."""
        with torch.random.fork_rng(devices=[]):
            parts = self.assay.generate(
                requests, seeds, self.sampler, channels=channels, controls=controls, bf16=self.bf16
            )
            return np.concatenate([images for images, _ in parts])

    def seen(self, trainer: lightning.Trainer) -> int:
        """Count the images that training has seen."""
        return trainer.global_step * self.minibatch_size


class SampleGrids(Callback):
    """Draw generated beside real images of a few treatments at each validation: folder/<images seen>.png.

    The treatments are the first control and the strata with most validation images; seeds are the same each time, so
    that pictures of different times compare. Must stand before the EMA in the list of callbacks, to draw with its
    weights.
    """

    def __init__(
        self, folder: Path, trained: ModelInTraining, images: Dataset, *, treatments: int = 5, columns: int = 8
    ) -> None:
        self.folder, self.trained, self.images = folder, trained, images
        self.rows = _rows_to_draw(images.index, treatments, columns)
        self.controls = ControlPool.of(images)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        channels, rows = self.images.info.channels, list[tuple[str, np.ndarray]]()
        for name, numbers in self.rows:
            requests, seeds = self.images.index[numbers], np.arange(len(numbers))
            rows.append((f"{name}\nreal", self.images.images(numbers)))
            rows.append((f"{name}\ngenerated", self.trained.images(requests, seeds, channels, self.controls)))
        self.folder.mkdir(parents=True, exist_ok=True)
        seen = self.trained.seen(trainer)
        contact_sheet(
            self.folder / f"{seen:010d}.png",
            rows,
            channels,
            limits=display_limits(np.concatenate([real for _, real in rows[::2]])),
            title=f"after {seen:,} images",
            per_channel=True,
        )


class Assess(Callback):
    """Log val/effect_explained_… and val/pds_… at the first validation after each `every_images` images.

    `per_stratum` images are generated for each of the `most_strata` validation strata (batch, treatment) with most
    images, with the same seeds each time, and held against the real ones. prefix: of the names that are logged. NaN:
    could not be measured (strata of one image; a single treatment has none to be told from). Has no parameters and no
    state, and leaves no trace in the weights. Must stand before the EMA in the list of callbacks, to generate with its
    weights. Raises ValueError where there are no validation images to compare with.
    """

    def __init__(
        self,
        trained: ModelInTraining,
        dataset: Dataset,
        *,
        every_images: int,
        per_stratum: int = 4,
        most_strata: int = 64,
        prefix: str = "val/",
    ) -> None:
        if every_images < 1:
            raise ValueError(f"fit.assess_every_images={every_images}: give images, or 0 to leave it out.")
        self.trained, self.every_images, self.prefix = trained, every_images, prefix
        self.done = 0
        real = _held_out(dataset, most_strata)
        self.controls = ControlPool.of(real) if trained.assay.needs_controls else None
        self.requests = like_dataset(real, SPLIT, per_stratum).filter(~pl.col("is_control"))
        self.evaluation = _evaluation_set(real, self.requests)
        self.candidate = Candidate(self.evaluation, [model(self.evaluation, 0)], resamples=1, is_model=True)
        rows = rows_needed([self.candidate])
        vectors = real.info.dtype == "float32"
        self.featurizers: Sequence[Featurizer] = (Vectors(),) if vectors else (PixelStatistics(), Texture())
        real_rows = rows[rows < len(real)]
        self.real_features = {f.name: features_of(f, real_rows, self.evaluation) for f in self.featurizers}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.done = self.trained.seen(trainer) // self.every_images  # of a resumed run

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        due = self.trained.seen(trainer) // self.every_images
        if trainer.sanity_checking or due == self.done:
            return
        self.done = due
        for name, value in self.scores().items():
            pl_module.log(f"{self.prefix}{name}", value, rank_zero_only=True)

    def scores(self) -> dict[str, float]:
        """Generate and measure: {"effect_explained_texture": …}."""
        seeds = image_seeds(self.requests["image_id"], 0)
        images = self.trained.images(self.requests, seeds, self.evaluation.real.info.channels, self.controls)
        generated = replace(self.evaluation.generated, maps=(images,))
        candidate = replace(self.candidate, evaluation=replace(self.evaluation, generated=generated))
        logged: dict[str, float] = {}
        for featurizer, _, measured in score({MODEL: candidate}, self.featurizers, self._features):
            scores = measured[MODEL].scores
            for metric in METRICS:
                known = (metric, POOLED) in scores
                logged[f"{metric}_{featurizer.name}"] = scores[metric, POOLED].value if known else float("nan")
        return logged

    def _features(self, featurizer: Featurizer, rows: RowNumbers, evaluation: EvaluationSet) -> Features:
        """Those of real images, which come first, are known."""
        real = self.real_features[featurizer.name]
        return np.concatenate([real, features_of(featurizer, rows[len(real) :], evaluation)])


def _held_out(dataset: Dataset, most: int) -> Dataset:
    """Training images, and of the validation split the controls and the strata with most images; nothing of test."""
    own = pl.col("split") == SPLIT
    counts = dataset.index.filter(own & ~pl.col("is_control")).group_by("batch", "treatment").len()
    chosen = counts.sort("len", "batch", "treatment", descending=[True, False, False]).head(most)
    keys = chosen.select(pl.struct("batch", "treatment").alias("key"))["key"]
    among = pl.struct("batch", "treatment").is_in(keys.implode())
    return dataset.where((pl.col("split") == "train") | (own & (pl.col("is_control") | among)))


def _evaluation_set(real: Dataset, requests: pl.DataFrame) -> EvaluationSet:
    """Lay out the comparison once; the images come with each assessment."""
    place = pl.int_range(pl.len(), dtype=pl.Int64)
    index = requests.with_columns(shard=pl.lit(0, pl.Int64), offset=place, treatment=treatment(requests))
    images = np.zeros((len(requests), *real.info.image_shape), real.info.dtype)
    generated = Dataset(Path("generated"), real.info, Rows.of(index), (images,))
    limits = Limits(split=SPLIT, repeats=1, max_images=200, max_controls=60, max_training=150)
    return build_evaluation_set(real, generated, limits)


def _rows_to_draw(index: pl.DataFrame, treatments: int, columns: int) -> list[tuple[str, np.ndarray]]:
    """Choose the first control and the strata with most images, `columns` images of each."""
    numbered = index.with_row_index("_row")
    counts = numbered.group_by("is_control", "treatment").agg(pl.len(), pl.col("_row").head(columns))
    ranked = counts.sort(["is_control", "len", "treatment"], descending=[True, True, False])
    controls = ranked.filter(pl.col("is_control")).head(1)
    treated = ranked.filter(~pl.col("is_control")).head(treatments - 1)
    chosen = pl.concat([controls, treated]).select("treatment", "_row")
    return [(name, np.array(rows)) for name, rows in chosen.iter_rows()]
