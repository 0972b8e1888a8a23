"""Pictures of a run: generated beside real images at each validation."""

from pathlib import Path

import lightning
import numpy as np
import polars as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import Dataset
from virtassay.data.loading.controls import ControlPool
from virtassay.flow.sampler import Sampler
from virtassay.report.pictures import contact_sheet, display_limits


class SampleGrids(Callback):
    """Draw generated beside real images of a few treatments at each validation: folder/<images seen>.png.

    The treatments are the first control and the strata with most validation images; seeds are the same each time, so
    that pictures of different times compare. Must stand before the EMA in the list of callbacks, to draw with its
    weights.
    """

    def __init__(
        self,
        folder: Path,
        assay: VirtualAssay,
        images: Dataset,
        *,
        sampler: Sampler,
        minibatch_size: int,
        treatments: int = 5,
        columns: int = 8,
        bf16: bool = False,
    ) -> None:
        self.folder, self.assay, self.images = folder, assay, images
        self.sampler = sampler
        self.minibatch_size, self.bf16 = minibatch_size, bf16
        self.rows = _rows_to_draw(images.index, treatments, columns)
        self.controls = ControlPool.of(images)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        random_state = torch.get_rng_state()
        rows: list[tuple[str, np.ndarray]] = []
        for name, numbers in self.rows:
            index = self.images.index[numbers]
            real = self.images.images(numbers)
            seeds = np.arange(len(numbers))
            parts = self.assay.generate(
                index,
                seeds,
                self.sampler,
                channels=self.images.info.channels,
                controls=self.controls,
                bf16=self.bf16,
            )
            generated = np.concatenate([part for part, _ in parts])
            rows += [(f"{name}\nreal", real), (f"{name}\ngenerated", generated)]
        self.folder.mkdir(parents=True, exist_ok=True)
        seen = trainer.global_step * self.minibatch_size
        limits = display_limits(np.concatenate([images for name, images in rows if name.endswith("real")]))
        contact_sheet(
            self.folder / f"{seen:010d}.png",
            rows,
            self.images.info.channels,
            limits=limits,
            title=f"after {seen:,} images",
            per_channel=True,
        )
        torch.set_rng_state(random_state)


def _rows_to_draw(index: pl.DataFrame, treatments: int, columns: int) -> list[tuple[str, np.ndarray]]:
    """Choose the first control and the strata with most images, `columns` images of each."""
    numbered = index.with_row_index("_row")
    counts = numbered.group_by("is_control", "treatment").agg(pl.len(), pl.col("_row").head(columns))
    ranked = counts.sort(["is_control", "len", "treatment"], descending=[True, True, False])
    controls = ranked.filter(pl.col("is_control")).head(1)
    treated = ranked.filter(~pl.col("is_control")).head(treatments - 1)
    chosen = pl.concat([controls, treated]).select("treatment", "_row")
    return [(name, np.array(rows)) for name, rows in chosen.iter_rows()]
