"""What a biologist counts first: the nuclei."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from virtassay.data.prepare.fields.nuclei import CONTRAST, dna_channel, foreground, label_nuclei
from virtassay.evaluation.featurizers.features import Features, Images, in_minibatches, way_of_looking
from virtassay.evaluation.featurizers.structure import blurred

NUCLEUS_UM = 15.0  # usual diameter in cultured cells


@dataclass(frozen=True)
class CellStatistics:
    """Nuclei: how many, their mean area and its s.d., and the share of the image that they cover, d = 4.

    The DNA channel is blurred by 1 pixel, thresholded (Otsu), filled, and cut by a watershed on the distance to the
    background from its maxima, at least a third of `diameter_px` apart. An image whose foreground is less than
    `contrast` within-class s.d. above its background holds nothing but noise: no nucleus (normal noise has 2.65).
    A nucleus that the edge cuts counts half, for it is in two images; areas, in pixels, are of whole nuclei only, and
    0 if there is none. Objects below a tenth of the area of a disc of `diameter_px` are no nuclei.
    dna: the number of the channel; dna_channel(names) tells it. Raises ValueError if the images have no such channel.
    Source: Otsu 1979; Beucher & Lantuéjoul 1979, as Carpenter et al. 2006 (CellProfiler) join them.
    """

    name: str = "cell_statistics"
    dna: int = 0
    diameter_px: float = 20.0
    contrast: float = CONTRAST

    def __post_init__(self) -> None:
        if self.diameter_px < 3:
            raise ValueError(f"diameter_px is {self.diameter_px}; give the usual diameter of a nucleus, 3 or more.")

    @classmethod
    def of(cls, channels: Sequence[str], pixel_size_um: float | None) -> Self:
        """For images with these channels, and nuclei of the usual size where that of a pixel is known.

        Raises ValueError where no channel, or several, look like DNA.
        """
        dna = dna_channel(channels)
        return cls(dna=dna) if pixel_size_um is None else cls(dna=dna, diameter_px=max(3.0, NUCLEUS_UM / pixel_size_um))

    def fingerprint(self) -> dict[str, Any]:
        return way_of_looking(
            f"channel {self.dna} alone",
            "0 or 1: above Otsu's threshold of the channel's image",
            diameter_px=self.diameter_px,
            contrast=self.contrast,
        )

    def __call__(self, images: Images) -> Features:
        if images.ndim == 4 and not 0 <= self.dna < images.shape[1]:
            raise ValueError(
                f"dna is channel {self.dna}, but the images have channels 0 to {images.shape[1] - 1}: "
                "set evaluation.featurizers.cell_statistics.dna, or leave the featurizer out."
            )
        return in_minibatches(images, self._features, self.name)

    def _features(self, x: Tensor) -> Tensor:
        dna = blurred(x[:, self.dna : self.dna + 1].double(), 1.0)[:, 0]
        mask = foreground(dna, self.contrast).cpu().numpy()
        return torch.as_tensor(_count(label_nuclei(mask, self.diameter_px)))


def _count(labels: NDArray[np.int32]) -> Features:
    """(n, 4) statistics of (n, H, W) labels, each label in one image only."""
    images, pixels = len(labels), labels[0].size
    area = np.bincount(labels.ravel())
    image = np.zeros(len(area), int)
    image[labels] = np.arange(images)[:, None, None]
    cut = np.zeros(len(area), bool)
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        cut[edge] = True
    objects = (area > 0) & (np.arange(len(area)) > 0)
    whole = objects & ~cut

    def total(of: NDArray[np.bool_], values: NDArray[Any]) -> Features:
        return np.asarray(np.bincount(image[of], values[of].astype(np.float64), images), np.float64)

    n = total(whole, whole)
    mean = total(whole, area) / n.clip(min=1)
    variance = total(whole, np.square(area - mean[image])) / n.clip(min=1)
    return np.stack([n + total(objects & cut, cut) / 2, mean, np.sqrt(variance), total(objects, area) / pixels], 1)
