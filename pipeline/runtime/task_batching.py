"""Which tasks a thread of a cluster runs next: several that are short go together, as one job for the cluster."""

from collections import Counter, deque
from collections.abc import Callable, Sequence

STINT = 2.0
"""Seconds of tasks that go together. A job takes Dask 8 ms of the driver's CPU however short it is: so that is 0.4 %,
and what is finished shows every second with two workers."""

SHARE = 4
"""One in so many of a thread's share of the tasks that are left goes together at most: the last job should be short."""


class TaskBatches:
    """The numbers of `count` tasks, handed out in order, and again where they were lost."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._unseen = 0  # the first that was never handed out
        self._lost = deque[int]()
        self._losses: Counter[int] = Counter()
        self._finished, self._seconds = 0, 0.0

    def take(self, threads: int, fits: Callable[[int], bool]) -> list[int]:
        """The next tasks that one of so many threads is to run one after the other: up to the first that does not fit,
        and one alone as long as it is not known how much time they take."""
        left = len(self._lost) + self._count - self._unseen
        worthwhile = int(STINT * self._finished / max(self._seconds, 1e-3))
        stint: list[int] = []
        while len(stint) < min(left, max(1, min(worthwhile, left // (SHARE * max(threads, 1))))):
            number = self._lost[0] if self._lost else self._unseen
            if not fits(number):
                break
            if self._lost:
                self._lost.popleft()
            else:
                self._unseen += 1
            stint.append(number)
        return stint

    def note_finished(self, tasks: int, seconds: float) -> None:
        """So many tasks took that time, one after the other."""
        self._finished += tasks
        self._seconds += seconds

    def put_back(self, stint: Sequence[int]) -> int:
        """They were lost; gives how often that happened to the one it happened to most."""
        self._lost.extend(stint)
        self._losses.update(stint)
        return max(self._losses[number] for number in stint)
