"""Featurizers: functions φ from images to numbers, each with a name and a fingerprint of how it measures.

A featurizer is a frozen dataclass: `name`, `fingerprint()` and `(images) -> features`, where images are
(n, C, H, W) uint8 or uint16 with 1 to 12 channels and features are (n, d) float64. Intensities are divided by the
largest value of their type, so that both types lie in [0, 1]. Vectors, (n, C, K, 1) float32, are features already.
The fingerprint says everything that changes the numbers: two featurizers with one fingerprint measure the same.
Here are the simple statistics; structure.py and cells.py segment, untrained.py, pretrained.py and torch_module.py show
images to networks, cache.py remembers.
"""

import hashlib
import math
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from virtassay.precision import best_device

Features = NDArray[np.float64]
Images = NDArray[Any]
MINIBATCH = 128
MOST_VALUES = 1 << 22  # of a minibatch: 128 images of 3 × 104 × 104, two of 6 × 512 × 512


class Featurizer(Protocol):
    """Anything that turns images into features and says how."""

    @property
    def name(self) -> str: ...
    def fingerprint(self) -> dict[str, Any]: ...
    def __call__(self, images: Images) -> Features: ...


def way_of_looking(
    channels: str, values: str, *, resize: str = "none", weights: str = "none", trained: bool | str = False, **own: Any
) -> dict[str, Any]:
    """The fingerprint of a featurizer: which channels, resized how, in which range of values, by which weights.

    own: what else changes its numbers.
    """
    known = {"channel_mapping": channels, "resize": resize, "value_range": values, "weights": weights}
    return {**known, "trained": trained, **own}


def check_images(images: Images) -> None:
    """Raise ValueError unless `images` is (n, C, H, W), uint8 or uint16, with 1 to 12 channels."""
    if images.ndim != 4 or images.dtype.name not in ("uint8", "uint16") or not 1 <= images.shape[1] <= 12:
        raise ValueError(
            f"images have shape {images.shape} and type {images.dtype}; featurizers take (n, C, H, W) of uint8 or "
            "uint16 with 1 to 12 channels, as a dataset folder stores them. Vectors: choose evaluation=profiles."
        )


def check_size(images: Images, name: str) -> None:
    """Raise ValueError unless images have 8 pixels or more a side, as the featurizer `name` needs them."""
    if min(images.shape[2:]) < 8:
        raise ValueError(f"images of {images.shape[2:]} pixels are too small for {name}; it needs 8 or more a side.")


def in_minibatches(images: Images, function: Callable[[Tensor], Tensor], label: str) -> Features:
    """Apply `function` to (≤ 128, C, H, W) float32 images in [0, 1], and stack its (n, d) outputs as float64.

    On the GPU where there is one. Holds one minibatch, of fewer images where they are large, and the features; so
    `images` may be a memory map.
    """
    check_images(images)
    step = max(1, min(MINIBATCH, MOST_VALUES // max(1, math.prod(images.shape[1:]))))
    top = float(np.iinfo(images.dtype).max)
    features: Features = np.zeros((0, 0))
    with torch.inference_mode(), _full_precision():
        for start in tqdm(range(0, len(images), step), desc=label, leave=False, disable=None):
            chunk = torch.as_tensor(images[start : start + step].astype(np.float32) / top, device=best_device())
            output = function(chunk).double().cpu().numpy()
            if not len(features):
                features = np.empty((len(images), output.shape[1]))
            features[start : start + len(chunk)] = output
    return features


def digest(tensors: Iterable[Tensor]) -> str:
    """How a fingerprint names weights: 16 hexadecimal digits of the SHA-256 of the tensors' values, in order."""
    hashed = hashlib.sha256()
    for tensor in tensors:
        hashed.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()[:16]


@contextmanager
def _full_precision() -> Generator[None]:
    """Whatever a training in this process has set: no TF32 or bfloat16 products, so that machines agree."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@dataclass(frozen=True)
class Vectors:
    """The stored vectors themselves; a set of several gives the mean and s.d. of each feature over it."""

    name: str = "vectors"

    def fingerprint(self) -> dict[str, Any]:
        return way_of_looking(
            "each channel is a feature; sets of K > 1 vectors give mean and s.d. over the set",
            "as stored: control_units where dataset.json says so",
        )

    def __call__(self, images: Images) -> Features:
        if images.ndim != 4 or images.shape[3] != 1 or images.dtype != np.float32:
            raise ValueError(
                f"images have shape {images.shape} and type {images.dtype}; the featurizer vectors takes (n, C, K, 1) "
                "of float32. Images: choose evaluation=quick or full."
            )
        sets = images[..., 0].astype(np.float64)
        if sets.shape[2] == 1:
            return sets[:, :, 0]
        return np.concatenate([sets.mean(2), sets.std(2)], 1)


@dataclass(frozen=True)
class PixelStatistics:
    """Brightness only: for each channel seven quantiles, mean and s.d.; the correlation of each pair of channels."""

    name: str = "pixel_statistics"
    quantiles: tuple[float, ...] = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

    def fingerprint(self) -> dict[str, Any]:
        return way_of_looking("each channel, and each pair of channels", "[0, 1]", quantiles=list(self.quantiles))

    def __call__(self, images: Images) -> Features:
        return in_minibatches(images, self._features, self.name)

    def _features(self, x: Tensor) -> Tensor:
        flat = x.double().flatten(2)  # (n, C, pixels)
        levels = torch.tensor(self.quantiles, dtype=torch.float64, device=x.device)
        quantiles = flat.quantile(levels, dim=2).permute(1, 2, 0)  # (n, C, levels)
        mean, sd = flat.mean(2, keepdim=True), flat.std(2, correction=0, keepdim=True)
        unit = torch.where(sd > 1e-9, (flat - mean) / sd.clamp(min=1e-9), 0.0)  # an empty channel correlates with none
        correlation = unit @ unit.transpose(1, 2) / flat.shape[2]
        first, second = torch.triu_indices(x.shape[1], x.shape[1], 1)
        return torch.cat([torch.cat([quantiles, mean, sd], 2).flatten(1), correlation[:, first, second]], 1)


@dataclass(frozen=True)
class Texture:
    """Structure by scale: log power spectrum P_c(r), averaged over annuli, and the coherence of each pair of channels.

    P_c(r) = log(mean over the annulus |F_c|² + q²), coherence Re Σ F_a F_b* / √(Σ|F_a|² Σ|F_b|²) (the Fourier ring
    correlation), F the transform of the Hann-windowed image minus its mean, r in cycles a pixel up to 1/2. q is the
    noise that rounding to 256 grey levels makes, so that the spectrum of an empty image is finite. Small images have
    fewer annuli: at most half their side less one, so that none is empty.
    """

    name: str = "texture"
    annuli: int = 10

    def fingerprint(self) -> dict[str, Any]:
        return way_of_looking("each channel, and each pair of channels", "[0, 1]", window="hann", annuli=self.annuli)

    def __call__(self, images: Images) -> Features:
        check_size(images, self.name)
        return in_minibatches(images, self._features, self.name)

    def _features(self, x: Tensor) -> Tensor:
        return spectra(x.double(), self.annuli)


def spectra(x: Tensor, annuli: int) -> Tensor:
    """Log power of each channel and coherence of each pair by annulus, (n, (C + C(C−1)/2) annuli); see Texture.

    x: (n, C, H, W) float64. An empty channel has the power log q² everywhere, and coherence 0 with all.
    """
    height, width = x.shape[2:]
    window = torch.outer(_hann(height), _hann(width)).to(x.device)
    window = window / window.square().mean().sqrt()
    transform: Any = torch.fft  # untyped in torch
    spectrum: Tensor = transform.fft2((x - x.mean((2, 3), keepdim=True)) * window, norm="ortho").flatten(2)
    ring = _rings(height, width, annuli).to(x.device)  # (annuli, pixels), rows sum to 1
    power = spectrum.abs().square() @ ring.T  # (n, C, annuli)
    rounding = 1 / (12 * 255**2)
    first, second = torch.triu_indices(x.shape[1], x.shape[1], 1)
    cross = (spectrum[:, first] * spectrum[:, second].conj()).real @ ring.T
    coherence = cross / ((power[:, first] + rounding) * (power[:, second] + rounding)).sqrt()
    return torch.cat([(power + rounding).log().flatten(1), coherence.flatten(1)], 1)


def _rings(height: int, width: int, annuli: int) -> Tensor:
    frequency = torch.as_tensor(np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])).flatten()
    annuli = min(annuli, min(height, width) // 2 - 1)
    number = (frequency * 2 * annuli).floor().long()
    number[0] = -1  # the mean is no texture
    ring = (number[None, :] == torch.arange(annuli)[:, None]).double()
    return ring / ring.sum(1, keepdim=True)


def _hann(size: int) -> Tensor:
    return torch.hann_window(size + 2, periodic=False, dtype=torch.float64)[1:-1]
