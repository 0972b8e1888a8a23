"""One dataset folder as the pages see it: what can be chosen in it, which rows a choice keeps, and their pixels."""

import functools
import io
import re
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from virtassay.browse.query import Query
from virtassay.data.dataset.store import Dataset
from virtassay.report.heatmaps import are_vectors
from virtassay.report.pictures import composite, display_limits, grey_pixels
from virtassay.report.plates import ordered_treatments

SAMPLED, PIXELS = 256, 1 << 20  # images, and pixels of a channel, that contrast is measured on
DOSE = re.compile(r" (\S+) µM(?= \+ |$)")  # as schema.treatment writes it
FILTERS = ("plate", "well", "batch", "split")


@dataclass(frozen=True, eq=False)
class DatasetView:
    """An open folder. treatments: one row each, of rising dose, with name and dose (µM) as `written`: "3", "1 + 10"."""

    dataset: Dataset
    treatments: pl.DataFrame
    sample: np.ndarray  # some images, (n, c, h, w), thinned out

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Look through a dataset's index, and at a few hundred of its images. Raises ValueError for feature vectors."""
        if are_vectors(dataset.info.image_shape):
            raise ValueError(f"{dataset.root} holds feature vectors, which have no picture to look at; open images.")
        rows = np.linspace(0, len(dataset) - 1, min(SAMPLED, len(dataset))).astype(int)
        _, height, width = dataset.info.image_shape
        rows = rows[:: -(-len(rows) * height * width // (4 * PIXELS))]
        images = dataset.images(rows)
        step = max(1, round((images[:, 0].size / PIXELS) ** 0.5))
        treatments = ordered_treatments(dataset.rows.shared)
        written = pl.Series("written", [" + ".join(DOSE.findall(name)) for name in treatments["treatment"]], pl.String)
        return cls(dataset, treatments.with_columns(written), images[..., ::step, ::step])

    @property
    def is_generated(self) -> bool:
        """Whether every image is a model's."""
        return self.values("split") == ["generated"]

    @property
    def perturbations(self) -> list[str]:
        """Names of perturbations and combinations, controls first."""
        return self.treatments["name"].unique(maintain_order=True).to_list()

    @functools.lru_cache(maxsize=32)  # noqa: B019 (a folder lives as long as the server)
    def values(self, column: str) -> list[str]:
        """The values of a column of text, sorted; none where there is no such column."""
        rows = self.dataset.rows
        if column not in rows.columns:
            return []
        table = rows.shared if column in rows.shared.columns else rows.own
        return table[column].drop_nulls().unique().sort().to_list()

    def doses(self, perturbation: str) -> pl.DataFrame:
        """The treatments of a perturbation, of rising dose."""
        return self.treatments.filter(pl.col("name") == perturbation)

    def rows(self, query: Query) -> NDArray[np.int64]:
        """The rows of the index that a query keeps."""
        filters = {name: value for name in FILTERS if (value := getattr(query, name))}
        columns = self.dataset.rows.columns
        conditions = [pl.col(name) == value if name in columns else pl.lit(False) for name, value in filters.items()]
        chosen = self.treatments
        if query.perturbation:
            chosen = chosen.filter(pl.col("name") == query.perturbation)
        if query.dose:
            chosen = chosen.filter(pl.col("written") == query.dose)
        if chosen.height < self.treatments.height:
            conditions.append(pl.col("treatment").is_in(chosen["treatment"].implode()))
        return self.where(pl.all_horizontal(conditions) if conditions else pl.lit(True))

    def where(self, mask: pl.Expr) -> NDArray[np.int64]:
        """The rows of the index where a condition holds."""
        return self.dataset.rows.find(mask).astype(np.int64)

    def line(self, row: int) -> dict[str, Any]:
        """One row of the index."""
        return self.dataset.rows.take(np.array([row])).table.row(0, named=True)

    def describe(self, row: int) -> str:
        """Name one image: its treatment, place and id."""
        line = self.line(row)
        return f"{line['treatment']}, {line['batch']}, plate {line['plate']} well {line['well']}, {line['image_id']}"

    @functools.lru_cache(maxsize=256)  # noqa: B019
    def limits(self, low: float, high: float) -> NDArray[np.float64]:
        """Contrast limits (c, 2) between two percentiles of the folder's own pixels."""
        return display_limits(self.sample, low, high)

    def png(self, row: int, channel: str, limits: NDArray[np.float64], pixels: int) -> bytes:
        """Paint one image, the composite or one channel in grey, no larger than `pixels` (0: as it is)."""
        image, channels = self.dataset.images(np.array([row])), self.dataset.info.channels
        if channel:
            painted = grey_pixels(image, channels.index(channel), limits)[0]
        else:
            painted = composite(image, channels, limits)[0]
        picture, buffer = Image.fromarray(painted), io.BytesIO()
        if pixels:
            picture.thumbnail((pixels, pixels))
        picture.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
