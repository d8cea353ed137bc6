"""What items cost that kill, swallow or hang their process: wall time beside that of the same items without them.

    python -m benchmarks.bench_poison [--items 640,2560] [--milliseconds 7] [--workers 2] [--rounds 3]

Each item works for some milliseconds, and what comes of it is stored as in clean, in as many tasks; 1 % of each kind is
poison, at fixed places. A clean run and those with poison take turns, the fastest of the rounds counts, start-up
included. The limit of time for an item is what a hanging one costs: its share is `hanging items x limit / workers`,
whatever the rest takes.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.config.params import RunParams
from pipeline.incremental.compute_chunk import MAX_ITEMS, MIN_CHUNKS
from pipeline.incremental.object_store import ObjectStore
from pipeline.runtime.executor import run_tasks
from pipeline.tables.drops import MACHINE_REASONS, Rejection
from tests.support.poison import POISONS, PoisonChunk, compute_poison, make_chunk

MIXES = {
    "clean": (),
    "crash": ("falls",),
    "memory": ("grows",),
    "hang": ("loops in C",),
    "all three": ("falls", "grows", "loops in C"),
}


def plan_tasks(kinds: Sequence[str], count: int, cache: Path, options: argparse.Namespace) -> list[PoisonChunk]:
    """So many items in chunks, with 1 % of each kind at places that the seed says."""
    items, each = ["good"] * count, max(count // 100, 1)
    for place, kind in zip(random.Random(0).sample(range(count), each * len(kinds)), [*kinds] * each, strict=True):
        items[place] = kind
    size = max(1, min(MAX_ITEMS, count // MIN_CHUNKS))
    return [
        make_chunk(f"{start}", items[start : start + size], cache, seconds=options.milliseconds / 1000)
        for start in range(0, count, size)
    ]


def name_end(rejection: Rejection) -> str:
    """`crashed`, or `this machine`: on a busy one, an item that fills memory may be out of time before."""
    return "this machine" if rejection.reason in MACHINE_REASONS else "crashed"


def time_run(kinds: Sequence[str], count: int, cache: Path, options: argparse.Namespace) -> float:
    """Seconds of a run; that exactly the poison was lost, and all else is in the cache, is checked."""
    tasks = plan_tasks(kinds, count, cache, options)
    run = RunParams(
        workers=options.workers, memory="256 MiB", item_seconds=options.limit, cache=".cache", progress=False
    )
    start = time.perf_counter()
    results = dict(run_tasks(compute_poison, tasks, run))
    seconds = time.perf_counter() - start
    found = {key: name_end(rejection) for result in results.values() for key, rejection in result.lost.items()}
    wanted = {
        row["key"]: name_end(Rejection(POISONS[row["kind"]][1], ""))
        for task in tasks
        for row in task.rows.to_pylist()
        if row["kind"] in POISONS
    }
    assert found == wanted, (found, wanted)
    objects = ObjectStore(cache, cache / "work")
    kept = [len(objects.read_rows(result.pack).entries) for result in results.values() if result.pack is not None]
    assert sum(kept) == count - len(wanted), (kept, count, len(wanted))
    return seconds


def measure(count: int, options: argparse.Namespace) -> str:
    """A table of the runs with so many items, fastest of the rounds, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in MIXES}
    for _ in range(options.rounds):
        for name, kinds in MIXES.items():
            with tempfile.TemporaryDirectory(dir=".") as cache:
                Path(cache, "work").mkdir()
                seconds[name].append(time_run(kinds, count, Path(cache).resolve(), options))
    clean = min(seconds["clean"])
    lines = [f"\n{count} items:\n", "| 1 % of each of | seconds | times clean |", "| --- | --- | --- |"]
    lines += [f"| {name} | {min(times):.2f} | {min(times) / clean:.2f} |" for name, times in seconds.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="640,2560", help="how many, by commas")
    parser.add_argument("--milliseconds", type=float, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=0.5, help="run.item_seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a file for the table")
    options = parser.parse_args(arguments)
    head = (
        f"Items of {options.milliseconds:g} ms, {MIN_CHUNKS} tasks, {options.workers} workers, "
        f"run.item_seconds {options.limit:g}, run.memory 256 MiB, best of {options.rounds}"
    )
    table = "\n".join([head, *(measure(int(count), options) for count in options.items.split(","))])
    print(table)
    if options.out:
        options.out.write_text(f"# Poison\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
