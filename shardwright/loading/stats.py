"""Count what an iteration of a loader delivered, and where its time went."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from shardwright.datasets.ragged import RaggedArray
from shardwright.loading.batch_reader import ReadBatch


@dataclass(frozen=True)
class LoaderStats:
    """The latest iteration of a loader up to its latest batch.

    Attributes:
        batches: that were delivered.
        samples: with `valid` True.
        bytes: of the batches' tensors and arrays.
        wait_seconds: that the training waited for batches. Near zero, the loader keeps up.
        read_seconds: that threads or processes took to read, decode and transform these batches, added up.
        ready: batches that were complete and waited when the latest one was taken.
        skipped: damaged samples that were skipped.
        omitted: samples that transforms left out, see `SampleSource.with_transform`.
        threads, processes: that batches are read with.
    """

    threads: int
    processes: int
    batches: int = 0
    samples: int = 0
    bytes: int = 0
    wait_seconds: float = 0.0
    read_seconds: float = 0.0
    ready: int = 0
    skipped: int = 0
    omitted: int = 0

    def add(self, delivery: ReadBatch, wait_seconds: float, ready: int) -> "LoaderStats":
        """Return the stats with one more batch."""
        return replace(
            self,
            batches=self.batches + 1,
            samples=self.samples + delivery.samples,
            bytes=self.bytes + _count_bytes(delivery.batch),
            wait_seconds=self.wait_seconds + wait_seconds,
            read_seconds=self.read_seconds + delivery.seconds,
            ready=ready,
            skipped=self.skipped + len(delivery.skips),
            omitted=self.omitted + delivery.omitted,
        )


def _count_bytes(batch: Mapping[str, Any]) -> int:
    parts = [
        part
        for values in batch.values()
        for part in ((values.values, values.offsets) if isinstance(values, RaggedArray) else (values,))
    ]
    return sum(int(getattr(part, "nbytes", 0)) for part in parts)
