"""Illumination correction: the uneven light of a plate, estimated from all its fields together and divided out."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.transform import resize

GRID = 64  # points along each edge: light varies slowly, so this is all that is kept of a plate
LEAST_FIELDS = 10  # of fewer, the mean still shows the cells, and dividing by it would dim them
DARKEST = 2.0  # percentile that becomes 1


@dataclass(frozen=True)
class Illumination:
    """The standard correction of image-based profiling: g(x, y) = smooth(mean over the plate's fields), least value 1.

    Per plate and channel: the mean of the fields, a median over a window of `smoothing` times the field's edge, divided
    by its 2nd percentile with what lies below set to 1; a field becomes field / g, so nothing becomes brighter.
    Source: Singh et al. 2014, J. Microsc. 256; CellProfiler's CorrectIlluminationCalculate (regular, all images,
    median filter, rescaled).
    """

    smoothing: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.smoothing <= 1:
            raise ValueError(f"smoothing={self.smoothing}: give a part of the field's edge, above 0 and up to 1.")

    def estimate(self, mean: np.ndarray, fields: int, plate: str) -> np.ndarray:
        """Return g (c, GRID, GRID) ≥ 1 from the mean (c, h, w) of `fields` images of `plate`.

        Raises ValueError for too few fields, or a channel without light.
        """
        if fields < LEAST_FIELDS:
            raise ValueError(
                f"plate {plate} has {fields} fields to estimate its illumination on, and {LEAST_FIELDS} is the least: "
                "set cells.illumination=null, or name as one plate what was imaged in one run."
            )
        window = max(1, round(self.smoothing * GRID))
        coarse = np.asarray(resize(mean, (len(mean), GRID, GRID), order=1, anti_aliasing=True))
        around = ((0, 0), (window, window), (window, window))
        padded = np.pad(coarse, around, mode="reflect", reflect_type="odd")  # the slope goes on: edges are not levelled
        smooth = ndimage.median_filter(padded, (1, window, window))
        smooth = ndimage.gaussian_filter(smooth, (0, window / 4, window / 4))[:, window:-window, window:-window]
        darkest = np.percentile(smooth, DARKEST, axis=(1, 2), keepdims=True)
        dark = np.flatnonzero(darkest.ravel() <= 0)
        if len(dark):
            raise ValueError(
                f"channel(s) {dark.tolist()} of plate {plate} are black in parts of every field: is a stain missing? "
                "Leave the plate out (keep), or set cells.illumination=null."
            )
        return np.maximum(smooth / darkest, 1.0).astype(np.float32)


def enlarge(light: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return g (c, GRID, GRID) at the size of fields of `shape` (c, h, w)."""
    return np.asarray(resize(light, shape, order=1, mode="edge", anti_aliasing=False), np.float32)


def corrected(image: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Divide a field (c, h, w) by g of its size, in its own dtype."""
    even = image / light
    return even.round().astype(image.dtype) if image.dtype.kind in "ui" else even.astype(image.dtype)
