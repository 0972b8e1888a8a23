"""Optimizers side by side on the quickstart's data: python benchmarks/optimizers.py [images]

Each row trains the quickstart's recipe anew, for as many images, learning rate down to 0, and prints its validation
loss (held-out images, fixed noise and times), its speed, and both as ratios to the first row. Leave the machine alone
meanwhile.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

REPO = Path(__file__).resolve().parents[1]
ROWS = (
    ("optimizer=adamw", "optimizer.lr=1e-3"),
    ("optimizer=adamw", "optimizer.lr=2e-3"),
    ("optimizer=muon", "optimizer.lr=4e-3"),
    ("optimizer=muon", "optimizer.lr=6e-3"),
    ("optimizer=muon", "optimizer.lr=8e-3"),
)


def main(images: int = 20_000) -> None:
    """Print one line an optimizer."""
    with TemporaryDirectory() as folder:
        common = [f"paths.datasets={folder}", f"paths.runs={folder}"]
        _script("prepare", "data=quickstart", *common)
        first: tuple[float, float] | None = None
        for i, row in enumerate(ROWS):
            name = f"run{i}"
            length = [f"name={name}", f"images_total={images}", f"fit.validate_every_images={images}"]
            _script("train", "experiment=quickstart", "fit.guide_at=null", *common, *length, *row)
            table = pl.read_csv(Path(folder) / name / "metrics.csv")
            loss = table.filter(pl.col("name") == "val/loss")["value"][-1]
            steps = table.filter(pl.col("name") == "train/loss")
            speed = (steps["images"][-1] - steps["images"][0]) / (steps["seconds"][-1] - steps["seconds"][0])
            first = first or (loss, speed)
            ratios = f"{loss / first[0]:.3f} and {speed / first[1]:.2f} of the first"
            line = f"{' '.join(row):34s} validation loss {loss:.4f}, {speed:.0f} images/s ({ratios})"
            print(line, flush=True)  # noqa: T201


def _script(verb: str, *overrides: str) -> None:
    subprocess.run([sys.executable, str(REPO / f"{verb}.py"), *overrides], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main(*(int(n) for n in sys.argv[1:2]))
