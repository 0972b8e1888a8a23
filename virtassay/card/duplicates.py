"""Images that are there twice, byte for byte: copied files, wells entered twice, the same cell in train and test."""

import hashlib
from typing import Any

import numpy as np
import polars as pl
from tqdm.auto import tqdm

from virtassay.data.dataset.store import Dataset

CHUNK = 512
SHOWN = 20
ACROSS = {"across_wells": "well_id", "across_treatments": "treatment", "across_splits": "split"}


def duplicates(dataset: Dataset) -> dict[str, Any]:
    """Compare every image with every other by a 64-bit hash of its bytes (BLAKE2b), in one pass of 8 bytes an image.

    n_images that have a copy, n_groups of equal ones; how many groups lie across wells, treatments and splits, which
    no two images of cells can do; the first groups, those across splits first. Two of 10 million different images
    share a hash with a probability of 3 in a million.
    """
    hashes = np.empty(len(dataset), np.uint64)
    for start in tqdm(range(0, len(dataset), CHUNK), desc="comparing", unit_scale=CHUNK, leave=False, disable=None):
        for i, image in enumerate(dataset.images(np.arange(start, min(start + CHUNK, len(dataset))))):
            digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest()
            hashes[start + i] = int.from_bytes(digest, "little")
    _, inverse, count = np.unique(hashes, return_inverse=True, return_counts=True)
    twice = np.flatnonzero(count[inverse] > 1)
    index = dataset.index if "split" in dataset.index.columns else dataset.index.with_columns(split=pl.lit(None))
    copies = index[twice].select(
        "image_id", "plate", "well", "treatment", "split", well_id=pl.struct("plate", "well"), group=inverse[twice]
    )
    groups = copies.group_by("group", maintain_order=True).agg(
        pl.col("image_id", "plate", "well", "treatment", "split"),
        **{name: pl.col(of).n_unique() > 1 for name, of in ACROSS.items()},
    )
    return {
        "n_images": len(twice),
        "n_groups": groups.height,
        **{name: int(groups[name].sum()) for name in ACROSS},
        "groups": groups.sort(*reversed(ACROSS), descending=True, maintain_order=True)
        .head(SHOWN)
        .drop("group", *ACROSS)
        .with_columns(pl.col(pl.List(pl.String)).list.head(5))
        .to_dicts(),
    }
