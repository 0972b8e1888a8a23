"""Networks: velocities of images under a condition, and the encoders of that condition.

A network of your own maps images (n, c, h, w), times (n,) and conditions to a velocity shaped like the images. It has
its encoder as `condition`, and says by attributes what it can do: `any_channels` (it paints those that condition.stain
names, in any order), `mean_velocity` (it takes the length of a step as a fourth argument).
"""

from virtassay.networks.adm import ADM
from virtassay.networks.channel_dit import ChannelDiT
from virtassay.networks.condition import ConditionEncoder
from virtassay.networks.dit import DiT
from virtassay.networks.encoders import ControlSet, GraphEncoder, MoleculeToLabel, OneHot, Structure
from virtassay.networks.layers import FiLM, PixelHead, TimeEmbedding
from virtassay.networks.set_transformer import SetTransformer
from virtassay.networks.unet import UNet

__all__ = [
    "ADM", "ChannelDiT", "ConditionEncoder", "ControlSet", "DiT", "FiLM", "GraphEncoder", "MoleculeToLabel", "OneHot",
    "PixelHead", "SetTransformer", "Structure", "TimeEmbedding", "UNet",
]  # fmt: skip
