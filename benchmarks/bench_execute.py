"""What it costs to run a task in a process of its own under Dask, beside a bare pool of spawned processes.

    python -m benchmarks.bench_execute [--workers 2] [--rounds 3] [--memory]

Trivial tasks show the cost of one, tasks of 100 ms what is left of it in real work; start-up is told apart. `--memory`
runs 1,000, 10,000 and 100,000 trivial tasks and says by how much this process, with scheduler and worker in it, and the
largest process of a task grew.
"""

import argparse
import gc
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from pipeline.config.params import RunParams
from pipeline.runtime.executor import open_executor
from tests.support.processes import list_children

Runner = Callable[[Sequence[float]], object]
Opener = Callable[[int], AbstractContextManager[Runner]]


def spin(seconds: float) -> float:
    """Work on one core for some seconds of its time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
    return seconds


@contextmanager
def open_ours(workers: int) -> Iterator[Runner]:
    run = RunParams(workers=workers, memory="1 GiB", cache=".cache", progress=False)
    with open_executor(run, 10**6) as opened:
        yield lambda tasks: deque(opened.run_tasks(spin, tasks), maxlen=0)


@contextmanager
def open_pool(workers: int) -> Iterator[Runner]:
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield lambda tasks: deque(pool.imap_unordered(spin, tasks), maxlen=0)


OPENERS: Mapping[str, Opener] = {"bare spawn pool": open_pool, "run_tasks": open_ours}


def time_runner(opener: Opener, workers: int) -> list[float]:
    """Seconds to open it and run a task a worker; ms a trivial task; tasks of 100 ms a second and worker."""
    start = time.perf_counter()
    with opener(workers) as runner:
        runner([0.0] * workers)
        opened = time.perf_counter() - start
        start = time.perf_counter()
        runner([0.0] * 1000)
        trivial = time.perf_counter() - start
        start = time.perf_counter()
        runner([0.1] * 20 * workers)
        large = time.perf_counter() - start
    return [opened, trivial, large / 20 * 1000]


def compare(workers: int, rounds: int) -> str:
    """A table, the fastest of the rounds, in turn."""
    times: dict[str, list[list[float]]] = {name: [] for name in OPENERS}
    for _ in range(rounds):
        for name, opener in OPENERS.items():
            times[name].append(time_runner(opener, workers))
    lines = ["| | start, s | trivial task, ms | task of 100 ms, ms |", "| --- | --- | --- | --- |"]
    for name, rows in times.items():
        opened, trivial, large = map(min, zip(*rows, strict=True))
        lines.append(f"| {name} | {opened:.2f} | {trivial:.2f} | {large:.1f} |")
    return "\n".join(lines)


def read_memory(pid: int | str) -> int:
    """Bytes of memory that a process has for itself."""
    _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    return (int(resident) - int(shared)) * 4096


def measure_memory(workers: int) -> str:
    """A table of growth by the number of tasks."""
    lines = ["| tasks | s | driver grew, bytes a task | largest process, MB |", "| --- | --- | --- | --- |"]
    with open_ours(workers) as runner:
        runner([0.0] * 1000)
        for count in (1000, 10_000, 100_000):
            tasks = [0.0] * count
            gc.collect()
            before, start = read_memory("self"), time.perf_counter()
            runner(tasks)
            seconds = time.perf_counter() - start
            gc.collect()
            grown = (read_memory("self") - before) / count
            largest = max(read_memory(pid) for pid in list_children(multiprocessing.current_process().pid or 0))
            lines.append(f"| {count} | {seconds:.1f} | {grown:.0f} | {largest / 1e6:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args(arguments)
    print(measure_memory(options.workers) if options.memory else compare(options.workers, options.rounds))


if __name__ == "__main__":
    main(sys.argv[1:])
