"""Report the item that a task is at, so that one that kills, hangs or outgrows its process can be found."""

import mmap
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol, Self, TypeVar, runtime_checkable

from pipeline.runtime.sandbox.memory_usage import MemoryMeter
from pipeline.tables.drops import Reason, Rejection

Item = TypeVar("Item")

UNTOUCHED = Rejection(Reason.TIMEOUT, "left out while another item runs alone")
"""The verdict on the others; its reason is one of those that no step may keep for another run."""

NO_ITEM = -1
"""In place of an item's number: at none, or not known."""

UNKNOWN = -1
"""In place of a number of bytes."""


@runtime_checkable
class Divisible(Protocol):
    """A task made of items, any of which may kill its process.

    Its function goes through them with `watch_items` or `enter_item`, in the order of their numbers, and for those that
    are lost returns the given rejection without touching them. So the result is what it would be if that item had been
    rejected in an ordinary way. Where the rejection is `UNTOUCHED`, nobody reads the result: it may be left out.
    """

    def count_items(self) -> int:
        """Return how many items it has; they are numbered from 0."""
        ...

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        """Return the same task, in which the items with these numbers are lost."""
        ...


class Position(NamedTuple):
    """The item that a process is at.

    Attributes:
        moves: how often it moved on.
        item: the item's number.
        items: how many the task has, `NO_ITEM` if it is not divisible.
        memory: bytes that the process had for itself when it came to the item, `UNKNOWN` if that is not counted.
        since: when it came to the item, in nanoseconds of `time.monotonic_ns`.
    """

    moves: int
    item: int
    items: int
    memory: int
    since: int


class Heartbeat:
    """A `Position` in memory that a process shares with the one that watches it.

    Args:
        handle: an open file of `SIZE` bytes; it may be closed afterwards.
        meter: of the process that moves.
    """

    SIZE = 5 * 8

    def __init__(self, handle: int, meter: MemoryMeter | None = None) -> None:
        self._view = memoryview(mmap.mmap(handle, self.SIZE)).cast("q")
        self._meter = meter

    def start(self, items: int) -> None:
        """Begin a task of so many items."""
        self._view[2] = items
        self.move(NO_ITEM)

    def move(self, item: int) -> None:
        """Begin the work on an item; with `NO_ITEM`, what comes before or after all of them."""
        memory = self._meter.read() if self._meter else None
        self._view[4] = time.monotonic_ns()
        self._view[3] = UNKNOWN if memory is None else memory
        self._view[1] = item
        self._view[0] += 1

    def read(self) -> Position:
        """Return the position."""
        return Position(*self._view)


_heartbeat: Heartbeat | None = None  # of this process, if another one watches it


def use_heartbeat(heartbeat: Heartbeat) -> None:
    """Have `watch_items` and `enter_item` report this process's position in `heartbeat`."""
    global _heartbeat
    _heartbeat = heartbeat


def enter_item(number: int, items: int) -> None:
    """Begin the work on an item of `items`, in tasks that do other things in between: see `leave_items`."""
    if _heartbeat is not None:
        if _heartbeat.read().items != items:
            _heartbeat.start(items)
        _heartbeat.move(number)


def leave_items() -> None:
    """Begin work that is on no item: it has no time limit, and no item is blamed for its end."""
    if _heartbeat is not None:
        _heartbeat.start(NO_ITEM)


def watch_items(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items of a task, and report the current one to the process that watches this one.

    3 µs an item. Take the next one only when the work on the last is done: a crash is blamed on the current one, and
    `run.item_seconds` count from one to the next.
    """
    for number, item in enumerate(items):
        if _heartbeat is not None:
            _heartbeat.move(number)
        yield item
    if _heartbeat is not None:
        _heartbeat.move(NO_ITEM)
