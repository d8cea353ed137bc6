"""CPU time of a first, checked pass over a set, of later passes, of `verify` and of its sha256 alone, in one process.

`python -m benchmarks.support.first_pass FOLDER THREADS`; `benchmarks.bench_first_pass` calls it, also for another
checkout: it uses nothing that a release before it lacks.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from shardwright import Loader, ShardDataset, verify
from shardwright.format.walk_shard import hash_file

BATCH = 64
REPEATS = 3
MARK = "outcome "


def time_work(work: Callable[..., object], *arguments: object) -> float:
    """Seconds of this process's CPU time that a call takes."""
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start


def read_all(loader: Loader) -> None:
    for _ in loader:
        pass


def hash_all(shards: Sequence[Path]) -> None:
    for path in shards:
        hash_file(path)


def measure(folder: Path, threads: int | None) -> dict[str, float]:
    """Microseconds of CPU time a sample, the least of some repeats."""
    found: dict[str, list[float]] = {"first": [], "later": [], "verify": [], "sha256": []}
    samples = 0
    shards = sorted(folder.glob("*/*.tar"))
    for _ in range(REPEATS):
        with ShardDataset(folder, "train") as data:
            samples = len(data)
            loader = Loader(data, BATCH, shuffle=True, threads=threads)
            found["first"].append(time_work(read_all, loader))
            found["later"] += [time_work(read_all, loader) for _ in range(2)]
        found["verify"].append(time_work(verify, folder))
        found["sha256"].append(time_work(hash_all, shards))
    return {name: min(seconds) / samples * 1e6 for name, seconds in found.items()}


if __name__ == "__main__":
    count = None if sys.argv[2] == "default" else int(sys.argv[2])
    sys.stdout.write(f"\n{MARK}{json.dumps(measure(Path(sys.argv[1]), count))}\n")
