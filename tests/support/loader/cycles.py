"""Open datasets and loaders and abandon them repeatedly, in a separate process:
`python -m tests.support.loader.cycles ROOT KIND CYCLES`. Prints as JSON the resources of the process at intervals."""

import ctypes
import gc
import json
import multiprocessing
import os
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from shardwright import Loader, ShardDataset
from shardwright.loading.window_reader import Blocks
from tests.support.loader.sets import Ragged, brighten
from tests.support.processes import list_children, read_proc
from tests.support.waiting import wait_for

BATCH = 24
MEASUREMENTS = 5
MARK = f"mp{os.getpid()}"
"""Part of the names of this process's semaphores, so that those of others are not counted."""
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "threads": [{"shuffle": True, "threads": 2}],
    "blocks": [{"shuffle": "block", "threads": threads, "blocks": Blocks(1 << 18, 2, 2, 2)} for threads in (0, 1, 2)],
    "caches": [{"shuffle": True, "threads": 2, "cache": cache} for cache in ("memory", "device")],
    "processes": [{"shuffle": True, "processes": 1}],
}
OPTIONS["all but processes"] = [*OPTIONS["threads"], *OPTIONS["blocks"], *OPTIONS["caches"]]


class Holder:
    """A reference cycle, so that only the garbage collector frees its content."""

    def __init__(self, held: Any) -> None:
        self.held = held
        self.itself = self


def abandon_iteration(root: Path, options: dict[str, Any], rng: random.Random) -> None:
    """Run one cycle: open objects are dropped without closing them."""
    data = ShardDataset(root, "train", access=rng.choice(["map", "pread"]))
    loader = Loader(
        data.with_transform(brighten) if rng.random() < 0.2 and options.get("cache") is None else data, BATCH, **options
    )
    iteration = iter(loader)
    batches = list(islice(iteration, rng.randrange(len(loader) + 1)))
    if rng.random() < 0.5:
        Holder((iteration, batches))


def count_children() -> int:
    """Return the number of child processes, except Python's one resource tracker, which ends with this process."""
    commands = [read_proc(pid, "cmdline") for pid in list_children(os.getpid())]
    return sum(command is not None and "resource_tracker" not in command for command in commands)


def has_ended() -> bool:
    """Return whether all threads and processes of what was abandoned have ended: the collector may run in one of
    those threads, and does not wait for them then."""
    return threading.active_count() == 1 and not count_children()


def measure(root: Path) -> dict[str, int]:
    gc.collect()
    with suppress(AssertionError):  # the counts show what is left
        wait_for(has_ended, 60)
    ctypes.CDLL(None).malloc_trim(0)  # what the allocator keeps of freed memory depends on how threads met
    maps = Path("/proc/self/maps").read_text()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "threads": threading.active_count(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "shared memory": len(list(Path("/dev/shm").glob(f"*{MARK}*"))) + maps.count("/dev/shm/"),
        "maps of shards": maps.count(str(root)),
        "children": count_children(),
        "resident kB": int(status["VmRSS"].split()[0]),
    }


def run(root: Path, kind: str, cycles: int) -> Iterator[dict[str, int]]:
    """Yield the resources held after a warm-up, and then after each part of the cycles."""
    rng = random.Random(kind)
    options = OPTIONS[kind]
    part = max(1, cycles // MEASUREMENTS)
    for number in range(cycles + part):
        abandon_iteration(root, options[number % len(options)], rng)
        if number % part == part - 1:
            yield measure(root)


def main() -> None:
    root, kind, cycles = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    vars(multiprocessing.current_process())["_config"]["semprefix"] = f"/{MARK}"
    complaints: list[str] = []
    sys.unraisablehook = lambda unraisable: complaints.append(repr(unraisable.exc_value))
    threading.excepthook = lambda arguments: complaints.append(repr(arguments.exc_value))
    gc.set_threshold(60, 5, 5)  # it runs often, and in any thread
    list(islice(Loader(Ragged(9), 4, shuffle=True), 1))
    json.dump({"held": list(run(root, kind, cycles)), "complaints": complaints}, sys.stdout)


if __name__ == "__main__":
    main()
