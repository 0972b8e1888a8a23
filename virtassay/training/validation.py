"""The cheap part of the evaluation during training: are effects learned, and are they each treatment's own?

It asks what val/loss cannot tell: whether the images generated for held-out wells show the effects of their treatments.
Two cheap featurizers and no baselines: a curve to watch, not a verdict. The test split is never touched.
"""

from collections.abc import Sequence
from dataclasses import replace
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
from virtassay.evaluation import strata
from virtassay.evaluation.baselines import model
from virtassay.evaluation.evaluation_set import World
from virtassay.evaluation.featurizers.features import Featurizer, PixelStatistics, Texture, Vectors
from virtassay.evaluation.judgement import MODEL, POOLED
from virtassay.evaluation.measure.measure import measure
from virtassay.evaluation.measure.needed import features_of, rows_needed
from virtassay.evaluation.measure.space import space
from virtassay.flow.sampler import Sampler
from virtassay.generation.requests import like_dataset
from virtassay.generation.write import image_seeds
from virtassay.schema import treatment

METRICS = ("effect_explained", "pds")
SPLIT = "val"


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
        assay: VirtualAssay,
        dataset: Dataset,
        *,
        sampler: Sampler,
        minibatch_size: int,
        every_images: int,
        per_stratum: int = 4,
        most_strata: int = 64,
        prefix: str = "val/",
        bf16: bool = False,
    ) -> None:
        if every_images < 1:
            raise ValueError(f"fit.assess_every_images={every_images}: give images, or 0 to leave it out.")
        self.assay, self.sampler, self.bf16 = assay, sampler, bf16
        self.minibatch_size, self.every_images, self.prefix = minibatch_size, every_images, prefix
        self.done = 0
        real = _held_out(dataset, most_strata)
        self.controls = ControlPool.of(real) if assay.needs_controls else None
        self.requests = like_dataset(real, SPLIT, per_stratum).filter(~pl.col("is_control"))
        self.world = _world(real, self.requests)
        self.draw = model(self.world, 0)
        rows = rows_needed(self.world, {MODEL: [self.draw]})
        self.real_rows, self.made_rows = rows[rows < len(real)], rows[rows >= len(real)]
        vectors = real.info.dtype == "float32"
        self.featurizers: Sequence[Featurizer] = (Vectors(),) if vectors else (PixelStatistics(), Texture())
        self.real_features = [features_of(f, self.real_rows, self.world) for f in self.featurizers]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.done = trainer.global_step * self.minibatch_size // self.every_images  # of a resumed run

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        due = trainer.global_step * self.minibatch_size // self.every_images
        if trainer.sanity_checking or due == self.done:
            return
        self.done = due
        for name, value in self.scores().items():
            pl_module.log(f"{self.prefix}{name}", value, rank_zero_only=True)

    def scores(self) -> dict[str, float]:
        """Generate and measure: {"effect_explained_texture": …}; the random numbers of training stay where they are."""
        with torch.random.fork_rng(devices=[]):
            parts = self.assay.generate(
                self.requests,
                image_seeds(self.requests["image_id"], 0),
                self.sampler,
                channels=self.world.real.info.channels,
                controls=self.controls,
                bf16=self.bf16,
            )
            images = np.concatenate([part for part, _ in parts])
        world = replace(self.world, generated=replace(self.world.generated, maps=(images,)))
        values: dict[str, float] = {}
        for featurizer, real in zip(self.featurizers, self.real_features, strict=True):
            features = np.concatenate([real, features_of(featurizer, self.made_rows, world)])
            rows = np.concatenate([self.real_rows, self.made_rows])
            feature_space = space(featurizer.name, world, rows, features)
            scores = measure(MODEL, [self.draw], world, feature_space, 1, []).scores
            for metric in METRICS:
                known = (metric, POOLED) in scores
                values[f"{metric}_{featurizer.name}"] = scores[metric, POOLED].value if known else float("nan")
        return values


def _held_out(dataset: Dataset, most: int) -> Dataset:
    """Training images, and of the validation split the controls and the strata with most images; nothing of test."""
    own = pl.col("split") == SPLIT
    counts = dataset.index.filter(own & ~pl.col("is_control")).group_by("batch", "treatment").len()
    chosen = counts.sort("len", "batch", "treatment", descending=[True, False, False]).head(most)
    keys = chosen.select(pl.struct("batch", "treatment").alias("key"))["key"]
    among = pl.struct("batch", "treatment").is_in(keys.implode())
    return dataset.where((pl.col("split") == "train") | (own & (pl.col("is_control") | among)))


def _world(real: Dataset, requests: pl.DataFrame) -> World:
    """Lay out the comparison once; the images come with each assessment."""
    place = pl.int_range(pl.len(), dtype=pl.Int64)
    index = requests.with_columns(shard=pl.lit(0, pl.Int64), offset=place, treatment=treatment(requests))
    images = np.zeros((len(requests), *real.info.image_shape), real.info.dtype)
    return strata.build(
        real,
        Dataset(Path("generated"), real.info, Rows.of(index), (images,)),
        split=SPLIT,
        seed=0,
        draws=1,
        max_images=200,
        max_controls=60,
        max_training=150,
        max_memory=0,
    )
