"""How fast whole fields become a dataset of cells, and how much memory that takes, with 1, 2, 4 and 8 plates.

    python benchmarks/preparing.py [folder]

Each plate has 12 wells of 4 fields of 512×512 pixels in three 16-bit channels (75 MB), painted with 60 cells each, as
one LZW TIFF a channel. All that a real screen gets is done: illumination, quality, nuclei, crops, scaling, pictures.
Every count of plates runs in a process of its own, whose CPU time (its start included) and peak memory the operating
system tells. The goal: memory does not grow with the plates.
"""

import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import tifffile
from scipy import ndimage

log = logging.getLogger("preparing")
EDGE, CHANNELS, WELLS, SITES, NUCLEI = 512, ("DNA", "actin", "tubulin"), 12, 4, 60


def paint(folder: Path, plate: str) -> list[dict[str, object]]:
    """Write the TIFFs of one plate; return its rows of the table."""
    rng, rows = np.random.default_rng(sum(plate.encode())), []
    y, x = np.mgrid[-1 : 1 : EDGE * 1j, -1 : 1 : EDGE * 1j]
    light = 1 - 0.2 * (x**2 + y**2)
    (folder / plate).mkdir(parents=True)
    for well in range(WELLS):
        for site in range(SITES):
            points = np.zeros((EDGE, EDGE))
            points[tuple(rng.integers(0, EDGE, (2, NUCLEI)))] = 1.0
            for channel, width in zip(CHANNELS, (4, 12, 16), strict=True):
                stain = ndimage.gaussian_filter(points, width) * 2 * np.pi * width**2
                grey = light * (300 + 4000 * np.minimum(stain, 1.2)) + rng.normal(0, 25, stain.shape)
                name = folder / plate / f"A{well + 1:02d}_s{site}_{channel}.tif"
                tifffile.imwrite(name, grey.clip(0).astype(np.uint16), compression="lzw")
            drug = "DMSO" if well % 4 == 0 else "taxol"
            rows.append({"plate": plate, "well": f"A{well + 1:02d}", "site": str(site)})
            rows[-1] |= {"perturbation": drug, "is_control": drug == "DMSO", "batch": "b1"}
    return rows


def prepare(folder: Path, plates: int) -> None:
    """Prepare the first `plates` plates; write seconds, peak memory and how many images came of it."""
    from virtassay.data.dataset.store import open_dataset
    from virtassay.data.prepare import (
        CellCrops,
        FilePerChannel,
        Illumination,
        Nuclei,
        Percentile,
        Quality,
        prepare_table,
    )
    from virtassay.data.prepare.splits import split_by_well

    start = time.perf_counter()
    out = prepare_table(
        root=folder / f"out{plates}",
        table=pl.read_parquet(folder / "table.parquet").filter(pl.col("plate") < f"P{plates:02d}"),
        images=FilePerChannel(str(folder), "{plate}/{well}_s{site}_{channel}.tif", CHANNELS),
        channels=CHANNELS,
        scaling=Percentile(),
        split=partial(split_by_well, seed=0),
        crop=64,
        cells=CellCrops(Nuclei(diameter_px=14), Illumination(), Quality()),
    )
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    n = len(open_dataset(out, verify=False))
    (folder / f"{plates}.json").write_text(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mib": peak, "images": n}))


def main(folder: Path) -> None:
    """Paint eight plates, prepare 1, 2, 4 and 8 of them, and write the table."""
    rows = [row for plate in range(8) for row in paint(folder, f"P{plate:02d}")]
    pl.DataFrame(rows).write_parquet(folder / "table.parquet")
    raw = WELLS * SITES * len(CHANNELS) * EDGE**2 * 2 / 1e6
    lines = [
        "| plates | raw MB | cells | s | CPU s | MB/s | MB / CPU s | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for plates in (1, 2, 4, 8):
        subprocess.run([sys.executable, __file__, str(folder), str(plates)], check=True, stderr=subprocess.DEVNULL)
        found = json.loads((folder / f"{plates}.json").read_text())
        speed, per_cpu = (plates * raw / found[name] for name in ("seconds", "cpu"))
        cost = f"{found['seconds']:.1f} | {found['cpu']:.1f} | {speed:.1f} | {per_cpu:.1f} | {found['peak_mib']:.0f}"
        lines.append(f"| {plates} | {plates * raw:.0f} | {found['images']:,} | {cost} |")
        log.info("%s", lines[-1])
    log.info("%s", "\n".join(lines))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(sys.argv) == 3:
        prepare(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
            main(Path(place))
