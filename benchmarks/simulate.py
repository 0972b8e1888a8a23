"""Speed of the simulator in crops a second, for a few sizes and numbers of workers: python benchmarks/simulate.py

The first figure is by the clock, the second by the processor time of one core: on a busy machine only that one counts.
"""

import time

from virtassay.simulator.grow import grow_all
from virtassay.simulator.plan import plan_treatments, plan_wells

CELLS_PER_WELL = 60


def crops_per_second(size: int, channels: int, workers: int) -> tuple[float, float]:
    """Simulate one plate of 13 drugs at 3 doses, nothing written."""
    wells = list(plan_wells(plan_treatments(13, 3, 4.0, 3, 3), 0, 1, 1, channels))
    start, cpu = time.perf_counter(), time.process_time()
    n = sum(len(images) for _, images, _ in grow_all(wells, CELLS_PER_WELL, size, channels, workers))
    return n / (time.perf_counter() - start), n / (time.process_time() - cpu)


def main() -> None:
    """Print one line a setting."""
    crops_per_second(32, 3, 1)  # makes the texture tiles
    for size, channels, workers in ((48, 3, 1), (48, 3, 2), (48, 8, 2), (32, 3, 2), (96, 3, 2)):
        clock, core = crops_per_second(size, channels, workers)
        print(f"{size}×{size}×{channels}, {workers} worker(s): {clock:,.0f} crops/s; {core:,.0f} a core-second")  # noqa: T201


if __name__ == "__main__":
    main()
