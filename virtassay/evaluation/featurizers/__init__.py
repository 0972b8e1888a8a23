"""Ways to look at images: functions from images to features that say how they measure."""

from virtassay.evaluation.featurizers.cache import Cached
from virtassay.evaluation.featurizers.cells import CellStatistics
from virtassay.evaluation.featurizers.features import Features, Featurizer, PixelStatistics, Texture, Vectors
from virtassay.evaluation.featurizers.pretrained import DINOv2, EfficientNetLite0, InceptionFID
from virtassay.evaluation.featurizers.structure import MinkowskiFunctionals
from virtassay.evaluation.featurizers.torch_module import TorchModule, View, cellflux_rgb, rgb_or_grey, unchanged
from virtassay.evaluation.featurizers.untrained import UntrainedNetwork

__all__ = [
    "Cached", "CellStatistics", "DINOv2", "EfficientNetLite0", "Features", "Featurizer", "InceptionFID",
    "MinkowskiFunctionals", "PixelStatistics", "Texture", "TorchModule", "UntrainedNetwork", "Vectors", "View",
    "cellflux_rgb", "rgb_or_grey", "unchanged",
]  # fmt: skip
