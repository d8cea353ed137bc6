"""Request the next objects of a bucket while one is worked on: a request waits longer than it works."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pipeline.ingest.sources.source import ListedFile, ReadFile
from pipeline.inputs.bucket import REQUESTS
from pipeline.tables.drops import Rejection

AHEAD_BYTES = 64 << 20
"""Of the objects that are in memory, besides the one that is worked on."""

ReadData = Callable[[], bytes | Rejection]
"""Returns the bytes of a file, or why they cannot be read; see `ReadFile`."""


class ReadAhead:
    """A context manager; its threads start with the first object."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(REQUESTS)
        self._opened: deque[tuple[ListedFile, ReadData]] = deque()

    def open_files(self, files: Iterable[tuple[ListedFile, ReadFile]]) -> Iterator[tuple[ListedFile, ReadData]]:
        """Yield files in their order, each with how it is read: local files when they are asked for."""
        for file, read in files:
            is_object = file.version is not None
            self._opened.append((file, self._threads.submit(read, file).result if is_object else partial(read, file)))
            while not is_object or len(self._opened) > REQUESTS or self._count_bytes() > AHEAD_BYTES:
                yield self._opened.popleft()
                if not self._opened:
                    break
        while self._opened:
            yield self._opened.popleft()

    def _count_bytes(self) -> int:
        return sum(file.size for file, _ in self._opened)

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._threads.shutdown(cancel_futures=True)
