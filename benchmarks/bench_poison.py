"""What items cost that kill, swallow or hang their process: wall time beside that of the same items without them.

    python -m benchmarks.bench_poison [--items 600] [--milliseconds 7] [--chunk 10] [--workers 2] [--rounds 3]

Each item works for some milliseconds; 1 % of each kind is poison, at fixed places. A clean run and those with poison
take turns, the fastest of the rounds counts, start-up included. The limit of time for an item is what a hanging one
costs: its share is `hanging items x limit / workers`, whatever the rest takes.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.execute import run_tasks
from pipeline.params import RunParams
from pipeline.records import MACHINE_REASONS, Rejection
from tests.poison import POISONS, Items, work_on

MIXES = {
    "clean": (),
    "crash": ("falls",),
    "memory": ("grows",),
    "hang": ("loops in C",),
    "all three": ("falls", "grows", "loops in C"),
}


def plan_tasks(kinds: Sequence[str], options: argparse.Namespace) -> list[Items]:
    """Chunks of items, with 1 % of each kind at places that the seed says."""
    items = ["good"] * options.items
    each = max(options.items // 100, 1)
    for place, kind in zip(
        random.Random(0).sample(range(options.items), each * len(kinds)), [*kinds] * each, strict=True
    ):
        items[place] = kind
    return [
        Items(f"{start}", items[start : start + options.chunk], options.milliseconds / 1000)
        for start in range(0, options.items, options.chunk)
    ]


def name_end(result: str | Rejection) -> str:
    """`kept`, `crashed`, or `this machine`: on a busy one, an item that fills memory may be out of time before."""
    if isinstance(result, str):
        return "kept"
    return "this machine" if result.reason in MACHINE_REASONS else "crashed"


def time_run(kinds: Sequence[str], options: argparse.Namespace) -> float:
    """Seconds of a run; that exactly the poison was lost is checked."""
    tasks = plan_tasks(kinds, options)
    run = RunParams(
        workers=options.workers, memory="256 MiB", item_seconds=options.limit, cache=".cache", progress=False
    )
    start = time.perf_counter()
    results = dict(run_tasks(work_on, tasks, run))
    seconds = time.perf_counter() - start
    found = [name_end(result) for number in range(len(tasks)) for result in results[number]]
    wanted = [name_end(Rejection(POISONS[kind][1], "") if kind in POISONS else kind) for t in tasks for kind in t.kinds]
    assert found == wanted, Counter(zip(found, wanted, strict=True))
    return seconds


def measure(options: argparse.Namespace) -> str:
    """A table of the runs, fastest of the rounds, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in MIXES}
    for _ in range(options.rounds):
        for name, kinds in MIXES.items():
            seconds[name].append(time_run(kinds, options))
    clean = min(seconds["clean"])
    lines = ["| 1 % of each of | seconds | times clean |", "| --- | --- | --- |"]
    lines += [f"| {name} | {min(times):.2f} | {min(times) / clean:.2f} |" for name, times in seconds.items()]
    head = (
        f"{options.items} items of {options.milliseconds:g} ms, {options.chunk} a task, {options.workers} workers, "
        f"run.item_seconds {options.limit:g}, run.memory 256 MiB, best of {options.rounds}\n"
    )
    return "\n".join([head, *lines])


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=600)
    parser.add_argument("--milliseconds", type=float, default=7)
    parser.add_argument("--chunk", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=0.5, help="run.item_seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a file for the table")
    options = parser.parse_args(arguments)
    table = measure(options)
    print(table)
    if options.out:
        options.out.write_text(f"# Poison\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
