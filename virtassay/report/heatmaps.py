"""Feature vectors → pictures: heat maps with a line for each vector and a column for each feature.

Vectors are images of one pixel's width, (n, c, k, 1): n sets of k vectors of c features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
import polars as pl
from PIL import Image

MOST = 20_000  # vectors that centre and spread are estimated on
LEAST_LIMIT = 3.0  # noise of one s.d. stays pale


def are_vectors(image_shape: Sequence[int]) -> bool:
    """Say whether images of shape (…, c, h, w) are vectors: a pixel wide."""
    return image_shape[-1] == 1


class IndexedImages(Protocol):
    """What pictures need of a dataset: its index, its images by row, and `info` (name, channels, image_shape)."""

    @property
    def index(self) -> pl.DataFrame: ...
    @property
    def info(self) -> Any: ...
    def images(self, rows: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Shift:
    """(x − centre) / spread: how far vectors lie from the controls of their batch, in the controls' s.d."""

    centre: dict[str, np.ndarray]  # batch → (c,); "" for batches that the dataset lacks
    spread: np.ndarray  # (c,)

    @classmethod
    def of(cls, dataset: IndexedImages) -> "Shift":
        """Estimate both on the controls of a dataset; where a batch has none, on all its vectors.

        A feature that hardly varies among controls is divided by half its s.d. over all vectors, as in the evaluation.
        """
        rows = np.sort(np.random.default_rng(0).permutation(dataset.index.height)[:MOST])
        vectors = dataset.images(rows).mean((2, 3), dtype=np.float64)
        index = dataset.index[rows].select("batch", "is_control").with_row_index("_row")
        centre, deviations = {}, []
        for (batch,), part in index.group_by("batch", maintain_order=True):
            chosen = part.filter("is_control") if part["is_control"].any() else part
            own = vectors[chosen["_row"].to_numpy()]
            centre[str(batch)] = own.mean(0)
            deviations.append(own - own.mean(0))
        centre[""] = np.mean(list(centre.values()), 0)
        within = np.concatenate(deviations)
        spread = np.sqrt(np.square(within).sum(0) / max(1, len(within) - len(deviations)))
        spread = np.maximum(spread, 0.5 * vectors.std(0))
        return cls(centre, np.where(spread > 0, spread, 1.0))

    def __call__(self, vectors: np.ndarray, batch: pl.Series) -> np.ndarray:
        """Shift vectors (n, c, k, 1) of `batch` (n,)."""
        centre = np.stack([self.centre.get(name, self.centre[""]) for name in batch]).reshape(len(batch), -1, 1, 1)
        return (vectors - centre) / self.spread[:, None, None]

    def limits(self, shifted: np.ndarray) -> np.ndarray:
        """Return the colours' limits (c, 2), the same for all features: ± the 99th percentile, 3 s.d. or more."""
        most = max(LEAST_LIMIT, float(np.percentile(np.abs(shifted), 99)))
        return np.tile([-most, most], (len(self.spread), 1))


def heat_map(vectors: np.ndarray, limits: np.ndarray, width: int, line: int) -> np.ndarray:
    """Draw vectors (n, c, k, 1) as lines of `line` pixels: (n · k · line, about `width`, 3) uint8.

    Blue at the low limit (c, 2) of a feature, white in the middle, red at the high one. More features than pixels are
    averaged with their neighbours.
    """
    flat = vectors[..., 0].transpose(0, 2, 1).reshape(-1, vectors.shape[1])  # (n · k, c)
    low, high = limits.T
    colours = mpl.colormaps["RdBu_r"](np.clip((flat - low) / (high - low), 0, 1))[..., :3]
    pixels = (255 * colours).round().astype(np.uint8)
    across = max(1, width // pixels.shape[1])
    picture = pixels.repeat(line, 0).repeat(across, 1)
    if picture.shape[1] <= width or not len(picture):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, len(picture)), Image.Resampling.BOX))


def group_heads(features: Sequence[str], width: int) -> list[tuple[int, str]]:
    """Say at which pixel of a heat map each run of features with the same first word (Cells_…, Nuclei_…) begins.

    Runs too short for their word are left out.
    """
    step = max(1, width // len(features)) if len(features) <= width else width / len(features)
    words = [name.split("_")[0][:24] for name in features]
    heads: list[tuple[int, str]] = []
    free = 0.0
    for i, word in enumerate(words):
        if (i == 0 or word != words[i - 1]) and i * step >= free:
            heads.append((int(i * step), word))
            free = i * step + 8 * len(word) + 8
    return heads
