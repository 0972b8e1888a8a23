"""A pass: one recipe over some compounds of the library, in shards that any process may do, at any time."""

import logging
from dataclasses import dataclass
from pathlib import Path

from virtassay.files import lock
from virtassay.screening.bench import Bench
from virtassay.screening.engines import Engine, Task
from virtassay.screening.library import Library
from virtassay.screening.recipe import Recipe, Stage
from virtassay.screening.shards import Numbers, Shards, share, whole

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pass:
    """name: what it is called in the log. shards: where its scores are kept, with the bench that they rest on."""

    name: str
    recipe: Recipe
    stage: Stage
    shards: Shards

    def bench(self) -> Bench:
        """What it measures with, once it is begun."""
        return Bench.load(self.shards.bench, self.recipe.instrument(self.stage))


@dataclass(frozen=True)
class Work:
    """How this call does its passes. shard: its share of each, "k/n", or None for all; folder: the screen's."""

    library: Library
    engine: Engine
    threads: int
    shard: str | None
    folder: Path

    def begin(self, one: Pass, compounds: Numbers) -> None:
        """Write down the compounds of a pass, and generate what it measures with, unless that is done."""
        with lock(self.folder):
            one.shards.begin(compounds)
            if not one.shards.bench.is_file():
                log.info("%s: untreated cells and what training has seen", one.name)
                recipe = one.recipe
                made = Bench.of(recipe.instrument(one.stage), recipe.doses_um, recipe.wanted.cell_types)
                with whole(one.shards.bench) as file:
                    made.save(file)

    def finish(self, one: Pass) -> bool:
        """Do this call's share of a pass that was begun; False where shards are left to other calls."""
        shards = one.shards
        left = shards.missing(share(self.shard, shards.count))
        log.info("%s: %d compounds, %d of %d shards to do", one.name, len(shards.compounds), len(left), shards.count)
        if left:
            self.engine(Task(one.recipe, one.stage, shards, self.library, self.threads), left)
        others = shards.missing()
        if others:
            log.info("%s: %d shards are left to other jobs; run again when they are done", one.name, len(others))
        return not others
