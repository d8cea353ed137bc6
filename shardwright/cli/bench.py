"""Measure how fast a split is read on this machine, and find the bottleneck."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shardwright.datasets.shard_dataset import ShardDataset
from shardwright.loading.loader import Loader

READ_BYTES = 4 << 20
NEAR = 0.8
"""A rate of at least this share of a limit counts as held up by that limit."""


@dataclass(frozen=True)
class Speed:
    """A way to read, and its rate in samples a second."""

    name: str
    rate: float


@dataclass(frozen=True)
class BenchResult:
    """The rates of several ways to read a split.

    Attributes:
        cold: plain `read()` of the shards in order, with whatever part of them the page cache had.
        warm: the same again.
        first: the loader's first epoch, with each member checked.
        later: shuffled epochs after that.
        sample_bytes: of a sample in its shard.
        batch_size: samples a batch.
    """

    cold: Speed
    warm: Speed
    first: Speed
    later: tuple[Speed, ...]
    sample_bytes: float
    batch_size: int

    @property
    def speeds(self) -> tuple[Speed, ...]:
        """All rates, in the order of measurement."""
        return (self.cold, self.warm, self.first, *self.later)

    def explain(self) -> list[str]:
        """Return sentences that name the bottleneck, and what it means for a training loop."""
        best = max(self.later, key=lambda speed: speed.rate)
        step = 1000 * self.batch_size / best.rate
        sentences = [f"A training step of more than {step:.2f} ms does not wait for data ({best.name})."]
        if self.cold.rate < NEAR * self.first.rate:
            sentences.append("Before the shards are in memory, the disk is the bottleneck.")
        elif self.first.rate < NEAR * best.rate:
            sentences.append("In the first epoch the checks are the bottleneck: the crc32 of each member, once.")
        if best.rate >= NEAR * self.warm.rate:
            sentences.append("In later epochs memory is the bottleneck: samples are read as fast as bytes are copied.")
        else:
            sentences.append("In later epochs the cost of each batch is the bottleneck: larger batches help.")
        return sentences


def measure(root: str | Path, split: str, batch_size: int, seconds: float, threads: Sequence[int]) -> BenchResult:
    """Read a split in several ways, each for `seconds` and at least once to its end.

    Args:
        root: the dataset's folder.
        split: its name.
        batch_size: samples a batch.
        seconds: for each way to read.
        threads: of the loader, one measurement for each number.

    Raises:
        ValueError: the split is empty, or `batch_size` is less than 1.
        ShardwrightError, OSError, KeyError: see `ShardDataset`.
        ModuleNotFoundError: PyTorch is not installed.
    """
    with ShardDataset(root, split) as data:
        if not len(data):
            raise ValueError(f"{root}: split {split!r} has no samples to read")
        shards = data.manifest.splits[split].shards
        paths = [Path(root) / split / shard.name for shard in shards]
        sample_bytes = sum(shard.bytes for shard in shards) / len(data)

        def read() -> Iterator[float]:
            return (size / sample_bytes for path in paths for size in read_file(path))

        def load(count: int) -> Callable[[], Iterator[float]]:
            loader = Loader(data, batch_size, shuffle=True, threads=count)
            return lambda: (float(len(batch["key"])) for batch in loader)

        return BenchResult(
            Speed("read(), first time", time_pass(read, 0)),
            Speed("read(), again", time_pass(read, seconds)),
            Speed("loader, first epoch", time_pass(load(threads[0]), 0)),
            tuple(Speed(f"loader, threads={count}", time_pass(load(count), seconds)) for count in threads),
            sample_bytes,
            batch_size,
        )


def read_file(path: Path) -> Iterator[int]:
    """Read a file in parts into the same memory; yield their sizes."""
    memory = bytearray(READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(memory):
            yield size


def time_pass(begin: Callable[[], Iterator[float]], seconds: float) -> float:
    """Return the samples a second over whole passes: at least one, until `seconds` have passed."""
    samples, started = 0.0, time.perf_counter()
    while True:
        samples += sum(begin())
        elapsed = time.perf_counter() - started
        if elapsed >= seconds:
            return samples / elapsed
