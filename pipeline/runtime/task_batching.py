"""Choose the tasks that a thread of a cluster runs next: several short ones go together, as one job for the cluster."""

from collections import Counter, deque
from collections.abc import Callable, Sequence

BATCH_SECONDS = 2.0
"""Seconds of tasks that go together. A job takes Dask 8 ms of the driver's CPU however short it is: that is 0.4 %, and
progress shows every second with two workers."""

MAX_SHARE = 4
"""At most one in so many of a thread's share of the remaining tasks go together: the last job should be short."""


class TaskBatches:
    """Hands out the numbers of `count` tasks in order, and again if they were lost. `count` may grow."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._next = 0  # the first that was never handed out
        self._lost = deque[int]()
        self._losses: Counter[int] = Counter()
        self._finished, self._seconds = 0, 0.0

    def take(self, threads: int, fits: Callable[[int], bool]) -> list[int]:
        """Return the next tasks that one of so many threads is to run one after the other: up to the first that does
        not fit, and one alone as long as it is not known how long they take."""
        left = len(self._lost) + self.count - self._next
        in_time = int(BATCH_SECONDS * self._finished / max(self._seconds, 1e-3))
        batch: list[int] = []
        while len(batch) < min(left, max(1, min(in_time, left // (MAX_SHARE * max(threads, 1))))):
            number = self._lost[0] if self._lost else self._next
            if not fits(number):
                break
            if self._lost:
                self._lost.popleft()
            else:
                self._next += 1
            batch.append(number)
        return batch

    def note_finished(self, tasks: int, seconds: float) -> None:
        """Note that so many tasks took that time, one after the other."""
        self._finished += tasks
        self._seconds += seconds

    def put_back(self, batch: Sequence[int]) -> int:
        """Hand lost tasks out again; return how often the one that was lost most often was lost."""
        self._lost.extend(batch)
        self._losses.update(batch)
        return max(self._losses[number] for number in batch)
