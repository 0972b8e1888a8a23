"""Kill −9 a screen at random points, go on, compare with one left alone: python benchmarks/screen_kill.py RUN

RUN: a run folder; a tiny one (tests/toy_screen.py) tries more points in the same time. Prints the kills with what stood
on the disk at each, how many finished shards were ever written again (0), and whether hits.csv is the same to the byte.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
STAGE = "{_target_: virtassay.screening.Stage, seeds: 2, steps: 2"

PARTS = ("C", "C(C)", "C(=O)", "CO", "CN", "C(F)", "CS", "C(N)")


def command(run: Path, library: Path, out: Path, *more: str) -> list[str]:
    """A screen of two cheap stages as a user would start it."""
    settings = ["doses_um=[1,3]", f"stages=[{STAGE}, keep: 300}}, {STAGE}}}]", "plate=null", "device=cpu"]
    featurizer = "featurizer._target_=virtassay.evaluation.featurizers.features.PixelStatistics"
    names = [f"run={run}", f"library={library}", f"out={out}", featurizer]
    return [sys.executable, str(ROOT / "screen.py"), *names, *settings, *more]


def write_library(path: Path, compounds: int) -> Path:
    """Chains of seven parts of eight kinds on a ring, all different (up to two million); the last is no molecule."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(compounds):
            chain = "".join(PARTS[i // 8**place % 8] for place in range(7))
            file.write(f"c1ccccc1{chain}Br m{i}\n")
        file.write("nonsense x\n")
    return path


def shards(out: Path) -> dict[Path, int]:
    """The finished shards, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in out.glob("stages/*/[0-9]*.parquet")}


def main(run: Path, kills: int = 20, compounds: int = 2000) -> None:
    """Print one line a kill, and the comparison."""
    point, quiet = random.Random(0), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    with TemporaryDirectory() as folder:
        library = write_library(Path(folder) / "library.smi", compounds)
        alone, killed = Path(folder) / "alone", Path(folder) / "killed"
        start = time.perf_counter()
        subprocess.run(command(run, library, alone, "shard_size=16"), annotation=True, **quiet)
        took = time.perf_counter() - start
        print(f"left alone: {took:.0f} s, {len(shards(alone))} shards", flush=True)  # noqa: T201
        seen: dict[Path, int] = {}
        repeated = 0
        for number in range(1, kills + 1):
            processes = 1 + number % 2
            line = command(run, library, killed, "shard_size=16", f"engine.processes={processes}")
            process = subprocess.Popen(line, **quiet)
            begun = time.perf_counter()
            if number % 4 > 1:  # at any point; else soon after a new shard, for starting is most of a short screen
                time.sleep(point.uniform(0.1, 0.6) * took)
            else:
                while len(shards(killed)) == len(seen) and process.poll() is None:
                    time.sleep(0.01)
                time.sleep(point.uniform(0, 0.05) * took)
            after = time.perf_counter() - begun
            ended = process.poll() is not None
            if not ended:
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(0.5)  # its processes end when they see it gone
            now = shards(killed)
            repeated += sum(now.get(path) != at for path, at in seen.items())
            print(  # noqa: T201
                f"{number:2d}: {processes} processes, {'had ended' if ended else f'killed after {after:.1f} s'}: "
                f"{len(now)} shards, {len(now) - len(seen)} new",
                flush=True,
            )
            seen = now
        subprocess.run(command(run, library, killed, "shard_size=16"), annotation=True, **quiet)
        repeated += sum(shards(killed).get(path) != at for path, at in seen.items())
        same = (alone / "hits.csv").read_bytes() == (killed / "hits.csv").read_bytes()
        print(f"{repeated} finished shards written again; hits.csv {'the same' if same else 'DIFFERS'}")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *(int(n) for n in sys.argv[2:4]))
