"""A small screen for tests: `screened(run, library, out, …)` takes parts of its arguments by their names."""

from pathlib import Path
from typing import Any

from virtassay.evaluation.featurizers.features import PixelStatistics
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import ab2
from virtassay.screening import Evidence, Execution, LibraryColumns, Local, Recipe, Stage, Strength, screen

CHEAP, LAST = Stage(seeds=2, steps=2, keep=6), Stage(seeds=4, steps=3)


def recipe(run, **changes):
    settings = {"goal": Strength(), "featurizer": PixelStatistics(), "doses_um": (1.0, 3.0), "sampler": Sampler(ab2),
                "minibatch_size": 64, "device": "cpu"}  # fmt: skip
    return Recipe(run=str(run), **(settings | changes))


def screened(run, library, out, *, engine=None, shard_size=4, threads=1, shard=None, truth=None, dataset=None,
             inactives=None, **changes):  # fmt: skip
    settings: dict[str, Any] = {"stages": (CHEAP, LAST), "recipe": recipe(run)} | changes
    return screen(
        library=library,
        out=out,
        execution=Execution(engine or Local(), shard_size, threads, shard),
        columns=LibraryColumns(truth=truth),
        evidence=Evidence(dataset, inactives=inactives),
        **settings,
    )


def scores(out: Path) -> bytes:
    return (out / "hits.csv").read_bytes()
