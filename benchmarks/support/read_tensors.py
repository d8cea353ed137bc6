"""How fast one reader reads one set: it is opened once and read again and again, in this process.

`python -m benchmarks.support.read_tensors READER FOLDER SIZE --samples N [--shuffle] [--workers W]`;
`benchmarks.bench_loader`
calls it. The readers are the two limits, the peers by name, and `shardwright`, whose workers are threads.
"""

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.support.apart import write_outcome
from benchmarks.support.limits import Epoch, open_memcpy, open_raw, read_files
from benchmarks.support.make_tensors import SIZES, sum_labels
from benchmarks.support.peers import PEERS, Reading, open_shardwright

BATCH = 64
LATER_SECONDS = 2.0
"""Epochs after the first are read until they took so long together, at least one: short epochs are more at the mercy of
what else runs on the machine, so more of them are read, and the best one counts."""
LATER_EPOCHS = 10
READERS = ("read", "memcpy", "shardwright", *PEERS)


@dataclass(frozen=True)
class Rates:
    """Samples a second of the first epoch and of the best later one; seconds from its start to its first batch."""

    first: float
    later: float
    first_batch: float


def open_reader(name: str, reading: Reading, size: str, samples: int) -> Epoch:
    """The reader of that name on the set."""
    if name == "read":
        return open_raw(reading.folder, samples)
    if name == "memcpy":
        return open_memcpy(reading.folder, SIZES[size], reading.batch, reading.shuffle)
    return open_shardwright(reading) if name == "shardwright" else PEERS[name].open(reading)


def measure(epoch: Epoch, samples: int, later_seconds: float = LATER_SECONDS) -> Rates:
    """Read the first epoch and some later ones.

    Raises:
        AssertionError: the labels of an epoch are not those of the set.
    """
    seconds, first_batch = time_epoch(epoch, samples)
    later = [time_epoch(epoch, samples)[0]]
    while sum(later) < later_seconds and len(later) < LATER_EPOCHS:
        later.append(time_epoch(epoch, samples)[0])
    return Rates(samples / seconds, samples / min(later), first_batch)


def time_epoch(epoch: Epoch, samples: int) -> tuple[float, float]:
    """Seconds of the whole epoch and up to its first batch."""
    labels: list[int] = []
    start = time.perf_counter()
    first_batch = 0.0
    for batch in epoch():
        first_batch = first_batch or time.perf_counter() - start
        labels += batch.tolist()  # and no batch is kept: a training loop lets go of them too
    seconds = time.perf_counter() - start
    found = len(labels), sum(labels)
    wanted = samples, sum_labels(samples)
    assert found == wanted, f"{found[0]} samples with labels that sum up to {found[1]}, not {wanted[0]} and {wanted[1]}"
    return seconds, first_batch


def main() -> None:
    """Measure one reader."""
    parser = argparse.ArgumentParser(description="Measures one reader on one set.")
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--shuffle", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=LATER_SECONDS)
    options = parser.parse_args()
    reading = Reading(options.folder, BATCH, options.shuffle, options.workers)
    read_files(path for path in options.folder.rglob("*") if path.is_file())  # the first epoch is warm too
    epoch = open_reader(options.reader, reading, options.size, options.samples)
    write_outcome(asdict(measure(epoch, options.samples, options.seconds)))


if __name__ == "__main__":
    main()
