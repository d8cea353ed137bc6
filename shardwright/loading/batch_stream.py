"""Read planned batches ahead, convert them to tensors, and move them to the requested device, in order."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from contextlib import closing

from shardwright.datasets.base import SampleSource
from shardwright.datasets.read_context import ReadContext
from shardwright.loading.batch_reader import BatchReader, ReadBatch, ReadTask, to_tensors
from shardwright.loading.buffer_pool import BufferPool
from shardwright.loading.device import DeviceCache, DeviceTransfer, PendingTransfer
from shardwright.loading.library_threads import apply_limit, limit_opencv
from shardwright.loading.prefetch import read_ahead
from shardwright.loading.stream_options import StreamOptions, choose_cache
from shardwright.loading.worker_pool import WorkerPool
from shardwright.storage.gather import use_one_thread


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
        cache = choose_cache(data, options.cache, self._transfer.device)
        self._device_cache = DeviceCache(self._transfer.device, data.count_rows()) if cache == "device" else None
        context = ReadContext(seed=seed)
        if not options.processes:
            pool = BufferPool(2 * options.threads + 3, self._transfer.pinned)
            context = ReadContext(seed=seed, allocate=pool.allocate)
        self._reader = BatchReader(data.cached() if cache == "memory" else data, context, options.on_error)
        self._workers: WorkerPool | None = None
        self._pending: deque[Future[tuple[ReadTask, PendingTransfer | None]]] = deque()  # of the latest iteration

    def deliver(self, tasks: Iterable[ReadTask], threads: int) -> Generator[ReadBatch, None, None]:
        """Yield the batch of each task, in order; closing waits for reads in progress and leaves no thread behind."""
        with limit_opencv(), closing(self._read_ahead(tasks, threads)) as results:
            for task, sent in results:
                yield self._receive(task, sent)

    def count_ready(self) -> int:
        """Return the batches of the latest iteration that are complete and wait to be delivered."""
        if self._workers is not None:
            return self._workers.count_ready()
        return sum(future.done() for future in self._pending)

    def close(self) -> None:
        """End the worker processes, if there are any."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def _read_ahead(
        self, tasks: Iterable[ReadTask], threads: int
    ) -> Generator[tuple[ReadTask, PendingTransfer | None], None, None]:
        if not self._options.processes:
            self._pending = deque()
            yield from read_ahead(self._read, tasks, threads, self._pending)
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
        apply_limit()
        with use_one_thread(), self._transfer.select():
            delivery = self._reader.read(task)
        return task, self._transfer.send(to_tensors(delivery))

    def _receive(self, task: ReadTask, sent: PendingTransfer | None) -> ReadBatch:
        if self._device_cache is None:
            assert sent is not None
            return self._transfer.receive(sent)
        if sent is None:
            return ReadBatch(self._device_cache.load_batch(task.plan), int(task.plan.valid.sum()))
        delivery = self._transfer.receive(sent)
        if not delivery.skips:
            self._device_cache.store_batch(task.plan, delivery.batch)
        return delivery
