"""From planned batches to batches in the caller's hands: read ahead, checked, as tensors, on the device asked for."""

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from shardwright.datasets.base import ReadContext, SampleSource
from shardwright.loading.batch_reader import BatchReader, OnError, ReadBatch, ReadTask, to_tensors
from shardwright.loading.buffer_pool import BufferPool
from shardwright.loading.device import DeviceCache, DeviceTransfer, PendingTransfer, fits_device, fits_memory
from shardwright.loading.prefetch import read_ahead
from shardwright.loading.worker_pool import WorkerPool

if TYPE_CHECKING:
    import torch

Cache = Literal["auto", "device", "memory"]


@dataclass(frozen=True)
class StreamOptions:
    """How batches are read; nothing in it changes what comes out.

    Attributes: see `Loader`.
    """

    threads: int = 1
    processes: int = 0
    timeout: float | None = None
    on_error: OnError = "raise"
    device: "str | torch.device" = "cpu"
    cache: Cache | None = None

    def __post_init__(self) -> None:
        if self.threads < 0 or self.processes < 0:
            raise ValueError(f"threads {self.threads} and processes {self.processes} must be at least 0")
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f'on_error {self.on_error!r} must be "raise" or "skip"')
        if self.cache not in (None, "auto", "device", "memory"):
            raise ValueError(f'cache {self.cache!r} must be None, "auto", "device" or "memory"')
        if self.processes and self.cache is not None:
            raise ValueError("a cache is memory of this process: use threads, not processes, with it")
        if self.timeout is not None and not self.processes:
            raise ValueError("timeout ends processes; threads cannot be ended")


class BatchStream:
    """Reads planned batches ahead and hands them over in order.

    Args:
        data: what is read.
        how: in which way.
        seed: of the draws of transforms.
    """

    def __init__(self, data: SampleSource, how: StreamOptions, seed: int) -> None:
        self._how = how
        self._transfer = DeviceTransfer(how.device)
        cache = choose_cache(data, how, self._transfer)
        self._kept = DeviceCache(self._transfer.device, data.count_rows()) if cache == "device" else None
        reading = ReadContext(seed=seed)
        if not how.processes:
            pool = BufferPool(2 * how.threads + 3, self._transfer.pinned)
            reading = ReadContext(seed=seed, allocate=pool.allocate)
        self._reader = BatchReader(data.cached() if cache == "memory" else data, reading, how.on_error)
        self._processes: WorkerPool | None = None

    def deliver(self, tasks: Iterable[ReadTask]) -> Generator[ReadBatch, None, None]:
        """A delivery for each task, in order; closing it waits for what is under way and leaves no thread behind."""
        with closing(self._read_ahead(tasks)) as results:
            for task, sent in results:
                yield self._receive(task, sent)

    def close(self) -> None:
        """End the processes, if there are any."""
        if self._processes is not None:
            self._processes.close()
            self._processes = None

    def _read_ahead(self, tasks: Iterable[ReadTask]) -> Generator[tuple[ReadTask, PendingTransfer | None], None, None]:
        if not self._how.processes:
            yield from read_ahead(self._read, tasks, self._how.threads)
            return
        if self._processes is not None and self._processes.lost:
            self.close()
        if self._processes is None:
            self._processes = WorkerPool(self._reader, self._how.processes, self._how.timeout)
        with closing(self._processes.read_ahead(tasks)) as results:
            for task, delivery in results:
                yield task, self._transfer.send(to_tensors(delivery))

    def _read(self, task: ReadTask) -> tuple[ReadTask, PendingTransfer | None]:
        if self._kept is not None and self._kept.holds(task.plan):
            return task, None
        return task, self._transfer.send(to_tensors(self._reader.read(task)))

    def _receive(self, task: ReadTask, sent: PendingTransfer | None) -> ReadBatch:
        if self._kept is None:
            assert sent is not None
            return self._transfer.receive(sent)
        if sent is None:
            return ReadBatch(self._kept.take(task.plan))
        delivery = self._transfer.receive(sent)
        if not delivery.skips:
            self._kept.keep(task.plan, delivery.batch)
        return delivery


def choose_cache(
    data: SampleSource, how: StreamOptions, transfer: DeviceTransfer
) -> Literal["device", "memory"] | None:
    """Where samples are kept.

    "auto" is the device where they fit into half of its free memory, else this machine's memory likewise.

    Raises:
        ValueError: batches that differ from epoch to epoch cannot stay on a device.
    """
    if how.cache == "device" and not data.fixed:
        raise ValueError('cache="device" would keep what a transform made of a sample once; take cache="memory"')
    if how.cache != "auto":
        return how.cache
    if data.fixed and fits_device(data, transfer.device):
        return "device"
    return "memory" if fits_memory(data) else None
