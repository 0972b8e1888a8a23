"""What is measured on the pixels, of at most a few thousand images, and brought together by plate.

Memory and time do not grow with the dataset."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tqdm.auto import tqdm

from virtassay.card.design import by
from virtassay.data.dataset.store import Dataset
from virtassay.evaluation.featurizers.features import Images, PixelStatistics, Texture, Vectors
from virtassay.report.heatmaps import are_vectors

Array = NDArray[np.float64]
IMAGES, FEWEST = 4000, 500
BYTES = 4 << 30  # read from the disk at most, unless FEWEST images are more
THINNED, CUT = 64, 128  # pixels: larger images are thinned out for brightness, and cut out for structure
CHUNK = 32  # images held at once: of more, memory is allocated and freed for longer than it is used
SEED = 0
CHECKED = ("focus", "saturated", "debris")  # columns that the check of whole fields leaves in an index
MEASURES = ("intensity", "focus", "saturated")


@dataclass(frozen=True)
class PixelMeasurements:
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


def draw_rows(index: pl.DataFrame, image_bytes: int) -> NDArray[np.int64]:
    """Draw at most IMAGES rows at random, as many from each well as can be: no plate is left out for being small."""
    most = min(IMAGES, max(FEWEST, BYTES // image_bytes))
    order = pl.int_range(pl.len()).shuffle(SEED)
    ranked = index.select("plate", "well", _row=pl.int_range(pl.len()), _random=order)
    ranked = ranked.with_columns(_rank=pl.col("_random").rank("ordinal").over("plate", "well"))
    return np.sort(ranked.sort("_rank", "_random")["_row"].head(most).to_numpy().astype(np.int64))


def measure(dataset: Dataset, rows: NDArray[np.int64]) -> PixelMeasurements:
    """Measure the images of some rows of the index, which rise; CHUNK of them are held at once."""
    parts: list[tuple[Array, ...]] = []
    chunks = range(0, len(rows), CHUNK)
    for start in tqdm(chunks, desc="measuring for the card", unit_scale=CHUNK, leave=False, disable=None):
        images = dataset.images(rows[start : start + CHUNK])
        parts.append((Vectors()(images),) if are_vectors(images.shape) else _pixels(images))
    return PixelMeasurements(rows, *(np.concatenate(part) for part in zip(*parts, strict=True)))


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


def plates(index: pl.DataFrame, measured: PixelMeasurements, channels: tuple[str, ...]) -> list[dict[str, Any]]:
    """One line a plate, by batch: its counts, the means of what was measured, and of the columns CHECKED it has.

    intensity, focus, saturated (in %): {channel: mean over the control images}, over all where there are no controls;
    None for a plate of which no image was measured, and of vectors. checked: {column: mean over all its images}.
    """
    columns = [name for name in CHECKED if name in index.columns]
    checked = index.group_by("plate").agg(pl.col(columns).cast(pl.Float64, strict=False).mean()) if columns else None
    flags = {} if checked is None else {row.pop("plate"): row for row in checked.to_dicts()}
    means = _means(index, measured, channels)
    return [
        {**line, **means.get(line["plate"], dict.fromkeys(MEASURES)), "checked": flags.get(line["plate"])}
        for line in by(index, "batch", "plate").drop("plates", "batches").to_dicts()
    ]


def _means(index: pl.DataFrame, measured: PixelMeasurements, channels: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    if measured.intensity is None or measured.focus is None or measured.saturated is None:
        return {}
    plate, control = (index[name].gather(measured.rows).to_numpy() for name in ("plate", "is_control"))
    means: dict[str, dict[str, Any]] = {}
    for name in np.unique(plate):
        own = plate == name
        own = own & control if (own & control).any() else own
        values = (measured.intensity[own], measured.focus[own], 100 * measured.saturated[own])
        means[str(name)] = {
            what: {c: float(x) if np.isfinite(x) else None for c, x in zip(channels, value.mean(0), strict=True)}
            for what, value in zip(MEASURES, values, strict=True)
        }
    return means
