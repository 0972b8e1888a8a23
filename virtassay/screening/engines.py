"""Who does the work: some processes of this machine, or a Ray cluster. A shard's scores are the same to the bit."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import Any, Protocol

import torch
from tqdm.auto import tqdm

from virtassay.screening.library import Library
from virtassay.screening.recipe import Recipe, Scorer, Stage
from virtassay.screening.shards import Shards


@dataclass(frozen=True)
class Task:
    """What a process needs to do a shard: all of it can be sent to another."""

    recipe: Recipe
    stage: Stage
    shards: Shards
    library: Library
    threads: int

    def __call__(self, number: int) -> int:
        """Score the shard and write it; returns how many compounds it held."""
        torch.set_num_threads(self.threads)
        scorer = _scorer(self.recipe, self.stage, self.shards)
        rows = self.shards.rows(number, self.library)
        self.shards.write(number, scorer(rows))
        return rows.height


@cache
def _scorer(recipe: Recipe, stage: Stage, shards: Shards) -> Scorer:
    return Scorer.of(recipe, stage, shards.bench)  # a process loads the model once


class Engine(Protocol):
    """Does the shards of these numbers, in any order; each is finished when its file is there."""

    def __call__(self, task: Task, numbers: Sequence[int]) -> None: ...


@dataclass(frozen=True)
class Local:
    """processes: of this machine, each with its own copy of the model; on GPUs, one each and in turn."""

    processes: int = 1

    def __call__(self, task: Task, numbers: Sequence[int]) -> None:
        total = len(task.shards.compounds)
        before = (task.shards.count - len(task.shards.missing())) * task.shards.size
        with tqdm(total=total, initial=min(before, total), unit=" compounds", desc="screen", dynamic_ncols=True) as bar:
            if self.processes == 1:
                for number in numbers:
                    bar.update(task(number))
                return
            with ProcessPoolExecutor(self.processes, mp_context=get_context("spawn")) as pool:
                for done in as_completed([pool.submit(task, number) for number in numbers]):
                    bar.update(done.result())


@dataclass(frozen=True)
class Ray:
    """A Ray cluster, an existing one by its address, or one on this machine; the folder must be one that all see."""

    address: str | None = None
    concurrency: int = 1
    gpus_each: float = 0.0

    def __call__(self, task: Task, numbers: Sequence[int]) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError('engine=ray needs the package ray: pip install "virtassay[cluster]".') from error
        ray.init(address=self.address, ignore_reinit_error=True)

        def work(batch: dict[str, Any]) -> dict[str, Any]:
            return {"compounds": [task(int(number)) for number in batch["item"]]}

        data = ray.data.from_items(list(numbers), override_num_blocks=max(1, len(numbers)))
        data.map_batches(
            work, batch_size=1, concurrency=self.concurrency, num_gpus=self.gpus_each or None
        ).materialize()
