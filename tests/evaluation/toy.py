"""A small screen whose answer is known: treatments change brightness and grain, batches and wells add their own."""

import numpy as np
import polars as pl

from virtassay.data.dataset.store import DatasetInfo, write_dataset

CHANNELS = ("dna", "actin")
PERTURBATIONS = ("a", "b", "c", "d", "e", "f")
BATCHES = ("week1", "week2")
SMILES = {"a": "CCO", "b": "CCCO", "c": "c1ccccc1C", "d": "c1ccccc1CC", "e": "CC(=O)O"}  # f: not known
SIZE = 16


def draw(perturbation, batch, well, n, rng, strength=1.0):
    """n images of one well: a smooth and a grainy part in each channel, weighted by the treatment."""
    where = PERTURBATIONS.index(perturbation) if perturbation in PERTURBATIONS else None
    gain = np.random.default_rng([BATCHES.index(batch), 1]).normal(1, 0.1, 2)
    gain = gain * np.random.default_rng([BATCHES.index(batch), well, 2]).normal(1, 0.03, 2)
    weight = np.ones(4)  # level and grain of both channels
    if where is not None:
        turn = np.random.default_rng([where, 3]).normal(0, 0.5, 4)
        weight = weight * np.exp(strength * turn)
    grain = rng.normal(size=(n, 2, SIZE, SIZE))
    smooth = np.repeat(np.repeat(rng.normal(size=(n, 2, SIZE // 4, SIZE // 4)), 4, 2), 4, 3)
    level = 60 * weight[:2] * gain * np.exp(rng.normal(0, 0.15, (n, 2)))
    images = level[:, :, None, None] * (1 + 0.3 * smooth) + 10 * weight[2:, None, None] * grain
    return images.clip(0, 255).round().astype(np.uint8)


def write(root, plan, seed=0, image=draw):
    """Write a folder; plan: (perturbation, batch, well, split, n) of each well. Returns its path."""
    rng = np.random.default_rng(seed)
    images, rows = [], []
    for perturbation, batch, well, split, n in plan:
        images.append(image(perturbation, batch, well, n, rng))
        rows.append(
            pl.DataFrame(
                {
                    "image_id": [f"{root.name}-{perturbation}-{batch}-{well}-{i}" for i in range(n)],
                    "plate": f"{batch}-plate",
                    "well": f"W{well:03d}",
                    "batch": batch,
                    "perturbation": perturbation,
                    "is_control": perturbation == "DMSO",
                    "dose_um": None if perturbation == "DMSO" else 1.0,
                    "smiles": SMILES.get(perturbation),
                    "moa": f"moa{PERTURBATIONS.index(perturbation) // 2}" if perturbation in PERTURBATIONS else None,
                    "split": split,
                },
                schema_overrides={"dose_um": pl.Float64, "moa": pl.String, "smiles": pl.String},
            )
        )
    info = DatasetInfo(root.name, CHANNELS, (2, SIZE, SIZE), "uint8")
    return write_dataset(root, info, np.concatenate(images), pl.concat(rows))


def real_plan(n=10):
    """Two training and two test wells of each treatment, and four and four of controls, in each batch."""
    plan = []
    for batch in BATCHES:
        for i, perturbation in enumerate(PERTURBATIONS):
            plan += [(perturbation, batch, 4 * i + j, ("train", "train", "test", "test")[j], n) for j in range(4)]
        plan += [("DMSO", batch, 100 + j, ("train", "test")[j % 2], 2 * n) for j in range(8)]
    return plan


def generated_plan(n=20):
    return [(p, b, 200 + i, "generated", n) for b in BATCHES for i, p in enumerate(PERTURBATIONS)]
