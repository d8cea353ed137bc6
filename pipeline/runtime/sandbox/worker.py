"""One process that runs tasks, seen from outside: given a task, it answers, or how it died is found out."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection

from pipeline.runtime.sandbox.child_main import NO_MEMORY, Reply, Request
from pipeline.runtime.sandbox.heartbeat import NOWHERE, UNKNOWN, Heartbeat, Position
from pipeline.runtime.sandbox.memory_usage import count_memory_kills, measure_memory

TICK = 0.05
"""Seconds between two looks at a process that works: 20 looks a second cost 0.1 % of a core. One that is about to go
over a limit is looked at when it should be there."""

LEAST_TICK = 0.005
"""Seconds between two looks, at the least: a process that fills memory as fast as it can, some 2 GB/s, is 10 MB beyond
its limit when it is seen, or 100 MB if it was far from it a tick before."""

ALLOWANCE = 1 / 16
"""A share of the limit that a process may take on top of it, so that an item answers for what it took itself: it is
surely to blame if a new process would go over the limit with what it has taken since it began."""

SECONDS_BETWEEN_CALLERS = 1.0
"""How often it is asked whether the result is still wanted."""

NEARLY = 0.8
"""A process that somebody else killed with this share of its limit in use is taken to be killed for that."""

OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""Signals that come from somebody else, and say nothing of the items."""


class DeathCause(Enum):
    """Of what a process died."""

    CRASHED = "crashed"
    KILLED = "killed by somebody else"
    MEMORY = "took too much memory"
    TIMEOUT = "took too long"


@dataclass(frozen=True)
class Death:
    """How a process died at a task.

    `item` is the number of the item that it was at, `items` the number of them that the task has; `NOWHERE` if it was
    at none, or if the task is not divisible. `sign` is what the system says: `SIGSEGV`, `exit status 3`. `sure` is
    whether that item would have been the end of any process.
    """

    cause: DeathCause
    item: int
    items: int
    sign: str = ""
    sure: bool = False


@dataclass(frozen=True)
class SandboxLimits:
    """Of a process: bytes of memory of its own (files that it maps are not counted), and seconds for an item."""

    memory: int
    item_seconds: float


class TaskCancelled(Exception):  # noqa: N818 - nothing went wrong: nobody waits for the result any more
    """The task was ended because its result is not wanted any more."""


Ended = tuple[int, int]
"""The wait status of a process that ended, and the most bytes that it used."""


class SandboxWorker:
    """A process with its watch. For one thread at a time.

    `end` ends the process if it still runs, waits for it, and may be called once; it gives None if its parent, the
    forker, is gone too.
    """

    def __init__(self, pid: int, connection: Connection, mark: Heartbeat, end: Callable[[int], Ended | None]) -> None:
        self.pid = pid
        self._connection = connection
        self._mark = mark
        self._end = end
        self._memory = measure_memory(pid) or 0

    def run(self, request: Request, limits: SandboxLimits, wanted: Callable[[], bool]) -> Reply | Death:
        """Run a task, and watch it; after a `Death` the cell is of no use any more.

        A task has `limits.item_seconds` for each item, or, where it does not say which item it is at, for all of them
        together; one that is not divisible has all the time there is.

        Raises:
            Unwanted: `wanted` said no; the process still runs.
        """
        killed_before = count_memory_kills()
        death: Death | None = None
        reply: Reply | None = None
        try:
            self._connection.send(request)
            death = self._watch(_Watch(self.pid, self._mark, limits, self._memory), wanted)
            reply = None if death else self._connection.recv()
        except (EOFError, ConnectionError):
            pass
        if reply is not None and reply[0] != NO_MEMORY:
            return reply
        _, item, items, *_ = self._mark.read()
        ended = self.close()
        if death:
            return death
        if reply is not None:
            return Death(DeathCause.MEMORY, item, items)
        return _explain_end(ended, limits, count_memory_kills() > killed_before, Death(DeathCause.KILLED, item, items))

    def _watch(self, watch: "_Watch", wanted: Callable[[], bool]) -> Death | None:
        """Wait until the process answers, or went over a limit.

        Raises:
            EOFError: it died by itself.
        """
        asked = time.monotonic()
        while not self._connection.poll(watch.find_tick()):
            if not watch.look():
                raise EOFError  # though a process that it started may keep the connection open
            if watch.death:
                return watch.death
            if time.monotonic() - asked > SECONDS_BETWEEN_CALLERS:
                asked = time.monotonic()
                if not wanted():
                    raise TaskCancelled
        return None

    def is_alive(self) -> bool:
        """Whether it can run a task: nobody killed it while it was idle."""
        return measure_memory(self.pid) is not None

    def close(self) -> Ended | None:
        """End the process."""
        ended = self._end(self.pid)
        self._connection.close()
        return ended


class _Watch:
    """Looks at a process that runs a task; `death` is the limit that it went over.

    Args:
        base: bytes that the process had for itself when it was new, as any other will have.
    """

    def __init__(self, pid: int, mark: Heartbeat, limits: SandboxLimits, base: int) -> None:
        self.death: Death | None = None
        self._pid = pid
        self._mark = mark
        self._limits = limits
        self._base = base
        self._position = mark.read()
        self._seconds = 0.0  # that it was seen at this position
        self._memory = base
        self._grows = 0.0  # bytes a second
        self._before = time.monotonic()

    def look(self) -> bool:
        """Look at it; whether it lives."""
        position = self._mark.read()
        memory = measure_memory(self._pid)
        if memory is None:
            return False
        now = time.monotonic()
        passed = max(now - self._before, LEAST_TICK)
        self._grows, self._memory, self._before = (memory - self._memory) / passed, memory, now
        # A gap between two ticks is no time that the item took: both processes were stopped, by Ctrl-Z, say.
        passed = min(passed, 10 * TICK)
        moved = position != self._position
        self._seconds = min(now - position.since / 1e9, passed) if moved else self._seconds + passed
        self._position = position
        if memory > self._limits.memory:
            self._judge_memory(position, memory)
        if self.death is None and self._seconds >= self._find_allowed_seconds():
            self.death = Death(DeathCause.TIMEOUT, position.item, position.items, sure=position.item != NOWHERE)
        return True

    def _judge_memory(self, position: Position, memory: int) -> None:
        limit = self._limits.memory
        known = position.item != NOWHERE and position.memory != UNKNOWN
        sure = known and position == self._mark.read() and self._base + memory - position.memory > limit
        if sure or memory > limit * (1 + ALLOWANCE * known):
            self.death = Death(DeathCause.MEMORY, position.item, position.items, sure=sure)

    def find_tick(self) -> float:
        """Seconds until it should be looked at again: it may be over a limit then."""
        seconds = self._find_allowed_seconds() - self._seconds
        if self._grows > 0:
            seconds = min(seconds, (self._limits.memory - self._memory) / self._grows)
        return min(max(seconds, LEAST_TICK), TICK)

    def _find_allowed_seconds(self) -> float:
        _, item, items, *_ = self._position
        if items == NOWHERE:
            return float("inf")
        return self._limits.item_seconds * (1 if item != NOWHERE else max(items, 1))


def _explain_end(ended: Ended | None, limits: SandboxLimits, memory_ran_out: bool, death: Death) -> Death:
    """What a process died of that was not ended from here."""
    if ended is None:
        return death
    status, peak = ended
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return Death(DeathCause.CRASHED, death.item, death.items, f"exit status {code}")
    sign = _name_signal(-code)
    if -code not in OUTSIDE:
        return Death(DeathCause.CRASHED, death.item, death.items, sign)
    for_memory = -code == signal.SIGKILL and (memory_ran_out or peak > NEARLY * limits.memory)
    return Death(DeathCause.MEMORY if for_memory else DeathCause.KILLED, death.item, death.items, sign)


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
