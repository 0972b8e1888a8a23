"""Translocation by dose, real beside generated: the ratio of the reporter in the nucleus to that around it.

    python benchmarks/dose_response.py real=datasets/sbs_plate generated=generated/sbs_plate out=dose_response.png

Each image shows a cell in its middle; its nucleus is found in the DNA channel, as when the crops were cut, and the
cytoplasm is a ring around it. Of the real plate its held-out wells (test) are shown. A dot is a well (real) or a
hundredth of the cells of a dose (generated, whose images have no wells); lines join medians. Without `generated`, the
real plate alone.
"""

import logging
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import torch
from scipy import ndimage

from virtassay.data.dataset.store import Dataset, open_dataset
from virtassay.data.prepare.fields.nuclei import dna_channel, foreground, label_nuclei

log = logging.getLogger("dose_response")
DIAMETER_PX, GAP_PX, RING_PX = 16.0, 1, 4
COLOURS = {"real": "#1c1e21", "generated": "#0b5cad"}


def ratios(dataset: Dataset, reporter: int) -> np.ndarray:
    """Mean reporter in the central nucleus over that in the ring around it, per image; NaN without a nucleus there."""
    dna, found = dna_channel(dataset.info.channels), np.full(len(dataset), np.nan)
    for start in range(0, len(dataset), 512):
        images = dataset.images(np.arange(start, min(start + 512, len(dataset)))).astype(np.float64)
        smooth = ndimage.gaussian_filter(images[:, dna], (0, 1, 1))
        labels = label_nuclei(foreground(torch.as_tensor(smooth), 0.0).numpy(), DIAMETER_PX)
        for i, (label, image) in enumerate(zip(labels, images[:, reporter], strict=True)):
            middle = label[label.shape[0] // 2, label.shape[1] // 2]
            if middle:
                nucleus = label == middle
                ring = ndimage.binary_dilation(nucleus, iterations=GAP_PX + RING_PX)
                ring &= ~ndimage.binary_dilation(label > 0, iterations=GAP_PX)
                if ring.any():
                    found[start + i] = image[nucleus].mean() / max(image[ring].mean(), 1.0)
    return found


def curves(dataset: Dataset, kind: str) -> pl.DataFrame:
    """Median ratio of each well, or of each hundredth of the generated cells of a dose."""
    reporter = 1 - dna_channel(dataset.info.channels)
    table = dataset.index.with_columns(ratio=ratios(dataset, reporter), dose=pl.col("dose_um").list.first())
    part = pl.col("well") if kind == "real" else (pl.int_range(pl.len()) % 100).cast(pl.String)
    table = table.with_columns(name=pl.col("perturbation").list.first(), part=part).filter(pl.col("ratio").is_finite())
    wells = table.group_by("name", "is_control", "dose", "part").agg(pl.col("ratio").median(), n=pl.len())
    return wells.with_columns(kind=pl.lit(kind)).sort("name", "dose", "part")


def draw(points: pl.DataFrame, path: Path) -> None:
    """A panel for each compound, controls at the left."""
    names = points.filter(~pl.col("is_control"))["name"].unique().sort().to_list()
    figure, axes = plt.subplots(1, len(names), figsize=(4.6 * len(names), 3.6), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        doses = points.filter(pl.col("name") == name)["dose"].drop_nulls().unique().sort().to_list()
        place = {dose: i + 1.0 for i, dose in enumerate(doses)} | {None: 0.0}
        for kind, colour in COLOURS.items():
            own = points.filter((pl.col("kind") == kind) & ((pl.col("name") == name) | pl.col("is_control")))
            if own.height:
                x = np.array([place[dose] for dose in own["dose"]]) + (0.12 if kind == "generated" else -0.12)
                axis.plot(x, own["ratio"], ".", color=colour, alpha=0.25, markersize=5)
                middle = own.with_columns(x=x).group_by("x").agg(pl.col("ratio").median()).sort("x")
                axis.plot(middle["x"], middle["ratio"], "-o", color=colour, markersize=4, label=kind)
        axis.set_xticks(range(len(doses) + 1), ["none", *(f"{dose:.3g}" for dose in doses)], rotation=60, fontsize=8)
        axis.set_xlabel("dose (µM)")
        axis.set_title(name, fontsize=10)
    axes[0, 0].set_ylabel("nuclear / cytoplasmic reporter")
    axes[0, 0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main() -> None:
    """Read `real=`, `generated=` and `out=` from the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    out = Path(given.pop("out", "dose_response.png"))
    shown = {kind: open_dataset(folder, verify=False) for kind, folder in given.items()}
    shown["real"] = shown["real"].split("test")
    points = pl.concat([curves(dataset, kind) for kind, dataset in shown.items()])
    summary = points.group_by("kind", "name", "dose").agg(pl.col("ratio").median(), pl.col("n").sum())
    with pl.Config(tbl_rows=-1):
        log.info("%s", summary.sort("kind", "name", "dose"))
    for (kind, name), own in summary.filter(pl.col("dose").is_not_null()).group_by("kind", "name", maintain_order=True):
        own = own.sort("dose")
        rank = np.corrcoef(np.arange(own.height), own["ratio"].rank().to_numpy())[0, 1]
        log.info("%s %s: Spearman's correlation of ratio and dose %.2f", kind, name, rank)
    draw(points, out)


if __name__ == "__main__":
    main()
