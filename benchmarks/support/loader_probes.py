"""What else a user waits for or pays: the first batch, opening many shards, memory over many epochs.

`python -m benchmarks.support.loader_probes PROBE FOLDER`; `benchmarks.bench_loader` calls it, each probe in a new
process.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np

import shardwright
from benchmarks.support.apart import write_outcome
from benchmarks.support.limits import list_tars, read_files
from benchmarks.support.read_tensors import BATCH
from shardwright import Field, Loader, Manifest, Sample, ShardDataset, write_manifest, write_shard, write_split

EPOCHS = 20
OPENINGS = 5
SAMPLES_PER_OPENED_SHARD = 10
SHARD_COUNTS = (10, 30, 100, 300, 1000, 2000)


def probe_first_batch(folder: Path) -> dict[str, Any]:
    """`seconds` from opening the set to its first shuffled batch, warm, imports aside."""
    import_module("torch")
    for module in iter_modules(shardwright.__path__, "shardwright."):
        import_module(module.name)
    read_files(list_tars(folder))
    start = time.perf_counter()
    batches = iter(Loader(ShardDataset(folder, split="train"), BATCH, shuffle=True, seed=0))
    next(batches)
    seconds = time.perf_counter() - start  # `next(iter(...))` would also end the threads that read ahead
    return {"seconds": seconds}


def probe_threads(folder: Path) -> dict[str, Any]:
    """`threads` that the loader chooses where none are named."""
    return {"threads": Loader(ShardDataset(folder, split="train"), BATCH, shuffle=True).threads}


def probe_memory(folder: Path, threads: int) -> dict[str, Any]:
    """MiB of this process's own memory after each of 20 epochs of one open set.

    Pages of the shards themselves are not counted: they belong to the page cache, and are taken away on demand.
    """
    loader = Loader(ShardDataset(folder, split="train"), BATCH, shuffle=True, seed=0, threads=threads)
    epochs = []
    for _ in range(EPOCHS):
        for _batch in loader:
            pass
        epochs.append(read_own_memory())
    return {"mebibytes": epochs}


def read_own_memory() -> float:
    """MiB of anonymous memory of this process that is in RAM; Linux only."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no RssAnon")


def probe_opening(folder: Path) -> dict[str, Any]:
    """The best `seconds` of opening a split, by its number of shards of 10 samples each; makes those that are missing.

    The best of 5, warm.
    """
    seconds = {}
    for shards in SHARD_COUNTS:
        root = folder / f"shards-{shards}"
        if not (root / "dataset.json").exists():
            write_shards(root, shards)
        seconds[str(shards)] = min(time_opening(root) for _ in range(OPENINGS))
    return {"seconds": seconds}


def time_opening(root: Path) -> float:
    """Seconds of one opening; closing is not counted."""
    start = time.perf_counter()
    data = ShardDataset(root, split="train")
    seconds = time.perf_counter() - start
    data.close()
    return seconds


def write_shards(root: Path, shards: int) -> None:
    """A dataset of so many small shards."""
    fields = {"value": Field("float32", (4,)), "label": Field("int64", ())}
    folder = root / "train"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for shard in range(shards):
        numbers = range(shard * SAMPLES_PER_OPENED_SHARD, (shard + 1) * SAMPLES_PER_OPENED_SHARD)
        samples = [Sample(f"{n:09d}", {"value": np.full(4, n, np.float32), "label": n}, {}) for n in numbers]
        written.append(write_shard(folder / f"train-{shard:06d}.tar", fields, samples))
    write_manifest(root, Manifest(fields, {"train": write_split(folder, fields, written)}))


def main() -> None:
    """Run one probe."""
    parser = argparse.ArgumentParser(description="Measures what else a user of the loader waits for.")
    parser.add_argument("probe", choices=("first_batch", "memory", "opening", "threads"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    probes: dict[str, Callable[[Path], dict[str, Any]]] = {
        "first_batch": probe_first_batch,
        "memory": partial(probe_memory, threads=options.threads),
        "opening": probe_opening,
        "threads": probe_threads,
    }
    write_outcome(probes[options.probe](options.folder))


if __name__ == "__main__":
    main()
