"""Who does the work: some processes of this machine, or a Ray cluster. A shard's scores are the same to the bit."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Protocol

import torch
from tqdm.auto import tqdm

from virtassay.screening.library import Library
from virtassay.screening.recipe import Recipe, Scorer, Stage
from virtassay.screening.shards import Shards


@dataclass(frozen=True)
class Task:
    """What a process needs to do the shards of a stage: all of it can be sent to another. threads: of each process."""

    recipe: Recipe
    stage: Stage
    shards: Shards
    library: Library
    threads: int


@dataclass(frozen=True)
class Worker:
    """A task with its model loaded: the number of a shard → the shard is finished; returns how many it held."""

    task: Task
    scorer: Scorer

    @classmethod
    def of(cls, task: Task) -> "Worker":
        torch.set_num_threads(task.threads)
        return cls(task, Scorer.of(task.recipe, task.stage, task.shards.bench))

    def __call__(self, number: int) -> int:
        rows = self.task.shards.rows(number, self.task.library)
        self.task.shards.write(number, self.scorer(rows))
        return rows.height


class Engine(Protocol):
    """Does the shards of these numbers, in any order; each is finished when its file is there."""

    def __call__(self, task: Task, numbers: Sequence[int]) -> None: ...


@dataclass(frozen=True)
class Local:
    """processes: of this machine, each with its own copy of the model."""

    processes: int = 1

    def __call__(self, task: Task, numbers: Sequence[int]) -> None:
        total = len(task.shards.compounds)
        left = sum(min(task.shards.size, total - number * task.shards.size) for number in numbers)
        with tqdm(total=left, unit=" compounds", desc="screen", dynamic_ncols=True) as bar:
            if self.processes == 1:
                work = Worker.of(task)
                for number in numbers:
                    bar.update(work(number))
                return
            context = get_context("spawn")  # a forked process would share the threads of torch, and hang
            with ProcessPoolExecutor(self.processes, context, initializer=_begin, initargs=(task,)) as pool:
                for done in as_completed([pool.submit(_go_on, number) for number in numbers]):
                    bar.update(done.result())


_at_work: list[Worker] = []  # of a process of the pool: its one model


def _begin(task: Task) -> None:
    _at_work[:] = [Worker.of(task)]


def _go_on(number: int) -> int:
    return _at_work[0](number)


@dataclass(frozen=True)
class Ray:
    """A Ray cluster by its address, or one started on this machine; the screen's folder must be one that all see."""

    address: str | None = None
    concurrency: int = 1
    gpus_each: float = 0.0

    def __call__(self, task: Task, numbers: Sequence[int]) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError('engine=ray needs the package ray: pip install "virtassay[cluster]".') from error
        ray.init(address=self.address, ignore_reinit_error=True, log_to_driver=False)
        shards = ray.data.from_items(list(numbers), override_num_blocks=max(1, len(numbers)))
        gpus = self.gpus_each or None
        shards.map_batches(
            _Actor, fn_constructor_args=(task,), batch_size=1, concurrency=self.concurrency, num_gpus=gpus
        ).materialize()


class _Actor:
    """A worker as Ray calls it: batches of one shard's number."""

    def __init__(self, task: Task) -> None:
        self.work = Worker.of(task)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"compounds": [self.work(int(number)) for number in batch["item"]]}
