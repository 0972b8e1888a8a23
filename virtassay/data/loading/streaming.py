"""Where minibatches are read from: shards that are streamed to the local disk, or the memory of the device.

Streaming: the shards that coming steps read are brought to the local disk ahead of them.

Which images a step sees is the order's business (MinibatchOrder with buffer_shards): the order is a function of the
seed and the step, so a resumed run, any worker and any device fetch just the shards that their own steps read. Shards
that hold controls stay at hand, since any of them may be drawn: DatasetWriter gives controls shards of their own.
Every node of a run fetches the whole data set once an epoch: a global minibatch is the same on any number of devices.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from virtassay.data.dataset.remote import RemoteShard
from virtassay.data.dataset.store import Dataset
from virtassay.data.loading.order import MinibatchOrder
from virtassay.schema import BrokenDataset

log = logging.getLogger(__name__)

BLOCK = 1024  # images that are copied at once
WINDOWS = 3  # at most at once: a minibatch may end one and begin the next, while the one after that is fetched


def remote_shards(images: Dataset) -> list[RemoteShard]:
    """Return the shards of a folder elsewhere; none of a local one."""
    return [shard for shard in images.maps if isinstance(shard, RemoteShard)]


def in_memory(images: Dataset) -> Dataset:
    """Return the same rows with their images read once, in the computer's memory."""
    places = {"shard": pl.lit(0, pl.Int32), "offset": pl.int_range(pl.len(), dtype=pl.Int64)}
    return replace(images, rows=images.rows.with_columns(places), maps=(images.images(),))


class ShardStream:
    """Holds the shards of the present step, and the `kept` ones, on the local disk, and fetches the next behind it."""

    def __init__(self, shards: Sequence[RemoteShard], kept: Sequence[int]) -> None:
        self.shards, self.kept = shards, set(kept)
        self.now: set[int] = set()

    @classmethod
    def of(cls, images: Dataset, order: MinibatchOrder, with_controls: bool) -> Self:
        """Stream a data set in its order. Raises ValueError where the cache cannot hold what is read together."""
        shards = remote_shards(images)
        control = images.rows.select("is_control")["is_control"].to_numpy()
        kept = np.unique(images.shard[control]).tolist() if with_controls else []
        sizes = {number: shards[number].entry["bytes"] for number in np.unique(images.shard).tolist()}
        passing = sorted((size for number, size in sizes.items() if number not in kept), reverse=True)
        together = sum(passing[: WINDOWS * order.buffer]) if order.buffer else sum(passing)
        controls, limit = sum(sizes[number] for number in kept), shards[0].cache.limit_bytes
        if controls + together > limit:
            raise ValueError(
                f"{shards[0].cache.root}: {_gib(controls)} of shards with controls and {_gib(together)} of those read "
                f"together do not fit loader.cache_gib={limit / 2**30:.3g}. Raise it, shuffle fewer shards together "
                f"than loader.buffer_shards={order.buffer} (0: all of them), or prepare the dataset again if it was "
                "made before controls had shards of their own."
            )
        return cls(shards, kept)

    def move(self, now: np.ndarray, after: np.ndarray) -> None:
        """Hold the shards of a step, fetching what is not there; fetch those `after` them in the background.

        Raises BrokenDataset naming a shard that is missing or damaged.
        """
        needed = {*self.kept, *now.tolist()}
        if needed == self.now:
            return
        for number in self.now - needed:
            self.shards[number].release()
        for number in needed:
            self.shards[number].hold()
        self.now = needed
        ahead = [number for number in after.tolist() if number not in needed]
        threading.Thread(target=self._bring, args=(ahead,), name="ahead", daemon=True).start()

    def _bring(self, ahead: list[int]) -> None:
        for number in ahead:
            try:
                self.shards[number].cache.fetch(self.shards[number].entry)
            except (BrokenDataset, OSError) as error:  # whoever needs the shard tries again, and says so
                log.debug("fetched ahead in vain: %s", error)


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


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
