"""Tasks that are made when they are asked for: a list of all would take more memory than what they are made of."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar, overload

Task = TypeVar("Task")

MAX_KEPT = 16
"""Tasks made last, that are kept: whoever runs them asks several times for each that is under way. That of a shard of
1,000 samples takes some 400 kB."""


class LazyTasks(Sequence[Task]):
    """`count` tasks, of which `make(number)` makes one: always the same for the same number."""

    def __init__(self, count: int, make: Callable[[int], Task]) -> None:
        self._count = count
        self._make = make
        self._kept: OrderedDict[int, Task] = OrderedDict()

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
        if number not in self._kept:
            self._kept[number] = self._make(number)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return self._kept[number]
