"""Nuclei: which channel shows them, which pixels are theirs, and which pixels belong to which nucleus."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage as scipy_ndimage  # pyright: ignore[reportMissingTypeStubs]
from skimage import segmentation as skimage_segmentation
from torch import Tensor

ndimage: Any = scipy_ndimage  # untyped in scipy
segmentation: Any = skimage_segmentation  # and in scikit-image
DNA_NAMES = ("dna", "dapi", "hoechst", "nuclei", "nucleus", "draq5")
GREY_LEVELS = 256
NO_CONTRAST = 1e-6  # less than a tenth of a grey level of 16 bits: rounding
CONTRAST = 3.0  # normal noise cut at its mean has 2.65
IN_PLANE = np.zeros((3, 3, 3), bool)
IN_PLANE[1] = True  # a stack of images is labelled at once, and no image touches the next


def dna_channel(channels: Sequence[str]) -> int:
    """Return the number of the channel whose name holds DNA, DAPI, Hoechst, nucleus or DRAQ5, in any case.

    Raises ValueError, naming the channels, if none or several do.
    """
    matching = [i for i, name in enumerate(channels) if any(dna in name.lower() for dna in DNA_NAMES)]
    if len(matching) != 1:
        raise ValueError(
            f"{len(matching)} of the channels {list(channels)} look like DNA; name the one that shows the nuclei."
        )
    return matching[0]


def otsu(x: Tensor) -> Tensor:
    """Otsu's threshold of each row of (rows, pixels) float64, (rows,): what is above it is foreground.

    The t that maximises the variance between the classes, w₀ w₁ (μ₀ − μ₁)², over 256 levels between the row's least
    and largest value. A constant row has its largest value for a threshold, hence no foreground.
    Source: Otsu 1979, IEEE Trans. Syst. Man Cybern. 9, eq. 14.
    """
    low, high = x.min(1, keepdim=True).values, x.max(1, keepdim=True).values
    place = (x - low) / (high - low).clamp(min=torch.finfo(x.dtype).tiny)
    level = (place * GREY_LEVELS).long().clamp(max=GREY_LEVELS - 1)
    counts = torch.zeros((len(x), GREY_LEVELS), dtype=x.dtype, device=x.device).scatter_add_(
        1, level, torch.ones_like(x)
    )
    centres = low + (torch.arange(GREY_LEVELS, dtype=x.dtype, device=x.device) + 0.5) / GREY_LEVELS * (high - low)
    below, mass = counts.cumsum(1)[:, :-1], (counts * centres).cumsum(1)
    above = x.shape[1] - below
    gap = mass[:, :-1] / below - (mass[:, -1:] - mass[:, :-1]) / above.clamp(min=1)
    best = (below * above * gap.square()).argmax(1, keepdim=True)
    return torch.where(high - low > NO_CONTRAST, centres.gather(1, best), high)[:, 0]


def foreground(dna: Tensor, contrast: float = CONTRAST) -> Tensor:
    """Return the pixels of images (n, h, w) float64 that lie above Otsu's threshold of their image: (n, h, w) bool.

    An image whose foreground is less than `contrast` within-class s.d. above its background holds nothing but noise,
    and has none.
    """
    flat = dna.flatten(1)
    bright = flat > otsu(flat)[:, None]
    share = bright.double().mean(1).clamp(1e-9, 1 - 1e-9)
    above = (flat * bright).mean(1) / share
    below = (flat * ~bright).mean(1) / (1 - share)
    within = flat.var(1, correction=0) - share * (1 - share) * (above - below).square()
    clear = (above - below).square() > contrast**2 * within
    return bright.view(dna.shape) & clear[:, None, None]


def label_nuclei(mask: NDArray[np.bool_], diameter_px: float) -> NDArray[np.int32]:
    """Tell the nuclei of masks (n, h, w) apart: labels (n, h, w) from 1, each in one image only, 0 background.

    Holes are filled; a watershed on the distance to the background starts at its maxima, at least a third of
    `diameter_px` apart. Objects below a tenth of the area of a disc of `diameter_px` are no nuclei.
    Source: Beucher & Lantuéjoul 1979, after a threshold as in Carpenter et al. 2006 (CellProfiler).
    """
    mask = ndimage.binary_fill_holes(mask, IN_PLANE)
    distance = ndimage.gaussian_filter(np.stack([_depth(plane) for plane in mask]), (0, 1, 1))
    apart = 2 * max(1, round(diameter_px / 3)) + 1
    top = (distance == ndimage.maximum_filter(distance, (1, apart, apart))) & mask
    labels = segmentation.watershed(-distance, ndimage.label(top, IN_PLANE)[0], IN_PLANE, mask=mask)
    small = np.bincount(labels.ravel()) < 0.1 * np.pi / 4 * diameter_px**2
    return np.where(small[labels], 0, labels)


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance to the background of one image; where there is none, the same everywhere."""
    return np.full(mask.shape, float(sum(mask.shape))) if mask.all() else ndimage.distance_transform_edt(mask)
