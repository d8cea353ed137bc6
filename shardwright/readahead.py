"""A map over an iterable that works ahead in threads and keeps the order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


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
    pool = ThreadPoolExecutor(threads, thread_name_prefix="shardwright-read")
    pending: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            pending.append(pool.submit(read, task))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
