"""Focus, saturation and debris of whole fields: what is wrong with a field is said, and nothing is thrown away."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

LOWEST = 2  # cycles over the field: what is slower is uneven light
HIGHEST = 8  # pixels in the shortest wave of the slope: what is faster is noise
LEAST_SPREAD = 0.05  # of the slope: a plate whose fields are all alike flags nothing for a hair's breadth
BRIGHTEST = 99.9  # percentile that counts as a field's brightest structures


@dataclass(frozen=True)
class FieldMeasures:
    """What is measured of each channel of one field, (c,)."""

    slope: np.ndarray  # of log power over log frequency: steeper, more negative, when blurred
    saturated: np.ndarray  # share of the pixels at the image's largest value
    brightest: np.ndarray  # percentile BRIGHTEST


@dataclass(frozen=True)
class TypicalField:
    """What is usual on one plate, (c,): the median and robust s.d. of the slopes, the median of `brightest`."""

    slope: np.ndarray
    spread: np.ndarray
    brightest: np.ndarray


@dataclass(frozen=True)
class Quality:
    """Flag the fields that a person should look at.

    Out of focus: the slope of the log-log power spectrum is `blurred_sd` robust s.d. below the plate's median.
    Saturated: more than `saturated` of the pixels are at the image's largest value. Debris: more than `debris` of the
    pixels are `debris_times` brighter than the brightest structures usual on the plate (fibres, dust, dead cells).
    Source: Bray et al. 2012, J. Biomol. Screen. 17 (PowerLogLogSlope, PercentMaximal).
    """

    blurred_sd: float = 5.0
    saturated: float = 0.005
    debris: float = 0.001
    debris_times: float = 3.0

    def typical(self, fields: Sequence[FieldMeasures]) -> TypicalField:
        """Summarise the surveyed fields of a plate."""
        slopes = np.stack([field.slope for field in fields])
        middle = np.median(slopes, 0)
        spread = 1.4826 * np.median(np.abs(slopes - middle), 0)
        brightest = np.median([field.brightest for field in fields], 0)
        return TypicalField(middle, np.maximum(spread, LEAST_SPREAD), brightest)

    def judge(
        self, image: np.ndarray, typical: TypicalField, channels: Sequence[str]
    ) -> tuple[dict[str, float], str | None]:
        """Return the numbers of a field (c, h, w) for the index (the worst channel's), and what is wrong or None."""
        measured = measure(image)
        blur = (typical.slope - measured.slope) / typical.spread
        limit = self.debris_times * typical.brightest
        debris = (image > limit[:, None, None]).mean((1, 2))
        bad = {
            "out of focus": blur > self.blurred_sd,
            "saturated": measured.saturated > self.saturated,
            "debris": debris > self.debris,
        }
        reasons = [
            f"{reason}: {', '.join(name for name, is_so in zip(channels, wrong, strict=True) if is_so)}"
            for reason, wrong in bad.items()
            if wrong.any()
        ]
        numbers = {"focus": -blur.max(), "saturated": measured.saturated.max(), "debris": debris.max()}
        return {name: float(value) for name, value in numbers.items()}, "; ".join(reasons) or None


def measure(image: np.ndarray) -> FieldMeasures:
    """Measure one field (c, h, w)."""
    return FieldMeasures(
        slope=np.array([_slope(plane) for plane in image]),
        saturated=(image == image.max((1, 2), keepdims=True)).mean((1, 2)),
        brightest=np.percentile(image, BRIGHTEST, axis=(1, 2)),
    )


def _slope(plane: np.ndarray) -> float:
    """Slope of log power over log frequency, by annuli of one cycle; 0 for an image without any structure."""
    n = min(plane.shape)
    window, ring = _rings(plane.shape)
    centred = plane - np.float32(plane.mean())
    power = np.square(np.abs(np.asarray(fft.rfft2(centred.astype(np.float32) * window))))
    total, pixels = np.bincount(ring.ravel(), power.ravel()), np.bincount(ring.ravel())
    last = max(n // HIGHEST, LOWEST + 2)
    mean = (total / np.maximum(pixels, 1))[LOWEST : last + 1]
    if (mean <= 0).any():
        return 0.0
    return float(np.polyfit(np.log(np.arange(LOWEST, LOWEST + len(mean))), np.log(mean), 1)[0])


@lru_cache(maxsize=2)
def _rings(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A Hann window, so that the edges make no structure, and the number of the annulus of each frequency."""
    height, width = shape
    window = (np.hanning(height)[:, None] * np.hanning(width)[None]).astype(np.float32)
    v, u = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    return window, (min(shape) * np.hypot(u, v)).round().astype(np.int64)
