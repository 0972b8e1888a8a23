"""How long an index of ten million images takes to open, and its memory: python benchmarks/index.py [images] [folder]

The images are 1×1 px, so that the index is nearly all there is. Opening is timed in a process of its own, beside what
polars takes to read the same file into a table of plain columns, and what the data of a run take with it: vocabulary,
conditions, groups and the first step's images with their controls.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from virtassay.data.dataset.store import DatasetInfo, DatasetWriter

OPEN = """
import json, sys, time
from pathlib import Path
import polars as pl
from virtassay.data.dataset.store import open_dataset

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])

before = peak()
wall, cpu = time.perf_counter(), time.process_time()
{what}
took = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps([*took, peak() / 2**20, (peak() - before) / 2**20]))
"""
WAYS = {
    "polars reads the file": "kept = pl.read_parquet(sys.argv[1] + '/index.parquet')",
    "open_dataset": "kept = open_dataset(sys.argv[1], verify=False)",
    "the first minibatch": """
from virtassay.data.loading.datamodule import AssayData
from virtassay.data.loading.order import MinibatchOrder
from virtassay.data.molecules.descriptors import Morgan
from virtassay.flow.source import Control
kept = AssayData(
    folder=sys.argv[1], minibatch_size=256, images_total=256, molecules=Morgan(size=1024), standardise=False,
    source=Control(), verify=False,
)
kept._minibatches(kept.train, kept.train_conditions, MinibatchOrder(len(kept.train), 256, 1, 0))[0]""",
}
MOLECULES = np.array(["C" * (1 + i % 40) + "N" + "C" * (1 + i // 40) for i in range(1000)])


def rows(start: int, n: int) -> pl.DataFrame:
    """Annotate n images of a screen: 250 cells a well, 384 wells a plate, 10 plates a batch, 1,000 compounds."""
    image = pl.int_range(start, start + n, eager=True)
    well = image // 250
    control, named = well % 24 < 2, "compound" + (well % 1000).cast(pl.String)
    return pl.DataFrame({
        "image_id": image.cast(pl.String), "plate": "plate" + (well // 384).cast(pl.String),
        "well": pl.select(pl.format("{}{}", (well % 384) // 24, well % 24)).to_series(),
        "batch": "week" + (well // 3840).cast(pl.String), "perturbation": named.zip_with(~control, pl.Series(["DMSO"])),
        "is_control": control, "dose_um": (well % 8).cast(pl.Float64), "cell_type": "U2OS",
        "smiles": MOLECULES[(well % 1000).to_numpy()],
        "split": pl.select(pl.when(well // 384 % 10 < 8).then(pl.lit("train")).otherwise(pl.lit("val"))).to_series(),
    })  # fmt: skip


def main(images: int = 10_000_000, folder: str | None = None) -> None:
    """Write the index, open it three times each way, and print the best of each."""
    with TemporaryDirectory(dir=folder) as place:
        root, block = Path(place) / "screen", 1_000_000
        with DatasetWriter(root, DatasetInfo("index", ("DNA",), (1, 1, 1), "uint8"), shard_bytes=block) as writer:
            for start in range(0, images, block):
                n = min(block, images - start)
                writer.append(np.zeros((n, 1, 1, 1), np.uint8), rows(start, n))
        size = (root / "index.parquet").stat().st_size / 2**20
        print(f"{images:,} rows, {size:.0f} MiB of index.parquet")  # noqa: T201
        for name, what in WAYS.items():
            command = [sys.executable, "-c", OPEN.format(what=what), str(root)]
            found = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3)]
            wall, cpu, peak, more = map(min, zip(*found, strict=True))
            time, memory = f"{wall:6.2f} s, {cpu:6.2f} processor s", f"peak {peak:.2f} GiB ({more:.2f} of it new)"
            print(f"{name:24s} {time}, {memory}")  # noqa: T201


if __name__ == "__main__":
    main(*(int(n) for n in sys.argv[1:2]), *sys.argv[2:3])
