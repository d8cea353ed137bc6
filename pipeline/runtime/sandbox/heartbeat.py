"""What a task says of its items, so that one that kills, hangs or swallows its process can be told from the others."""

import mmap
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol, Self, TypeVar, runtime_checkable

from pipeline.runtime.sandbox.memory_usage import MemoryMeter
from pipeline.tables.drops import Reason, Rejection

Item = TypeVar("Item")

UNTOUCHED = Rejection(Reason.TIMEOUT, "left out while another item runs alone")
"""For the others; by its reason it is one of those that no step may keep for another run."""

NOWHERE = -1
"""In place of an item's number: at none, or not known."""

UNKNOWN = -1
"""In place of a number of bytes."""


@runtime_checkable
class Divisible(Protocol):
    """A task made of items, of which one may be beyond help.

    Its function goes through them with `watch_items` or `enter_item`, in the order of their numbers, and gives for
    those that it was told are lost the rejection that it was told, without touching them. So what comes out is what
    would come out if that item had been rejected in an ordinary way, whatever happened on the way there. Where it is
    told `UNTOUCHED`, nobody reads the result: it may be left out.
    """

    def count_items(self) -> int:
        """How many items it has; they are numbered from 0."""
        ...

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        """The same task, in which the items with these numbers are lost."""
        ...


class Position(NamedTuple):
    """Where a process is.

    Attributes:
        moves: how often it moved on.
        item: its number.
        items: how many the task has, `NOWHERE` if it is not divisible.
        memory: bytes that the process had for itself when it came there, `UNKNOWN` where none counts them.
        since: when it came there, in nanoseconds of `time.monotonic_ns`.
    """

    moves: int
    item: int
    items: int
    memory: int
    since: int


class Heartbeat:
    """A `Position`, in memory that a process shares with the one that watches it.

    Args:
        handle: an open file of `SIZE` bytes; it may be closed afterwards.
        meter: of the process that moves.
    """

    SIZE = 5 * 8

    def __init__(self, handle: int, meter: MemoryMeter | None = None) -> None:
        self._view = memoryview(mmap.mmap(handle, self.SIZE)).cast("q")
        self._meter = meter

    def start(self, items: int) -> None:
        """A task of so many items begins."""
        self._view[2] = items
        self.move(NOWHERE)

    def move(self, item: int) -> None:
        """The work on another item begins; or, with `NOWHERE`, what comes before or after all of them."""
        memory = self._meter.read() if self._meter else None
        self._view[4] = time.monotonic_ns()
        self._view[3] = UNKNOWN if memory is None else memory
        self._view[1] = item
        self._view[0] += 1

    def read(self) -> Position:
        """Where it is."""
        return Position(*self._view)


_mark: Heartbeat | None = None  # of this process, where somebody watches it


def use_heartbeat(mark: Heartbeat) -> None:
    """Let `watch_items` say in `mark` where this process is."""
    global _mark
    _mark = mark


def enter_item(number: int, items: int) -> None:
    """The work on an item of `items` begins, for tasks that do other things in between: see `leave_items`."""
    if _mark is not None:
        if _mark.read().items != items:
            _mark.start(items)
        _mark.move(number)


def leave_items() -> None:
    """What the task does from here on is about no item: it has no limit of time, and no item answers for its end."""
    if _mark is not None:
        _mark.start(NOWHERE)


def watch_items(items: Iterable[Item]) -> Iterator[Item]:
    """Hand the items of a task through, and let whoever watches this process know which one it is at.

    3 µs an item. Take the next one only when the work on the last is done: what crashes is blamed on it, and
    `run.item_seconds` run from one to the next.
    """
    for number, item in enumerate(items):
        if _mark is not None:
            _mark.move(number)
        yield item
    if _mark is not None:
        _mark.move(NOWHERE)
