"""The tables of the last full self-test, kept beside this file: the benchmark writes them, reports show them."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

CAUGHT, DIALS = (Path(__file__).with_name(name) for name in ("caught.csv", "dials.csv"))


@dataclass(frozen=True)
class LastRun:
    """made: date, commit and command. caught: as `caught.who_catches_what`. dials: columns dial, metric, rho."""

    made: str
    caught: pl.DataFrame
    dials: pl.DataFrame


def last_run() -> LastRun:
    """Read what was written last."""
    origin = CAUGHT.read_text("utf-8").partition("\n")[0].removeprefix("# ")
    return LastRun(origin, *(pl.read_csv(path, comment_prefix="#") for path in (CAUGHT, DIALS)))


def keep(run: LastRun) -> None:
    """Write it in the place of the last."""
    for path, table in ((CAUGHT, run.caught), (DIALS, run.dials)):
        path.write_text(f"# {run.made}\n{table.write_csv()}", encoding="utf-8")
