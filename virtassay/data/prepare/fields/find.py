"""Where the cells of a whole field are: nuclei found in it, or a grid of tiles that needs none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from scipy import ndimage

from virtassay.data.prepare.fields.nuclei import dna_channel, foreground, label_nuclei


@dataclass(frozen=True)
class Field:
    """One whole field: its image (c, h, w), corrected for illumination, and what is known of it."""

    image: np.ndarray
    name: str  # in errors
    row: dict[str, Any]  # of the table
    channels: tuple[str, ...]
    pixel_size_um: float | None
    crop: int  # edge of the crops that will be cut, in pixels


@runtime_checkable
class Finder(Protocol):
    """Find what crops are centred on: (n, 2) x and y in pixels, the centre of the first pixel being 0, 0."""

    def find(self, field: Field) -> np.ndarray: ...


@dataclass(frozen=True)
class Nuclei:
    """The centres of mass of nuclei: Gaussian blur of 1 pixel, Otsu's threshold, watershed on the distance transform.

    channel: the one that shows nuclei; None: the one whose name says so (DNA, DAPI, Hoechst …). Give the usual diameter
    of a nucleus in µm, for which the pixel size must be known, or in pixels. Raises ValueError for both, neither, an
    unknown channel or pixel size. Source: Carpenter et al. 2006 (CellProfiler); see `fields.nuclei`.
    """

    diameter_um: float | None = None
    diameter_px: float | None = None
    channel: str | None = None

    def __post_init__(self) -> None:
        if (self.diameter_um is None) == (self.diameter_px is None):
            raise ValueError(
                f"diameter_um={self.diameter_um}, diameter_px={self.diameter_px}: give one of them, the usual diameter "
                "of a nucleus (10 to 20 µm in cultured cells)."
            )

    def find(self, field: Field) -> np.ndarray:
        dna = field.image[self._channel(field.channels)].astype(np.float64)
        smooth = ndimage.gaussian_filter(dna, 1.0, mode="nearest", truncate=3)
        mask = foreground(torch.as_tensor(smooth)[None]).numpy()
        return centres(label_nuclei(mask, self.pixels(field.pixel_size_um))[0])

    def pixels(self, pixel_size_um: float | None) -> float:
        """Return the diameter in pixels."""
        if self.diameter_px is not None:
            diameter = self.diameter_px
        elif pixel_size_um is None:
            raise ValueError(
                f"diameter_um={self.diameter_um} needs pixel_size_um; set it, or give diameter_px instead."
            )
        else:
            diameter = (self.diameter_um or 0.0) / pixel_size_um
        if diameter < 3:
            raise ValueError(f"a nuclear diameter of {diameter:.2g} pixels is too small to find; 3 is the least.")
        return diameter

    def _channel(self, channels: Sequence[str]) -> int:
        if self.channel is None:
            return dna_channel(channels)
        if self.channel not in channels:
            raise ValueError(f"channel={self.channel!r} of the nuclei is not one of {list(channels)}.")
        return list(channels).index(self.channel)


@dataclass(frozen=True)
class Tiles:
    """A grid of crops side by side that covers the middle of the field: no detection, so a tile holds what it holds."""

    def find(self, field: Field) -> np.ndarray:
        height, width = field.image.shape[1:]
        x, y = (_middles(edge, field.crop) for edge in (width, height))
        return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def _middles(edge: int, crop: int) -> np.ndarray:
    n = edge // crop
    return (edge - n * crop) // 2 + crop * np.arange(n) + (crop - 1) / 2


def centres(labels: np.ndarray) -> np.ndarray:
    """Return the centre of mass (n, 2), x and y in pixels, of each object of labels (h, w); 0 is background."""
    y, x = np.nonzero(labels)
    _, object_of = np.unique(labels[y, x], return_inverse=True)
    area = np.bincount(object_of)
    return np.stack([np.bincount(object_of, place) / area for place in (x, y)], 1)
