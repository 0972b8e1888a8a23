"""Structure without brightness: which pixels are bright, whatever how bright."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from virtassay.data.prepare.fields.nuclei import otsu
from virtassay.evaluation.featurizers.features import (
    Features,
    Images,
    check_size,
    in_minibatches,
    spectra,
    way_of_looking,
)


def minkowski(mask: Tensor) -> Tensor:
    """Area, perimeter and Euler number of each mask, divided by the number of its pixels, (n, C, 3).

    Counted over the 2 × 2 windows of the mask with a border of background (bit quads): with Q_k windows of k pixels and
    Q_D of two pixels on a diagonal, perimeter = Q₁ + Q₂ + Q₃ + 2 Q_D (edges of pixels) and, with pixels that touch at a
    corner joined, Euler number = (Q₁ − Q₃ − 2 Q_D)/4: objects less holes.
    Source: Gray 1971, IEEE Trans. Comput. C-20; Michielsen & De Raedt 2001, Phys. Rep. 347 (integral geometry).
    mask: (n, C, H, W) of 0 and 1.
    """
    a = functional.pad(mask, (1, 1, 1, 1))
    quad = torch.stack([a[..., :-1, :-1], a[..., 1:, 1:], a[..., :-1, 1:], a[..., 1:, :-1]])
    total = quad.sum(0)
    diagonal = ((total == 2) & (quad[0] == quad[1])).sum((2, 3))
    ones, twos, threes = ((total == k).sum((2, 3)) for k in (1, 2, 3))
    perimeter = ones + twos + threes + diagonal  # Q₂ holds the diagonals once already
    euler = (ones - threes - 2 * diagonal) / 4
    pixels = mask.shape[2] * mask.shape[3]
    return torch.stack([mask.sum((2, 3)), perimeter.to(mask.dtype), euler.to(mask.dtype)], 2) / pixels


def spread(mask: Tensor) -> Tensor:
    """How far out and how elongated the pixels of each mask lie, (n, C, 2), by its second moments.

    log(η₂₀ + η₀₂), about −1.8 for a disc and 0.2 for scattered pixels over all of a square, and the anisotropy
    √((η₂₀ − η₀₂)² + 4 η₁₁²)/(η₂₀ + η₀₂), 0 (a disc) to 1 (a line); η_pq = ∫ (x − x̄)^p (y − ȳ)^q m / area² over square
    pixels. No shift or mirror, no turn by a quarter changes them. Both are 0 for an empty mask.
    Source: Hu 1962, IRE Trans. Inf. Theory 8 (the first two invariants, as logarithm and ratio).
    """
    count = mask.sum((2, 3))
    area = count.clamp(min=1)
    y = torch.arange(mask.shape[2], dtype=mask.dtype, device=mask.device)[:, None]
    x = torch.arange(mask.shape[3], dtype=mask.dtype, device=mask.device)[None]
    dy, dx = (u - ((mask * u).sum((2, 3)) / area)[..., None, None] for u in (y, x))
    n20, n02, n11 = ((mask * moment).sum((2, 3)) / area.square() for moment in (dx * dx, dy * dy, dx * dy))
    size = n20 + n02 + 1 / (6 * area)  # a pixel is a square, with moments of its own
    anisotropy = ((n20 - n02).square() + 4 * n11.square()).sqrt() / size
    return torch.stack([size.log(), anisotropy], 2) * (count > 0)[..., None]


@dataclass(frozen=True)
class MinkowskiFunctionals:
    """Masks only: each channel above its own threshold, so that no gain and no offset changes anything.

    The mask of a channel is what lies above Otsu's threshold of its image after a Gaussian blur of `blur` pixels (or
    noise would make the mask). Of it: area, perimeter and Euler number a pixel, two moment invariants, the log power
    spectrum by annulus; of each pair of masks the coherence by annulus. A constant channel has an empty mask.
    d = C (5 + annuli) + annuli C(C − 1)/2. Nothing depends on the orientation, up to the window of the spectrum.
    """

    name: str = "structure"
    blur: float = 1.0
    annuli: int = 10

    def __post_init__(self) -> None:
        if self.blur <= 0:
            raise ValueError(f"blur is {self.blur} pixels; give more than 0 (1 is customary).")

    def fingerprint(self) -> dict[str, Any]:
        return way_of_looking(
            "each channel, and each pair of channels",
            "0 or 1: above Otsu's threshold of the channel's image",
            blur=self.blur,
            annuli=self.annuli,
        )

    def __call__(self, images: Images) -> Features:
        check_size(images, self.name)
        return in_minibatches(images, self._features, self.name)

    def _features(self, x: Tensor) -> Tensor:
        mask = self._mask(x.double())
        return torch.cat([minkowski(mask).flatten(1), spread(mask).flatten(1), spectra(mask, self.annuli)], 1)

    def _mask(self, x: Tensor) -> Tensor:
        smooth = blurred(x, self.blur)
        threshold = otsu(smooth.flatten(2).flatten(0, 1)).view(*x.shape[:2], 1, 1)
        return (smooth > threshold).to(x.dtype)


def blurred(x: Tensor, sd: float) -> Tensor:
    """Gaussian blur of `sd` pixels, cut at 3 sd, the edge pixels repeated outside; (n, C, H, W) float64."""
    return _blur(x.shape[2], sd).to(x.device) @ x @ _blur(x.shape[3], sd).T.to(x.device)


def _blur(size: int, sd: float) -> Tensor:
    reach = max(1, round(3 * sd))
    t = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-t.double().square() / (2 * sd**2))
    place = (torch.arange(size)[:, None] + t).clamp(0, size - 1)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, place, (kernel / kernel.sum()).expand(size, -1))
