"""The images of a data set in the memory of the device that trains on them, where they fit."""

import numpy as np
import torch
from torch import Tensor

from virtassay.data.dataset.store import Dataset

BLOCK = 1024  # images that are copied at once


class Resident:
    """All images of a data set on a device, as they are stored; minibatches of them are gathered there."""

    def __init__(self, images: Dataset, device: torch.device) -> None:
        dtype = getattr(torch, images.info.dtype)
        self.stored = torch.empty((len(images), *images.info.image_shape), dtype=dtype, device=device)
        for start in range(0, len(images), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(images)))
            self.stored[start : start + BLOCK] = torch.from_numpy(images.images(rows)).to(device)
        # devices gather no uint16; the bits are the same
        self.bits = self.stored.view(torch.int16) if dtype == torch.uint16 else self.stored

    def images(self, rows: np.ndarray) -> Tensor:
        """Gather the images of `rows` on the device: (n, c, h, w) in the stored dtype, as Dataset.images does."""
        chosen = torch.from_numpy(rows).to(self.bits.device)
        return self.bits.index_select(0, chosen).view(self.stored.dtype)  # as bits[chosen], but image by image


def fits(images: Dataset, device: torch.device, share: float) -> bool:
    """Whether the images take at most `share` of the device's free memory; never where that is the computer's own."""
    if device.type != "cuda":
        return False
    needed = len(images) * int(np.prod(images.info.image_shape)) * np.dtype(images.info.dtype).itemsize
    return needed <= share * torch.cuda.mem_get_info(device)[0]
