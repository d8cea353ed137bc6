"""One process that runs tasks, seen from outside: given a task, it answers, or how it died is found out."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline.isolate.inside import NO_MEMORY, Reply, Request
from pipeline.isolate.items import NOWHERE, Mark

TICK = 0.05
"""Seconds between two looks at a process that works. A process that fills memory as fast as it can, some 2 GB/s, is 100
MB beyond its limit when it is seen; 20 looks a second at one process cost 0.1 % of a core."""

LOOKS_AT_CALLER = 20
"""Every how many ticks is asked whether the result is still wanted."""

NEARLY = 0.8
"""A process that somebody else killed with this share of its limit in use is taken to be killed for that."""

OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""Signals that come from somebody else, and say nothing of the items."""


class Cause(Enum):
    """Of what a process died."""

    CRASHED = "crashed"
    KILLED = "killed by somebody else"
    MEMORY = "took too much memory"
    TIMEOUT = "took too long"


@dataclass(frozen=True)
class Death:
    """How a process died at a task.

    `item` is the number of the item that it was at, `items` the number of them that the task has; `NOWHERE` if it was
    at none, or if the task is not divisible. `sign` is what the system says: `SIGSEGV`, `exit status 3`.
    """

    cause: Cause
    item: int
    items: int
    sign: str = ""


@dataclass(frozen=True)
class Limits:
    """Of a process: bytes of memory of its own (files that it maps are not counted), and seconds for an item."""

    memory: int
    item_seconds: float


class Unwanted(Exception):  # noqa: N818 - nothing went wrong: nobody waits for the result any more
    """The task was ended because its result is not wanted any more."""


Ended = tuple[int, int]
"""The wait status of a process that ended, and the most bytes that it used."""


class Cell:
    """A process with its watch. For one thread at a time.

    `end` ends the process if it still runs, waits for it, and may be called once; it gives None if its parent, the
    forker, is gone too.
    """

    def __init__(self, pid: int, connection: Connection, mark: Mark, end: Callable[[int], Ended | None]) -> None:
        self.pid = pid
        self._connection = connection
        self._mark = mark
        self._end = end

    def run(self, request: Request, limits: Limits, wanted: Callable[[], bool]) -> Reply | Death:
        """Run a task, and watch it; after a `Death` the cell is of no use any more.

        A task has `limits.item_seconds` for each item, or, where it does not say which item it is at, for all of them
        together; one that is not divisible has all the time there is.

        Raises:
            Unwanted: `wanted` said no; the process still runs.
        """
        killed_before = count_memory_kills()
        try:
            self._connection.send(request)
            over = self._watch(limits, wanted)
            reply: Reply | None = None if over else self._connection.recv()
        except (EOFError, ConnectionError):
            over = reply = None
        if reply is not None and reply[0] != NO_MEMORY:
            return reply
        _, item, items = self._mark.read()
        ended = self.close()
        if over:
            return Death(over, item, items)
        if reply is not None:
            return Death(Cause.MEMORY, item, items)
        return _explain_end(ended, limits, count_memory_kills() > killed_before, Death(Cause.KILLED, item, items))

    def _watch(self, limits: Limits, wanted: Callable[[], bool]) -> Cause | None:
        """Wait until the process answers or dies; or give the limit that it went over."""
        mark = self._mark.read()
        seconds = 0.0
        ticks = 0
        before = time.monotonic()
        while not self._connection.poll(TICK):
            ticks += 1
            memory = measure_memory(self.pid)
            if memory is None:
                return None  # it is dead; a process that it started keeps the connection open
            if memory > limits.memory:
                return Cause.MEMORY
            # A gap between two ticks is no time that the item took: both processes were stopped, by Ctrl-Z, say.
            now = time.monotonic()
            seconds += min(now - before, 10 * TICK)
            before = now
            if self._mark.read() != mark:
                mark, seconds = self._mark.read(), 0.0
            elif seconds > _allow_seconds(mark, limits.item_seconds):
                return Cause.TIMEOUT
            if ticks % LOOKS_AT_CALLER == 0 and not wanted():
                raise Unwanted
        return None

    def is_alive(self) -> bool:
        """Whether it can run a task: nobody killed it while it was idle."""
        return measure_memory(self.pid) is not None

    def close(self) -> Ended | None:
        """End the process."""
        ended = self._end(self.pid)
        self._connection.close()
        return ended


def _allow_seconds(mark: tuple[int, int, int], item_seconds: float) -> float:
    _, item, items = mark
    if items == NOWHERE:
        return float("inf")
    return item_seconds if item != NOWHERE else item_seconds * max(items, 1)


def _explain_end(ended: Ended | None, limits: Limits, memory_ran_out: bool, death: Death) -> Death:
    """What a process died of that was not ended from here."""
    if ended is None:
        return death
    status, peak = ended
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return Death(Cause.CRASHED, death.item, death.items, f"exit status {code}")
    sign = _name_signal(-code)
    if -code not in OUTSIDE:
        return Death(Cause.CRASHED, death.item, death.items, sign)
    for_memory = -code == signal.SIGKILL and (memory_ran_out or peak > NEARLY * limits.memory)
    return Death(Cause.MEMORY if for_memory else Cause.KILLED, death.item, death.items, sign)


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def count_memory_kills() -> int:
    """How many processes the kernel has killed since it started because memory ran out; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def measure_memory(pid: int) -> int | None:
    """Bytes of memory that a process has for itself, mapped files left out; None if it is dead."""
    if sys.platform == "linux":
        try:
            _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE") if int(resident) else None
    else:
        import psutil

        try:
            return int(psutil.Process(pid).memory_info().rss)
        except psutil.Error:
            return None
