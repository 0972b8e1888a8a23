"""Memory and time of judging many images in a wide feature space: python benchmarks/judging.py [images] [features]

Half of the images are real, half generated, 8×8 px and of random pixels; features are a fixed random projection of
them, so that what is measured is the judging and not a network. Prints peak memory in all, and of the features alone.
"""

import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from virtassay.data.dataset.store import Dataset, DatasetInfo, open_dataset, write_dataset
from virtassay.evaluation import Criteria, assess
from virtassay.evaluation.baselines import BASELINES
from virtassay.evaluation.featurizers import features
from virtassay.evaluation.metrics import distances

TREATMENTS, BATCHES, WELLS = 40, 4, 8


@dataclass(frozen=True)
class Projection:
    """Random features: `size` numbers of each image."""

    size: int
    name: str = "texture"  # the verdict asks for it

    def fingerprint(self) -> dict[str, Any]:
        return {"weights": "random"}

    def __call__(self, images: features.Images) -> features.Features:
        pixels = images.reshape(len(images), -1) / 255 - 0.5
        return np.tanh(pixels @ np.random.default_rng(0).normal(size=(pixels.shape[1], self.size)))


def write(root: Path, n: int, seed: int) -> Dataset:
    """A folder of `n` images, a ninth of them controls, in which brightness goes with the treatment."""
    rng = np.random.default_rng(seed)
    of = rng.integers(0, TREATMENTS + TREATMENTS // 8, n).clip(max=TREATMENTS)  # the last is the control
    batch, well = rng.integers(0, BATCHES, n), rng.integers(0, WELLS, n)
    level = np.linspace(90, 160, TREATMENTS + 1)[of]
    images = (level[:, None, None, None] + rng.normal(0, 25, (n, 1, 8, 8))).clip(0, 255).astype(np.uint8)
    index = pl.DataFrame(
        {
            "image_id": [f"{root.name}-{i}" for i in range(n)],
            "plate": [f"plate{b}" for b in batch],
            "well": [f"{t}-{w}" for t, w in zip(of, well, strict=True)],
            "batch": [f"batch{b}" for b in batch],
            "perturbation": [f"drug{t}" if t < TREATMENTS else "DMSO" for t in of],
            "is_control": of == TREATMENTS,
            "split": np.where(well < WELLS // 2, "train", "test"),
        }
    )
    return open_dataset(write_dataset(root, DatasetInfo(root.name, ("grey",), (1, 8, 8), "uint8"), images, index))


def peak() -> float:
    """Peak memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(n: int = 100_000, size: int = 2048) -> None:
    """Judge, and print."""
    with tempfile.TemporaryDirectory() as folder:
        real, generated = (write(Path(folder) / name, n // 2, seed) for seed, name in enumerate(("real", "generated")))
        before, start = peak(), time.perf_counter()
        named = ("control_copy", "unconditional", "label_shuffled", "mean_treated")
        criteria = Criteria(
            featurizers={"projection": Projection(size)}, baselines={name: BASELINES[name] for name in named},
            metrics={"distances": distances}, repeats=2, max_images=1_000_000, max_controls=2000, max_training=2000,
            max_memory=20_000,
        )  # fmt: skip
        assess(real, generated, criteria)
        seconds = time.perf_counter() - start
    of_features = n * size * 8 / 2**30
    print(  # noqa: T201
        f"{n:,} images, {size} features: {seconds:.0f} s, peak {peak():.2f} GiB ({before:.2f} before; the features of "
        f"all images would be {of_features:.2f})"
    )


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:3]))
