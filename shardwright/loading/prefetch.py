"""Map a function over an iterable ahead of its consumer, in threads or processes, in order."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
THREADS = "shardwright-"
"""Prefix of the names of our threads."""


@contextmanager
def start_threads(count: int, purpose: str) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool whose threads have ended when the block is left: running tasks finish, others are cancelled."""
    pool = ThreadPoolExecutor(count, THREADS + purpose)
    try:
        yield pool
    finally:
        # The garbage collector runs in any thread, and may close an abandoned iteration of a reference cycle there: one
        # of these threads would wait for itself, or for another one that waits for a lock that it holds.
        ours = threading.current_thread().name.startswith(THREADS)
        pool.shutdown(wait=not ours, cancel_futures=True)


def read_ahead(
    read: Callable[[Task], Result], tasks: Iterable[Task], threads: int, pending: "deque[Future[Result]] | None" = None
) -> Generator[Result, None, None]:
    """Yield `read(task)` for each task, in order; an exception is raised in the place of its result and ends it.

    Two tasks a thread are started ahead: one is being read while another is complete and waits. Closing the generator,
    or leaving it to the garbage collector, waits for running tasks and leaves no thread behind. With `threads` 0 each
    task is run when its result is requested. `pending` shows what was started and is not yet delivered.
    """
    if threads == 0:
        for task in tasks:
            yield read(task)
        return
    with start_threads(threads, "read") as pool:
        yield from submit_ahead(pool, read, tasks, 2 * threads, deque() if pending is None else pending)


def submit_ahead(
    pool: Executor,
    read: Callable[[Task], Result],
    tasks: Iterable[Task],
    ahead: int,
    pending: "deque[Future[Result]]",
) -> Generator[Result, None, None]:
    """Yield `read(task)` for each task, in order, with `ahead` tasks submitted early; closing cancels waiting ones."""
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
