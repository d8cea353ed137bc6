"""A map over an iterable that works ahead in threads or processes and keeps the order."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
THREADS = "shardwright-"
"""The names of our threads begin so."""


@contextmanager
def start_threads(count: int, purpose: str) -> Iterator[ThreadPoolExecutor]:
    """Threads that have ended when the block is left, after the tasks under way; those that wait are cancelled."""
    pool = ThreadPoolExecutor(count, THREADS + purpose)
    try:
        yield pool
    finally:
        # The garbage collector runs in whatever thread it likes, and may close an iteration there that was left in a
        # cycle: one of these threads would wait for itself, or for another one that waits for a lock that it holds.
        ours = threading.current_thread().name.startswith(THREADS)
        pool.shutdown(wait=not ours, cancel_futures=True)


def read_ahead(read: Callable[[Task], Result], tasks: Iterable[Task], threads: int) -> Generator[Result, None, None]:
    """`read(task)` for each task, in order; an exception comes in the place of its result and ends it.

    Two tasks a thread are begun ahead: one is being read while another waits to be taken. Closing the
    generator, or leaving it to be collected, waits for the tasks under way and leaves no thread behind. With
    `threads` 0 nothing is begun before it is asked for.
    """
    if threads == 0:
        for task in tasks:
            yield read(task)
        return
    with start_threads(threads, "read") as pool:
        yield from submit_ahead(pool, read, tasks, 2 * threads)


def submit_ahead(
    pool: Executor, read: Callable[[Task], Result], tasks: Iterable[Task], ahead: int
) -> Generator[Result, None, None]:
    """`read(task)` for each task, in order, with so many begun ahead; closing it cancels those that wait."""
    pending: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            pending.append(pool.submit(read, task))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
