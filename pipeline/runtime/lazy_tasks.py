"""Create tasks when they are asked for: a list of all would take more memory than what they are made from."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar, overload

Task = TypeVar("Task")

MAX_CACHED = 16
"""How many of the latest tasks are cached: whoever runs them asks several times for each that is submitted. The task of
a shard of 1,000 samples takes some 400 kB."""


class LazyTasks(Sequence[Task]):
    """`count` tasks, of which `make(number)` creates one: always the same for the same number."""

    def __init__(self, count: int, make: Callable[[int], Task]) -> None:
        self._count = count
        self._make = make
        self._cached: OrderedDict[int, Task] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Task: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Task]: ...
    def __getitem__(self, number: int | slice) -> Task | Sequence[Task]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(self._count))]
        if not 0 <= number < self._count:
            raise IndexError(number)
        if number not in self._cached:
            self._cached[number] = self._make(number)
            if len(self._cached) > MAX_CACHED:
                self._cached.popitem(last=False)
        return self._cached[number]
