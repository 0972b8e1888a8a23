"""The self-test at full size: python benchmarks/selftest.py

Thirteen generators with a known fault × all metrics, and six faults by degrees. Prints who is caught by what, and how
each metric follows the true error, as Markdown; with `write` as an argument also renews the tables that the report
shows, virtassay/evaluation/selftest/*.csv. Half an hour of one core.
"""

import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl
import torch

from virtassay.evaluation.featurizers.cache import Cached
from virtassay.evaluation.featurizers.features import PixelStatistics, Texture
from virtassay.evaluation.featurizers.pretrained import EfficientNetLite0
from virtassay.evaluation.featurizers.structure import MinkowskiFunctionals
from virtassay.evaluation.featurizers.untrained import UntrainedNetwork
from virtassay.evaluation.selftest.caught import follows_the_truth, who_catches_what
from virtassay.evaluation.selftest.generators import DIALS, GENERATORS, oracle
from virtassay.evaluation.selftest.last_run import LastRun, keep
from virtassay.evaluation.selftest.simulated import simulated_screen
from virtassay.evaluation.selftest.trial import trial

SETTINGS = {"drugs_each": 3, "cells_per_well": 20, "control_wells": 12, "size": 32}
FEATURIZERS = (PixelStatistics(), Texture(), UntrainedNetwork(), EfficientNetLite0(size=64), MinkowskiFunctionals())
REPO = Path(__file__).resolve().parents[1]


def main(write: bool) -> None:
    """Run, print, and keep."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        asked = [Cached(featurizer, folder / "features") for featurizer in FEATURIZERS]
        screen = simulated_screen(folder, 0, **SETTINGS)
        others = {f"oracle {k}": partial(oracle, draw=k) for k in range(1, 5)}
        outcomes = trial(screen, GENERATORS | others, asked, folder / "thirteen", resamples=1000)
        caught = who_catches_what(outcomes, ["oracle", *others])
        grades = {name: outcome.verdict["grade"] for name, outcome in outcomes.items()}
        shown(caught, grades)
        rows: list[dict[str, object]] = []
        for dial, levels in DIALS.items():
            steps = {str(i): generator for i, generator in enumerate(levels)}
            found = trial(screen, steps, asked, folder / dial, resamples=200)
            rhos = follows_the_truth(list(found.values()))
            rows += [{"dial": dial, "metric": metric, "rho": round(rho, 2)} for metric, rho in rhos.items()]
            print(f"{dial}: done", file=sys.stderr, flush=True)  # noqa: T201
        dials = pl.DataFrame(rows)
        print(markdown(dials.pivot("dial", index="metric", values="rho")))  # noqa: T201
    if write:
        command = ["git", "describe", "--always", "--dirty"]
        commit = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO).stdout.strip()
        made = f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}: python benchmarks/selftest.py write"
        keep(LastRun(made, caught, dials))


def shown(caught: pl.DataFrame, grades: dict[str, str]) -> None:
    """Print the grades, and the table metric × generator: in how many featurizers, bold where the verdict says so."""
    for name, grade in grades.items():
        print(f"- {name}: {grade}")  # noqa: T201
    cell = pl.format("{}/{}", "seen_in", "asked_in")
    cell = pl.when("verdict").then(pl.format("**{}**", cell)).when(pl.col("seen_in") > 0).then(cell).otherwise(None)
    print(markdown(caught.with_columns(cell=cell).pivot("generator", index="metric", values="cell")))  # noqa: T201


def markdown(table: pl.DataFrame) -> str:
    """The table as Markdown."""
    lines = [table.columns, ["---"] * table.width, *table.iter_rows()]
    return "\n".join("| " + " | ".join("" if x is None else str(x) for x in line) + " |" for line in lines)


if __name__ == "__main__":
    main("write" in sys.argv[1:])
