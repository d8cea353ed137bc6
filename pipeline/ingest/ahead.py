"""Reads files before their turn comes, several at a time: a disk, or a network, answers each after a while."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.ingest.incoming import Incoming
from pipeline.records import Rejection

THREADS = 4
BATCH_FILES = 16
BATCH_BYTES = 8 << 20
"""Of a batch, one of which a thread reads at a time; a larger file, and a crawled one, is read when its turn comes.

So no more than 40 MB wait.
"""

Content = bytes | Rejection


def read_ahead(files: Iterable[Incoming]) -> Iterator[tuple[Incoming, Content]]:
    """Each file with its bytes, or with why they cannot be had, in order.

    Raises:
        InputError: a crawled file is damaged.
    """
    waiting: deque[tuple[Sequence[Incoming], Future[list[Content]] | None]] = deque()
    with ThreadPoolExecutor(THREADS, "shardwright-read") as pool:
        for batch in _cut(files):
            waiting.append((batch, None if _count_bytes(batch[0]) > BATCH_BYTES else pool.submit(_read, batch)))
            if len(waiting) > THREADS:
                yield from _take(*waiting.popleft())
        while waiting:
            yield from _take(*waiting.popleft())


def _cut(files: Iterable[Incoming]) -> Iterator[Sequence[Incoming]]:
    batch: list[Incoming] = []
    total = 0.0
    for incoming in files:
        total += _count_bytes(incoming)
        if batch and (total > BATCH_BYTES or len(batch) == BATCH_FILES):
            yield batch
            batch, total = [], _count_bytes(incoming)
        batch.append(incoming)
    if batch:
        yield batch


def _count_bytes(incoming: Incoming) -> float:
    return math.inf if incoming.size is None else incoming.size


def _read(batch: Sequence[Incoming]) -> list[Content]:
    return [incoming.read() for incoming in batch]


def _take(batch: Sequence[Incoming], read: Future[list[Content]] | None) -> Iterator[tuple[Incoming, Content]]:
    yield from zip(batch, _read(batch) if read is None else read.result(), strict=True)
