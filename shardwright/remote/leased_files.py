"""Read the shards of a split at a URL: fetch them whole, lease them from the cache, and release them."""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import DamageError
from shardwright.remote.disk_cache import LEASE_HOLDERS, CacheItem, ClosedError, Pause, ShardCache, WaitOptions
from shardwright.remote.fetch import Fetcher, RemoteFile
from shardwright.remote.settings import Remote
from shardwright.storage.descriptors import Descriptor, Descriptors
from shardwright.storage.file_set import FileSet
from shardwright.storage.read_plan import ReadPiece, cut_pieces, merge_ranges
from shardwright.storage.window_memory import WindowMemory
from shardwright.storage.windows import Window

BLOCK = 512
CLOSING_SECONDS = 10.0
"""How long `close` waits for threads that are reading; they stop within a fraction of a second."""

Task = TypeVar("Task")


class FileStore:
    """Whole files, from the cache or else from the server.

    Args:
        cache: of fetched files.
        fetcher: of missing files.
        settings: the number of downloads at a time, and how long to wait for others.
    """

    def __init__(self, cache: ShardCache, fetcher: Fetcher, settings: Remote) -> None:
        self.cache = cache
        self.settings = settings
        self._fetcher = fetcher
        self._turns = threading.Semaphore(settings.threads)

    def open(self, item: CacheItem, pause: Pause) -> int:
        """Return a descriptor of the file, see `ShardCache.open`.

        Raises:
            DamageError: the server does not have it, or sends another file.
            OSError: see `Fetcher.fetch` and `ShardCache.open`.
        """

        def fetch(path: Path, descriptor: int) -> None:
            with self._take_turn(pause):
                try:
                    self._fetcher.fetch(RemoteFile(item.name, item.bytes, item.sha256), (path, descriptor), pause)
                except FileNotFoundError as error:
                    raise DamageError(f"{error.filename}: missing", shard=item.name.rpartition("/")[2]) from None

        return self.cache.open(item, fetch, WaitOptions(pause, self.settings.stall, self.settings.deadline))

    def reset(self) -> None:
        """Release the turns that threads held in the parent of this forked process."""
        self._turns = threading.Semaphore(self.settings.threads)

    @contextmanager
    def _take_turn(self, pause: Pause) -> Iterator[None]:
        turns = self._turns
        while not turns.acquire(timeout=0.05):
            pause(0)
        try:
            yield
        finally:
            turns.release()


class CloseSignal:
    """Tells waiting threads that the files are closed."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def begin(self) -> None:
        """End all waiting."""
        self._event.set()

    def pause(self, seconds: float) -> None:
        """See `shardwright.remote.disk_cache.Pause`."""
        if self._event.wait(seconds):
            raise ClosedError("the dataset is closed")


class LeasedFiles(Descriptors):
    """The shards of a split by number, each fetched when it is opened, and kept in the cache while it is open.

    Args:
        store: of the files.
        items: the shards, in the order of their addresses.
        starts: see `Descriptors`.
        keep_open: whether shards stay open when they are not being read.
        pause: used where a caller passes none.
    """

    def __init__(
        self, store: FileStore, items: Sequence[CacheItem], starts: NDArray[np.int64], keep_open: bool, pause: Pause
    ) -> None:
        super().__init__([store.cache.find(item) for item in items], [item.bytes for item in items], starts)
        self.identities: dict[int, tuple[int, int, int]] = {}  # of each file when it was found whole
        self._store = store
        self._items = items
        self._keep_open = keep_open
        self._pause = pause
        self._damaged: dict[int, DamageError] = {}  # so that they are not requested again for each sample
        LEASE_HOLDERS.add(self)

    def open(self, number: int, pause: Pause | None = None) -> Descriptor:
        """See `Descriptors.open`.

        Raises:
            DamageError, OSError: see `FileStore.open`.
        """
        slots = self._slots
        if slots is None:
            raise ClosedError("the dataset is closed")
        slot, found = number % len(slots), slots[number % len(slots)]
        if found is not None and found.number == number:
            return found
        if number in self._damaged:
            error = self._damaged[number]
            raise DamageError(str(error), shard=error.shard)
        item = self._items[number]
        try:
            descriptor = self._store.open(item, pause or self._pause)
        except DamageError as error:
            self._damaged[number] = error
            raise
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            self.release_idle()  # this process has no descriptor left: close ours
            descriptor = self._store.open(item, pause or self._pause)
        found = Descriptor(number, descriptor, self._store.cache.find(item), item.bytes)
        self.identities[number] = found.identify()
        if self._keep_open:
            slots[slot] = found
        return found

    @contextmanager
    def lease(self, number: int, pause: Pause | None = None) -> Iterator[Descriptor]:
        """Yield the file, and close it when the context ends where shards do not stay open.

        Closing is not left to the last reference: an error that fsspec raised and recovered from during a download may
        hold the frames of all its callers until the garbage collector runs.
        """
        file = self.open(number, pause)
        try:
            yield file
        finally:
            if not self._keep_open:
                file.close()

    def read_direct(self, number: int, memory: memoryview, offset: int) -> int:
        """Return 0, as direct reads open files by name: only an open file is known to be the right one."""
        return 0


class RemoteFiles:
    """The shards of a split at a URL, fetched whole when they are read; a `FileSet`.

    Where the limit of the cache allows the whole split, shards stay in it as long as they are open here. Where it does
    not, each is released as soon as it was read, so that any number of processes can share a small cache; reading in
    random order then fetches the same shards again and again. `checked_once` is True until a file in the cache is found
    to have been written to since its sha256 was checked.

    Args:
        store: of the files.
        items: the shards, in order.
        index: of the split, held so that it stays in the cache as long as the shards are in use.
        scarce: whether the split is larger than the limit of the cache.
    """

    def __init__(self, store: FileStore, items: Sequence[CacheItem], index: Descriptor | None, scarce: bool) -> None:
        self.checked_once = True
        room = np.array([item.bytes + -item.bytes % BLOCK for item in items], np.int64)
        self.starts: NDArray[np.int64] = np.cumsum(room) - room
        self.scarce = scarce
        self._store = store
        self._index = index
        self._closing = CloseSignal()
        self._files = LeasedFiles(store, items, self.starts, not scarce, self._closing.pause)
        self._memory = WindowMemory()
        self._reset()

    def read(self, start: int, size: int) -> bytes:
        """See `FileSet.read`."""
        return self.gather(np.array([start], np.int64), size).tobytes()

    def gather(self, starts: NDArray[np.int64], size: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """See `FileSet.gather`.

        Raises:
            DamageError, OSError: see `FileStore.open`.
        """
        rows = np.empty((len(starts), size), np.uint8) if out is None else out
        memory = rows.reshape(-1).data
        self._fill([memory[at : at + size] for at in range(0, len(memory), size)], starts)
        return rows

    def read_ranges(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """See `FileSet.read_ranges` and `gather`."""
        contents = [np.empty(size, np.uint8) for size in sizes.tolist()]
        self._fill([content.data for content in contents], starts)
        return contents

    def load(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> FileSet:
        """See `FileSet.load`; several threads fetch the shards. Damaged ones raise their error when gathered.

        Raises:
            OSError: see `FileStore.open`.
        """
        numbers = self._files.find_files(starts)
        ranges = merge_ranges(numbers, starts - self.starts[numbers], starts, sizes)
        by_file: dict[int, list[ReadPiece]] = {}
        pieces = cut_pieces(ranges)
        for piece in pieces:
            by_file.setdefault(piece.file, []).append(piece)
        taken = self._memory.take(pieces[-1].memory_offset + pieces[-1].size if pieces else 0)
        damaged: list[ReadPiece] = []

        def read(number: int, pause: Pause) -> None:
            try:
                with self._files.lease(number, pause) as file:
                    for piece in by_file[number]:
                        part = taken.array[piece.memory_offset : piece.memory_offset + piece.needed]
                        file.read_into(part.data, piece.offset)
            except DamageError:
                damaged.extend(by_file[number])

        self._run(read, list(by_file), numbers)
        return Window(self._files, ranges, taken, damaged)

    def close(self) -> None:
        """Release the files and cancel downloads; reading is an error from now on."""
        self._enter_process()
        self._closing.begin()
        self._files.close()
        self._index = None
        with self._idle:
            self._idle.wait_for(lambda: not self._readers, CLOSING_SECONDS)
        self._memory.clear()

    def _fill(self, parts: Sequence[memoryview], starts: NDArray[np.int64]) -> None:
        """Fill each part with the bytes from its address."""
        numbers = self._files.find_files(starts)
        order = np.argsort(starts)  # forwards, and one file at a time: it is released before the next is opened
        groups = [group for group in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(group)]

        def read(group: NDArray[np.int64], pause: Pause) -> None:
            with self._files.lease(int(numbers[group[0]]), pause) as file:
                offsets = starts[group] - self.starts[file.number]
                for part, offset in zip(group.tolist(), offsets.tolist(), strict=True):
                    file.read_into(parts[part], offset)
                # After reading: callers look at `checked_once` once they have the bytes.
                if file.identify() != self._files.identities[file.number]:
                    self.checked_once = False

        self._run(read, groups, numbers)

    def _run(self, work: Callable[[Task, Pause], None], tasks: Sequence[Task], numbers: NDArray[np.int64]) -> None:
        """Run `work` for each task; in threads where files may have to be fetched."""
        with self._reading():
            if len(tasks) < 2 or not (self.scarce or set(numbers.tolist()) - self._files.identities.keys()):
                for task in tasks:
                    work(task, self._closing.pause)
                return
            stop = threading.Event()

            def pause(seconds: float) -> None:
                if stop.is_set():
                    raise ClosedError("another file could not be fetched")
                self._closing.pause(seconds)

            count = min(self._store.settings.threads, len(tasks))
            with ThreadPoolExecutor(count, thread_name_prefix="shardwright-fetch") as pool:
                futures = [pool.submit(work, task, pause) for task in tasks]
                try:
                    for future in as_completed(futures):
                        future.result()
                except BaseException:
                    stop.set()
                    for future in futures:
                        future.cancel()
                    raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Count a reader, which `close` waits for."""
        self._enter_process()
        with self._idle:
            self._readers += 1
        try:
            self._closing.pause(0)
            yield
        finally:
            with self._idle:
                self._readers -= 1
                self._idle.notify_all()

    def _enter_process(self) -> None:
        """Reset the locks and counts of threads in a forked process, where these threads do not exist."""
        if self._process != os.getpid():
            self._reset()

    def _reset(self) -> None:
        self._idle = threading.Condition()
        self._readers = 0
        self._store.reset()
        self._process = os.getpid()
