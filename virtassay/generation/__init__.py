"""Generation: requests, the seed of each image, and the dataset folder that generated images are written to."""

from virtassay.generation.requests import (
    expand,
    image_seeds,
    inline_requests,
    like_dataset,
    one_way,
    read_requests,
    which_channels,
)
from virtassay.generation.write import write_samples

__all__ = [
    "expand", "image_seeds", "inline_requests", "like_dataset", "one_way", "read_requests", "which_channels",
    "write_samples",
]  # fmt: skip
