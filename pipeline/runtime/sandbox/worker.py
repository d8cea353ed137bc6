"""Send tasks to one process, watch it, and find out how it died."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection

from pipeline.runtime.sandbox.child_main import NO_MEMORY, Reply, Request
from pipeline.runtime.sandbox.heartbeat import NO_ITEM, UNKNOWN, Heartbeat, Position
from pipeline.runtime.sandbox.memory_usage import count_memory_kills, measure_memory

TICK = 0.05
"""Seconds between two checks of a process at work: 20 checks a second cost 0.1 % of a core. One that is about to go
over a limit is checked when it should be there."""

MIN_TICK = 0.005
"""Seconds between two checks, at the least: a process that fills memory as fast as it can, some 2 GB/s, is 10 MB beyond
its limit when it is seen, or 100 MB if it was far from it a tick before."""

ALLOWANCE = 1 / 16
"""Share of the limit that a process may take on top of it, so that an item is blamed for what it took itself: it surely
is to blame if a new process would go over the limit with what the item has taken since it began."""

CANCEL_SECONDS = 1.0
"""Seconds between two checks whether the result is still needed."""

NEAR_LIMIT = 0.8
"""A process that was killed from outside with this share of its limit in use counts as killed for its memory."""

SENT_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""Signals that people and the system send; they say nothing of the items."""


class DeathCause(Enum):
    """Why a process died."""

    CRASHED = "crashed"
    KILLED = "killed by somebody else"
    MEMORY = "took too much memory"
    TIMEOUT = "took too long"


@dataclass(frozen=True)
class Death:
    """How a process died at a task.

    Attributes:
        item: the number of the item that it was at; `NO_ITEM` if at none.
        items: how many items the task has; `NO_ITEM` if it is not divisible.
        sign: the signal or exit status, `SIGSEGV` or `exit status 3`.
        sure: whether that item would end any process.
    """

    cause: DeathCause
    item: int
    items: int
    sign: str = ""
    sure: bool = False


@dataclass(frozen=True)
class SandboxLimits:
    """Limits of a process: bytes of its own memory (files that it maps are not counted), and seconds for an item."""

    memory: int
    item_seconds: float


class TaskCancelled(Exception):  # noqa: N818 - nothing went wrong: nobody waits for the result
    """The task was ended because its result is not needed any more."""


Ended = tuple[int, int]
"""The wait status of a dead process, and the most bytes that it used."""


class SandboxWorker:
    """A process that runs tasks, with its watch. For one thread at a time.

    `end` kills the process, waits for it, and may be called once; it returns None if the fork server is dead too.
    """

    def __init__(
        self, pid: int, connection: Connection, heartbeat: Heartbeat, end: Callable[[int], Ended | None]
    ) -> None:
        self.pid = pid
        self._connection = connection
        self._heartbeat = heartbeat
        self._end = end
        self._memory = measure_memory(pid) or 0

    def run(self, request: Request, limits: SandboxLimits, is_needed: Callable[[], bool]) -> Reply | Death:
        """Run a task and watch it; after a `Death` the process is gone.

        A task has `limits.item_seconds` for each item, or, if it does not report the item it is at, as much for all of
        them together; one that is not divisible has no time limit.

        Raises:
            TaskCancelled: `is_needed` returned False; the process still runs.
        """
        killed_before = count_memory_kills()
        death: Death | None = None
        reply: Reply | None = None
        try:
            self._connection.send(request)
            death = self._watch(_Watch(self.pid, self._heartbeat, limits, self._memory), is_needed)
            reply = None if death else self._connection.recv()
        except (EOFError, ConnectionError):
            pass
        if reply is not None and reply[0] != NO_MEMORY:
            return reply
        _, item, items, *_ = self._heartbeat.read()
        ended = self.close()
        if death:
            return death
        if reply is not None:
            return Death(DeathCause.MEMORY, item, items)
        return _explain_end(ended, limits, count_memory_kills() > killed_before, Death(DeathCause.KILLED, item, items))

    def _watch(self, watch: "_Watch", is_needed: Callable[[], bool]) -> Death | None:
        """Wait until the process replies, or goes over a limit; return the death in that case.

        Raises:
            EOFError: it died by itself.
            TaskCancelled: the result is not needed any more.
        """
        asked = time.monotonic()
        while not self._connection.poll(watch.find_tick()):
            if not watch.check():
                raise EOFError  # though a process that it started may keep the connection open
            if watch.death:
                return watch.death
            if time.monotonic() - asked > CANCEL_SECONDS:
                asked = time.monotonic()
                if not is_needed():
                    raise TaskCancelled
        return None

    def is_alive(self) -> bool:
        """Return whether it can run a task: nobody killed it while it was idle."""
        return measure_memory(self.pid) is not None

    def close(self) -> Ended | None:
        """Kill the process; return how it ended, None if that is not known."""
        ended = self._end(self.pid)
        self._connection.close()
        return ended


class _Watch:
    """Checks a process that runs a task; `death` is set when it goes over a limit.

    Args:
        base: bytes that the process had for itself when it was new, as any other will have.
    """

    def __init__(self, pid: int, heartbeat: Heartbeat, limits: SandboxLimits, base: int) -> None:
        self.death: Death | None = None
        self._pid = pid
        self._heartbeat = heartbeat
        self._limits = limits
        self._base = base
        self._position = heartbeat.read()
        self._seconds = 0.0  # that it was seen at this position
        self._memory = base
        self._growth = 0.0  # bytes a second
        self._before = time.monotonic()

    def check(self) -> bool:
        """Check time and memory; return whether the process lives."""
        position = self._heartbeat.read()
        memory = measure_memory(self._pid)
        if memory is None:
            return False
        now = time.monotonic()
        passed = max(now - self._before, MIN_TICK)
        self._growth, self._memory, self._before = (memory - self._memory) / passed, memory, now
        # A gap between two ticks is not the item's time: both processes were stopped, by Ctrl-Z, say.
        passed = min(passed, 10 * TICK)
        moved = position != self._position
        self._seconds = min(now - position.since / 1e9, passed) if moved else self._seconds + passed
        self._position = position
        if memory > self._limits.memory:
            self._judge_memory(position, memory)
        if self.death is None and self._seconds >= self._find_allowed_seconds():
            self.death = Death(DeathCause.TIMEOUT, position.item, position.items, sure=position.item != NO_ITEM)
        return True

    def _judge_memory(self, position: Position, memory: int) -> None:
        limit = self._limits.memory
        known = position.item != NO_ITEM and position.memory != UNKNOWN
        sure = known and position == self._heartbeat.read() and self._base + memory - position.memory > limit
        if sure or memory > limit * (1 + ALLOWANCE * known):
            self.death = Death(DeathCause.MEMORY, position.item, position.items, sure=sure)

    def find_tick(self) -> float:
        """Return the seconds until the next check: the process may be over a limit then."""
        seconds = self._find_allowed_seconds() - self._seconds
        if self._growth > 0:
            seconds = min(seconds, (self._limits.memory - self._memory) / self._growth)
        return min(max(seconds, MIN_TICK), TICK)

    def _find_allowed_seconds(self) -> float:
        _, item, items, *_ = self._position
        if items == NO_ITEM:
            return float("inf")
        return self._limits.item_seconds * (1 if item != NO_ITEM else max(items, 1))


def _explain_end(ended: Ended | None, limits: SandboxLimits, memory_ran_out: bool, death: Death) -> Death:
    """Return why a process died that was not ended from here; `death` has the item."""
    if ended is None:
        return death
    status, peak = ended
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return Death(DeathCause.CRASHED, death.item, death.items, f"exit status {code}")
    sign = _name_signal(-code)
    if -code not in SENT_FROM_OUTSIDE:
        return Death(DeathCause.CRASHED, death.item, death.items, sign)
    for_memory = -code == signal.SIGKILL and (memory_ran_out or peak > NEAR_LIMIT * limits.memory)
    return Death(DeathCause.MEMORY if for_memory else DeathCause.KILLED, death.item, death.items, sign)


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
