"""Read planned batches ahead, convert them to tensors, and move them to the requested device, in order."""

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
    """How batches are read; no option changes their contents. Attributes: see `Loader`."""

    threads: int
    processes: int = 0
    timeout: float | None = None
    on_error: OnError = "raise"
    device: "str | torch.device" = "cpu"
    cache: Cache | None = None

    def __post_init__(self) -> None:
        for name, number in (("threads", self.threads), ("processes", self.processes)):
            if number < 0:
                raise ValueError(f"{name} is {number}; it must be at least 0")
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f'on_error is {self.on_error!r}; it must be "raise" or "skip"')
        if self.cache not in (None, "auto", "device", "memory"):
            raise ValueError(f'cache is {self.cache!r}; it must be None, "auto", "device" or "memory"')
        if self.processes and self.cache is not None:
            raise ValueError(
                f"cache is {self.cache!r} and processes is {self.processes}; a cache is memory of this process, so use "
                "threads, not processes, with it"
            )
        if self.timeout is not None and not self.processes:
            raise ValueError(
                f"timeout is {self.timeout:g} and processes is 0; only processes can be ended, so set processes, or "
                "leave timeout out"
            )


class BatchStream:
    """Read planned batches ahead and deliver them in order.

    Args:
        data: the source to read.
        options: how to read.
        seed: of the random generators of transforms.
    """

    def __init__(self, data: SampleSource, options: StreamOptions, seed: int) -> None:
        self._options = options
        self._transfer = DeviceTransfer(options.device)
        cache = choose_cache(data, options, self._transfer)
        self._device_cache = DeviceCache(self._transfer.device, data.count_rows()) if cache == "device" else None
        context = ReadContext(seed=seed)
        if not options.processes:
            pool = BufferPool(2 * options.threads + 3, self._transfer.pinned)
            context = ReadContext(seed=seed, allocate=pool.allocate)
        self._reader = BatchReader(data.cached() if cache == "memory" else data, context, options.on_error)
        self._workers: WorkerPool | None = None

    def deliver(self, tasks: Iterable[ReadTask], threads: int) -> Generator[ReadBatch, None, None]:
        """Yield the batch of each task, in order; closing waits for reads in progress and leaves no thread behind."""
        with closing(self._read_ahead(tasks, threads)) as results:
            for task, sent in results:
                yield self._receive(task, sent)

    def close(self) -> None:
        """End the worker processes, if there are any."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def _read_ahead(
        self, tasks: Iterable[ReadTask], threads: int
    ) -> Generator[tuple[ReadTask, PendingTransfer | None], None, None]:
        if not self._options.processes:
            yield from read_ahead(self._read, tasks, threads)
            return
        if self._workers is not None and self._workers.lost:
            self.close()
        if self._workers is None:
            self._workers = WorkerPool(self._reader, self._options.processes, self._options.timeout)
        with closing(self._workers.read_ahead(tasks)) as results:
            for task, delivery in results:
                yield task, self._transfer.send(to_tensors(delivery))

    def _read(self, task: ReadTask) -> tuple[ReadTask, PendingTransfer | None]:
        if self._device_cache is not None and self._device_cache.has_batch(task.plan):
            return task, None
        return task, self._transfer.send(to_tensors(self._reader.read(task)))

    def _receive(self, task: ReadTask, sent: PendingTransfer | None) -> ReadBatch:
        if self._device_cache is None:
            assert sent is not None
            return self._transfer.receive(sent)
        if sent is None:
            return ReadBatch(self._device_cache.load_batch(task.plan))
        delivery = self._transfer.receive(sent)
        if not delivery.skips:
            self._device_cache.store_batch(task.plan, delivery.batch)
        return delivery


def choose_cache(
    data: SampleSource, options: StreamOptions, transfer: DeviceTransfer
) -> Literal["device", "memory"] | None:
    """Return where samples are cached.

    "auto" is the device if the samples fit into half of its free memory, else this machine's memory likewise.

    Raises:
        ValueError: the samples differ between epochs, so they cannot be cached on a device.
    """
    if options.cache == "device" and not data.fixed:
        raise ValueError(
            'cache is "device", which would keep the first result of a transform for all epochs; use cache="memory", '
            "which caches the samples before the transform"
        )
    if options.cache != "auto":
        return options.cache
    if data.fixed and fits_device(data, transfer.device):
        return "device"
    return "memory" if fits_memory(data) else None
