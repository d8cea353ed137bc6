"""How fast a split is read on this machine, and what holds it up."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shardwright.datasets.shard_dataset import ShardDataset
from shardwright.loading.loader import Loader

READ_BYTES = 4 << 20
NEAR = 0.8
"""From this share of a limit on, the limit is what holds reading up."""


@dataclass(frozen=True)
class Speed:
    """A way to read, and the samples a second that it gave."""

    name: str
    rate: float


@dataclass(frozen=True)
class BenchResult:
    """What was found.

    Attributes:
        found: plain `read()` of the shards in order, as much of them in memory as the system happened to have.
        limit: the same once more.
        first: the loader's first epoch, each member checked.
        later: shuffled epochs after that.
        sample_bytes: a sample in its shard.
        batch_size: samples a batch.
    """

    found: Speed
    limit: Speed
    first: Speed
    later: tuple[Speed, ...]
    sample_bytes: float
    batch_size: int

    @property
    def speeds(self) -> tuple[Speed, ...]:
        """All of them, in the order they were measured in."""
        return (self.found, self.limit, self.first, *self.later)

    def explain(self) -> list[str]:
        """What holds reading up, and what that means for a training loop; in sentences."""
        best = max(self.later, key=lambda speed: speed.rate)
        step = 1000 * self.batch_size / best.rate
        said = [f"A training step that takes longer than {step:.2f} ms a batch does not wait for data ({best.name})."]
        if self.found.rate < NEAR * self.first.rate:
            said.append("The disk is the bottleneck while the shards are not in memory yet.")
        elif self.first.rate < NEAR * best.rate:
            said.append("The first epoch is held up by the checks: each member's crc32, once.")
        if best.rate >= NEAR * self.limit.rate:
            said.append("Later epochs are held up by memory: they go as fast as the bytes can be copied.")
        else:
            said.append("Later epochs are held up by the loader, by what each batch costs: larger batches help.")
        return said


def measure(root: str | Path, split: str, batch_size: int, seconds: float, threads: Sequence[int]) -> BenchResult:
    """Read a split in several ways, each for `seconds` or to its end at least once.

    Args:
        threads: the loader's, one measurement for each.

    Raises:
        ValueError: the split is empty.
        what opening and reading a `ShardDataset` raises.
    """
    with ShardDataset(root, split) as data:
        if not len(data):
            raise ValueError(f"{root}: split {split!r} has no samples")
        shards = data.manifest.splits[split].shards
        paths = [Path(root) / split / shard.name for shard in shards]
        sample_bytes = sum(shard.bytes for shard in shards) / len(data)

        def read() -> Iterator[float]:
            return (size / sample_bytes for path in paths for size in read_file(path))

        def load(count: int) -> Callable[[], Iterator[float]]:
            loader = Loader(data, batch_size, shuffle=True, threads=count)
            return lambda: (float(len(batch["key"])) for batch in loader)

        return BenchResult(
            Speed("read(), as found", time_pass(read, 0)),
            Speed("read(), the limit", time_pass(read, seconds)),
            Speed("loader, first epoch", time_pass(load(threads[0]), 0)),
            tuple(Speed(f"loader, threads={count}", time_pass(load(count), seconds)) for count in threads),
            sample_bytes,
            batch_size,
        )


def read_file(path: Path) -> Iterator[int]:
    """Read a file into the same memory again and again: the sizes of the parts."""
    memory = bytearray(READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(memory):
            yield size


def time_pass(begin: Callable[[], Iterator[float]], seconds: float) -> float:
    """Samples a second over whole passes, until `seconds` are over and one is done."""
    samples, started = 0.0, time.perf_counter()
    while True:
        samples += sum(begin())
        elapsed = time.perf_counter() - started
        if elapsed >= seconds:
            return samples / elapsed
