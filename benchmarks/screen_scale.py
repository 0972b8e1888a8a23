"""How a screen grows: python benchmarks/screen_scale.py RUN [largest library, by default 1,000,000]

RUN: a run folder, a tiny one (tests/toy_screen.py) to see what everything but the network costs. Prints compounds a
second of one core; memory and time against the size of the library; what a restart costs; processes against Ray.

Memory is the largest that one process held (ru_maxrss), a new process for each size. "drawn" scores are numbers drawn
for each compound, without the model: they show what a large library costs beside the model, and nothing else.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import torch
from screen_kill import shards, write_library

from virtassay.evaluation.featurizers.features import PixelStatistics
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import ab2
from virtassay.screening import (
    Engine,
    Execution,
    Library,
    Local,
    Ray,
    Recipe,
    ReferenceEffects,
    Scorer,
    Stage,
    Strength,
    pipeline,
    prepare_library,
)
from virtassay.screening.library import rows_of
from virtassay.screening.shards import durable

FIRST, LAST = Stage(seeds=1, steps=1, keep=500), Stage(seeds=2, steps=2)
SIZES = (1_000, 10_000, 100_000, 1_000_000)
MODEL_UP_TO = 10_000  # larger libraries are scored by drawn numbers


def recipe(run: Path) -> Recipe:
    return Recipe(
        run=str(run), goal=Strength(), featurizer=PixelStatistics(), doses_um=(1.0,), sampler=Sampler(ab2),
        device="cpu",
    )  # fmt: skip


def drawn(self: Scorer, rows: pl.DataFrame) -> pl.DataFrame:
    """Scores of the right shape, of the compound's number alone."""
    value = np.modf(rows["compound"].to_numpy() * 0.6180339887498949)[0]
    lists = pl.Series(value.tolist()).reshape((-1, 1)).arr.to_list()
    columns = {"compound": rows["compound"], "score": value, "lower": value / 2, "upper": value * 2}
    return pl.DataFrame(columns | {"dose_um": np.ones(len(value)), "scores": lists, "lowers": lists, "uppers": lists})


def run_screen(run: Path, library: Path, out: Path, engine: Engine) -> None:
    execution = Execution(engine)
    pipeline.screen(library=library, out=out, recipe=recipe(run), stages=(FIRST, LAST), execution=execution)


def one_size(run: Path, library: Path, out: Path, without_model: bool) -> None:
    """Print as JSON what one screen in this process took."""
    if without_model:
        Scorer.__call__ = drawn
    took: dict[str, float] = {}

    def timed(*args) -> Library:
        start = time.perf_counter()
        prepared = prepare_library(*args)
        took.update(library_s=time.perf_counter() - start, library_mib=_peak())
        return prepared

    pipeline.prepare_library = timed
    took["imports_mib"], start = _peak(), time.perf_counter()
    run_screen(run, library, out, Local())
    took |= {"screen_s": time.perf_counter() - start - took["library_s"], "mib": _peak()}
    print(json.dumps(took))  # noqa: T201


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def speed(run: Path, folder: Path, compounds: int = 2048) -> None:
    """Compounds a second of CPU time on one thread, with the model and with a network that costs nothing."""
    torch.set_num_threads(1)
    library = prepare_library(write_library(folder / "speed.smi", compounds), folder / "speed")
    rows = rows_of(library, np.arange(compounds), ["compound", "smiles"])
    for stage in (FIRST, Stage(seeds=4, steps=5)):
        with durable(folder / "reference.npz") as file:
            ReferenceEffects.of(recipe(run).predictor(stage), (1.0,), (None,)).save(file)
        scorer = Scorer.load(recipe(run), stage, folder / "reference.npz")
        network = scorer.reference.predictor.assay.network
        images = len(scorer.reference.predictor.units)
        for label, forward in (("model", network.forward), ("no network", lambda x, t, condition, *step: 0.5 * x)):
            network.forward = forward
            scorer(rows[:256])
            start = time.process_time()
            scorer(rows)
            rate = compounds / (time.process_time() - start)
            print(f"{images} images, {stage.steps} steps, {label}: {rate:.0f} compounds/s per core", flush=True)  # noqa: T201


def restart(run: Path, library: Path, out: Path) -> None:
    """Remove the last shards of a finished screen, and begin it again in a new process."""
    for path in sorted(shards(out))[-2:]:
        path.unlink()
    before = len(shards(out))
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, __file__, "--again", str(run), str(library), str(out)])
    while len(shards(out)) == before and process.poll() is None:
        time.sleep(0.01)
    print(f"restart: {time.perf_counter() - start:.1f} s to the first new shard, from a new process", flush=True)  # noqa: T201
    process.wait()


def engines(run: Path, folder: Path, compounds: int = 4000) -> None:
    """The same screen by one process, two, and a Ray cluster of this machine with two workers; starts included."""
    library = write_library(folder / "engines.smi", compounds)
    csv: dict[str, bytes] = {}
    for label, engine in (("1 process", Local()), ("2 processes", Local(2)), ("Ray, 2 workers", Ray(concurrency=2))):
        out = folder / label
        start = time.perf_counter()
        run_screen(run, library, out, engine)
        csv[label] = (out / "hits.csv").read_bytes()
        same = "" if csv[label] == csv["1 process"] else ", OTHER BYTES"
        print(f"{compounds} compounds, {label}: {time.perf_counter() - start:.1f} s{same}", flush=True)  # noqa: T201


def main(run: Path, largest: int = SIZES[-1]) -> None:
    """Print all of it."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        speed(run, folder)
        for size in (size for size in SIZES if size <= largest):
            library = write_library(folder / f"{size}.smi", size)
            label = "drawn" if size > MODEL_UP_TO else "model"
            line = [sys.executable, __file__, "--size", str(run), str(library), str(folder / str(size)), label]
            took = json.loads(subprocess.run(line, annotation=True, capture_output=True, text=True).stdout)
            print(  # noqa: T201
                f"{size} compounds, {label}: library {took['library_s']:.0f} s, the rest {took['screen_s']:.0f} s; "
                f"peak {took['library_mib']:.0f} MiB with the library, {took['mib']:.0f} MiB in all, "
                f"{took['imports_mib']:.0f} MiB of them imports",
                flush=True,
            )
            restart(run, library, folder / str(size))
        engines(run, folder)


if __name__ == "__main__":
    if sys.argv[1] == "--size":
        one_size(*map(Path, sys.argv[2:5]), sys.argv[5] == "drawn")
    elif sys.argv[1] == "--again":
        run_screen(*map(Path, sys.argv[2:5]), Local())
    else:
        main(Path(sys.argv[1]).resolve(), *(int(n) for n in sys.argv[2:3]))
