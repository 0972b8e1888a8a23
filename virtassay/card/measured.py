"""What is measured on the pixels, of at most a few thousand images: memory and time do not grow with the dataset."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tqdm.auto import tqdm

from virtassay.data.dataset.store import Dataset
from virtassay.evaluation.featurizers.features import Images, PixelStatistics, Texture, Vectors
from virtassay.report.heatmaps import are_vectors

Array = NDArray[np.float64]
IMAGES, FEWEST = 4000, 500
BYTES = 4 << 30  # read from the disk at most, unless FEWEST images are more
THINNED, CUT = 64, 128  # pixels: larger images are thinned out for brightness, and cut out for structure
CHUNK = 32  # images held at once: of more, memory is allocated and freed for longer than it is used
SEED = 0


@dataclass(frozen=True)
class Measured:
    """Some images of a dataset, by their row in its index, rising; `intensity` is in % of the largest stored value.

    `focus` is the slope β of the power spectrum, log P(r) = a + β log r: out of focus, fine structure is lost and β
    falls. It is compared between plates of one channel only. Source: Field 1987; Bray et al. 2012 (doi
    10.1177/1087057111420292), who judge the focus of screens by it. `saturated` is the share of pixels at the
    largest stored value. Vectors have none of the three.
    """

    rows: NDArray[np.int64]  # (n,)
    features: Array  # (n, d) PixelStatistics and Texture; of vectors, the vectors
    intensity: Array | None = None  # (n, c)
    focus: Array | None = None  # (n, c); None also where images are too small for texture
    saturated: Array | None = None  # (n, c)

    def position(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where rows of the index, each of them measured, lie in the arrays."""
        return np.searchsorted(self.rows, rows)


def draw(index: pl.DataFrame, image_bytes: int) -> NDArray[np.int64]:
    """Draw at most IMAGES rows at random, as many from each well as can be: no plate is left out for being small."""
    most = min(IMAGES, max(FEWEST, BYTES // image_bytes))
    order = pl.int_range(pl.len()).shuffle(SEED)
    ranked = index.select("plate", "well", _row=pl.int_range(pl.len()), _random=order)
    ranked = ranked.with_columns(_rank=pl.col("_random").rank("ordinal").over("plate", "well"))
    return np.sort(ranked.sort("_rank", "_random")["_row"].head(most).to_numpy().astype(np.int64))


def measure(dataset: Dataset, rows: NDArray[np.int64]) -> Measured:
    """Measure the images of some rows of the index, which rise; CHUNK of them are held at once."""
    parts: list[tuple[Array, ...]] = []
    chunks = range(0, len(rows), CHUNK)
    for start in tqdm(chunks, desc="measuring for the card", unit_scale=CHUNK, leave=False, disable=None):
        images = dataset.images(rows[start : start + CHUNK])
        parts.append((Vectors()(images),) if are_vectors(images.shape) else _pixels(images))
    return Measured(rows, *(np.concatenate(part) for part in zip(*parts, strict=True)))


def _pixels(images: Images) -> tuple[Array, ...]:
    height, width = images.shape[2:]
    step = math.ceil(max(height, width) / THINNED)
    thin = np.ascontiguousarray(images[:, :, ::step, ::step])
    top = np.iinfo(images.dtype).max
    statistics = PixelStatistics()(thin)
    intensity = 100 / top * thin.mean((2, 3), dtype=np.float64)
    saturated = (thin == top).mean((2, 3))
    y, x = max(0, height - CUT) // 2, max(0, width - CUT) // 2
    centre = np.ascontiguousarray(images[:, :, y : y + CUT, x : x + CUT])
    if min(centre.shape[2:]) < 8:  # too small for Texture
        return statistics, intensity, np.full_like(intensity, np.nan), saturated
    texture = Texture()(centre)
    return np.concatenate([statistics, texture], 1), intensity, _slope(texture, centre.shape), saturated


def _slope(texture: Array, shape: tuple[int, ...]) -> Array:
    """The slopes (n, c) of the log powers that Texture lists first, over the log of their annuli's radii."""
    n, channels = shape[:2]
    annuli = min(Texture().annuli, min(shape[2:]) // 2 - 1)
    power = texture[:, : channels * annuli].reshape(n, channels, annuli)
    if annuli < 2:
        return np.full((n, channels), np.nan)
    radius = np.log(np.arange(annuli) + 0.5)
    radius -= radius.mean()
    return (power @ radius) / (radius @ radius)
