"""A very small screen and run for tests: 12×12 px, two batches, three treatments, a tiny network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from virtassay.data.dataset.store import DatasetInfo, write_dataset
from virtassay.data.prepare.splits import split_by_well
from virtassay.schema import validate

SMILES = {"DMSO": None, "taxol": "CCN(CC)CC", "ethanol": "CCO"}
PAINT = {  # what each stain shows of a blob
    "DNA": lambda blob: blob,
    "actin": lambda blob: blob[::-1] * 0.5,
    "tubulin": lambda blob: blob.T * 0.8,
    "ER": lambda blob: 180 - 0.8 * blob,
}


def write_screen(
    root: Path,
    images_per_well: int = 8,
    *,
    channels: Sequence[str] = ("DNA", "actin"),
    batches: Sequence[str] = ("week1", "week2"),
    size: int = 12,
) -> Path:
    """Write blobs whose size says the treatment and whose brightness says the batch."""
    random = np.random.default_rng(0)
    rows, images = [], []
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    for batch in batches:
        for number, name in enumerate(SMILES):
            for well in range(4):
                for crop in range(images_per_well):
                    radius = 0.3 + 0.2 * number + 0.03 * random.standard_normal()
                    blob = np.exp(-(x**2 + y**2) / radius**2) * (150 if batch == batches[0] else 200)
                    painted = np.stack([PAINT[name](blob) for name in channels])
                    images.append(painted + random.uniform(0, 20, painted.shape))
                    rows.append(
                        {
                            "image_id": f"{batch}-{name}-{well}-{crop}",
                            "plate": f"{batch}-p1",
                            "well": f"{'ABC'[number]}{well + 1:02d}",
                            "batch": batch,
                            "perturbation": name,
                            "is_control": name == "DMSO",
                            "smiles": SMILES[name],
                            "dose_um": None if name == "DMSO" else 3.0,
                        }
                    )
    index = split_by_well(validate(pl.DataFrame(rows, infer_schema_length=None)), seed=0)
    info = DatasetInfo(root.name, tuple(channels), (len(channels), size, size), "uint8")
    return write_dataset(root, info, np.stack(images).clip(0, 255).astype(np.uint8), index)


def train_overrides(folder: Path, *more: str) -> list[str]:
    """Overrides that make `train` a matter of a second on the screen at folder/screen."""
    return [
        f"data.folder={folder / 'screen'}",
        f"paths.runs={folder / 'runs'}",
        "name=toy",
        "network=unet_small",
        "network.channels=8",
        "network.multipliers=[1,2]",
        "network.heads=2",
        "network.refine=4",
        "condition.width=16",
        "molecules.size=64",
        "minibatch_size=8",
        "images_total=80",
        "steps=2",
        "fit.accelerator=cpu",
        "fit.precision=32-true",
        "fit.validate_every_images=40",
        "fit.checkpoint_every_images=40",
        *more,
    ]
