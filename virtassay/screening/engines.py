"""Who does the work: some processes of this machine, or a Ray cluster. A shard's scores are the same to the bit."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

import torch
from tqdm.auto import tqdm

from virtassay.files import lock
from virtassay.screening.library import Library
from virtassay.screening.recipe import Recipe, Scorer, Stage
from virtassay.screening.reference import ReferenceEffects
from virtassay.screening.shards import Numbers, Shards, durable, share

log = logging.getLogger(__name__)


class Engine(Protocol):
    """Does the shards of these numbers, in any order; each is finished when its file is there."""

    def __call__(self, plan: "StagePlan", numbers: Sequence[int]) -> None: ...


@dataclass(frozen=True)
class Execution:
    """How the work is done: by which engine, in shards of how many compounds, with how many threads of each process.

    shard: "k/n" does the k-th of n shares of each stage, for arrays of jobs; None does all. Raises ValueError for
    another text, and for fewer than one compound in a shard.
    """

    engine: Engine
    shard_size: int = 256
    threads: int = 1
    shard: str | None = None

    def __post_init__(self) -> None:
        share(self.shard, 0)
        if self.shard_size < 1 or self.threads < 1:
            raise ValueError(f"shard_size={self.shard_size}, threads={self.threads}: numbers of 1 or more.")


@dataclass(frozen=True)
class StagePlan:
    """A recipe over some compounds of a library, in shards that any process may do, at any time: it can be sent to one.

    name: what it is called in the log. folder: of its shards, with the reference effects they rest on; the library's
    table lies in that of the screen.
    """

    name: str
    recipe: Recipe
    stage: Stage
    folder: Path
    library: Library
    execution: Execution

    @property
    def shards(self) -> Shards:
        """Where its scores are kept."""
        return Shards(self.folder, self.execution.shard_size)

    def scorer(self) -> Scorer:
        """Load its model and its reference effects, once it is begun."""
        return Scorer.load(self.recipe, self.stage, self.shards.reference)

    def begin(self, compounds: Numbers) -> None:
        """Write down the compounds of the stage, and generate its reference effects, unless that is done."""
        shards, recipe = self.shards, self.recipe
        with lock(self.library.table.parent):
            shards.begin(compounds)
            if not shards.reference.is_file():
                log.info("%s: untreated cells and what training has seen", self.name)
                cell_types = [context.cell_type for context in recipe.goal.contexts]
                reference = ReferenceEffects.of(recipe.predictor(self.stage), recipe.doses_um, cell_types)
                with durable(shards.reference) as file:
                    reference.save(file)

    def finish(self) -> bool:
        """Do this call's share of the stage, which was begun; False where shards are left to other calls."""
        shards = self.shards
        left = shards.missing(share(self.execution.shard, shards.count))
        log.info("%s: %d compounds, %d of %d shards to do", self.name, len(shards.compounds), len(left), shards.count)
        if left:
            self.execution.engine(self, left)
        others = shards.missing()
        if others:
            log.info("%s: %d shards are left to other jobs; run again when they are done", self.name, len(others))
        return not others


class Worker:
    """A stage with its model, which is loaded here, in the process that works."""

    def __init__(self, plan: StagePlan) -> None:
        torch.set_num_threads(plan.execution.threads)
        self.plan, self.scorer = plan, plan.scorer()

    def finish(self, number: int) -> int:
        """Score the compounds of a shard and write it; returns how many it held."""
        shards = self.plan.shards
        rows = shards.rows(number, self.plan.library)
        shards.write(number, self.scorer(rows))
        return rows.height


@dataclass(frozen=True)
class Local:
    """processes: of this machine, each with its own copy of the model, on its GPUs in turn where it has some."""

    processes: int = 1

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise ValueError(f"engine.processes={self.processes}: give 1 or more.")

    def __call__(self, plan: StagePlan, numbers: Sequence[int]) -> None:
        shards = plan.shards
        total = len(shards.compounds)
        left = sum(min(shards.size, total - number * shards.size) for number in numbers)
        with tqdm(total=left, unit=" compounds", desc="screen", dynamic_ncols=True) as bar:
            if self.processes == 1:
                worker = Worker(plan)
                for number in numbers:
                    bar.update(worker.finish(number))
                return
            context = get_context("spawn")  # a forked process would share the threads of torch, and hang
            begun = context.Value("i", 0)
            with ProcessPoolExecutor(self.processes, context, initializer=_begin, initargs=(plan, begun)) as pool:
                try:
                    for done in as_completed([pool.submit(_go_on, number) for number in numbers]):
                        bar.update(done.result())
                except BrokenProcessPool as error:
                    raise ChildProcessError(
                        "a process of the screen was ended from outside, or could not begin: is there memory for "
                        f"engine.processes={self.processes}? Finished shards are kept; the same command goes on."
                    ) from error
                finally:
                    pool.shutdown(cancel_futures=True)  # an error is raised now, not after the last shard


_workers: list[Worker] = []  # of a process of the pool: its one model


def _begin(plan: StagePlan, begun: Any) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    with begun.get_lock():
        place, begun.value = begun.value, begun.value + 1
    if torch.cuda.is_available():
        torch.cuda.set_device(place % torch.cuda.device_count())  # what "cuda" means from here on
    _workers[:] = [Worker(plan)]


def _end_with_parent() -> None:
    """A process of a pool whose parent is killed would wait for work for ever, and hold its GPU."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _go_on(number: int) -> int:
    return _workers[0].finish(number)


@dataclass(frozen=True)
class Ray:
    """A Ray cluster by its address ("auto": the one there is), or one started on this machine for the screen.

    concurrency: workers, each with its own copy of the model. gpus_each: of each worker, or a part of one. All of them
    must see the run and the screen's folder under the same paths. Raises ImportError without the extra `cluster`.
    """

    address: str | None = None
    concurrency: int = 1
    gpus_each: float = 0.0

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.gpus_each < 0:
            raise ValueError(
                f"engine.concurrency={self.concurrency}, engine.gpus_each={self.gpus_each}: give workers, 1 or more, "
                "and GPUs of each, 0 or more."
            )
        if find_spec("ray") is None:
            raise ImportError('engine=ray needs the package ray: pip install "virtassay[cluster]".')

    def __call__(self, plan: StagePlan, numbers: Sequence[int]) -> None:
        import ray  # pyright: ignore[reportMissingImports]

        if not ray.is_initialized():  # and it stays for the next stage: to start one takes many seconds
            os.environ.setdefault("RAY_worker_niceness", "0")  # by default 15: beside other work they hardly begin
            ray.init(address=self.address, log_to_driver=False)
        shards = ray.data.from_items(list(numbers), override_num_blocks=len(numbers))
        shards.map_batches(
            _Actor,
            fn_constructor_args=(plan,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(self.concurrency, len(numbers))),
            num_gpus=self.gpus_each or None,
        ).materialize()


class _Actor(Worker):
    """A worker as Ray calls it: batches of one shard's number."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"compounds": [self.finish(int(number)) for number in batch["item"]]}
