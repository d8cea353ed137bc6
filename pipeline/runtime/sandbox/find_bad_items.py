"""Run a task to its end through the deaths of its processes, and find the items to blame.

A task whose process died runs again. An item that surely was the reason is lost: it had its time for itself, or took
all that memory itself. One that is only suspected (the process died at it) first runs alone in a new process: only if
that dies too is it lost, and the task runs again without it; what it had finished before it may have kept. So a bad
item costs no other item anything. The suspect is not always to blame: an earlier item may have corrupted memory, or
filled it, and people kill processes. Then every item of the task runs alone.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config.params import RunParams, parse_size
from pipeline.errors import PipelineError
from pipeline.runtime.sandbox.child_main import FAILED, REFUSED, RESULT, Request
from pipeline.runtime.sandbox.heartbeat import NO_ITEM
from pipeline.runtime.sandbox.worker import Death, DeathCause, SandboxLimits
from pipeline.runtime.sandbox.worker_pool import SandboxPool
from pipeline.runtime.stopwatch import add_times
from pipeline.tables.drops import Reason, Rejection

Task = TypeVar("Task")

MAX_UNEXPLAINED = {DeathCause.CRASHED: 3, DeathCause.KILLED: 6, DeathCause.MEMORY: 3, DeathCause.TIMEOUT: 3}
"""How many deaths that no item explains a task may have. Kills from outside may go on for a while, and say nothing of
the task; the other causes come again."""


@dataclass(frozen=True)
class Call:
    """A function and its task, pickled; the folder to work in; the hash that the function's source must have."""

    payload: bytes
    folder: str
    source: str | None = None


@dataclass(frozen=True)
class WorkerReply:
    """The reply of a process to a task, see `pipeline.runtime.sandbox.child_main`."""

    kind: str
    content: bytes

    @property
    def failed(self) -> bool:
        """Whether there is no result."""
        return self.kind != RESULT

    def read(self, name: str) -> Any:
        """Return the result of the task, called `name` in messages; add the time that it took by part.

        Raises:
            PipelineError: the task raised it, or it has what else was raised, and where.
        """
        content = pickle.loads(self.content)
        if self.kind == RESULT:
            result, times = content
            add_times(times)
            return result
        error, cause = content if self.kind == REFUSED else (PipelineError(f"{name} failed: {content[0]}"), content[1])
        raise error from cause


def name_task(function: Callable[[Task], object], task: Task, number: int) -> str:
    """Return the task's name in messages: `check_chunk of items-000003`."""
    return f"{function.__name__} of {getattr(task, 'name', f'task {number}')}"


def read_limits(run: RunParams) -> SandboxLimits:
    """Return the limits of one process."""
    return SandboxLimits(parse_size(run.memory), run.item_seconds)


def make_call(function: Callable[[Task], object], task: Task, source: str | None = None) -> Call:
    """Return the call of `function(task)` in this process's folder; a script's function is pickled with its code."""
    import cloudpickle  # type: ignore[import-untyped]

    return Call(cloudpickle.dumps((function, task)), str(Path.cwd()), source)


def run_call(pool: SandboxPool, call: Call, is_needed: Callable[[], bool] = lambda: True) -> WorkerReply:
    """Return the reply to a call. Items that no process survives are lost, see `Divisible`.

    Raises:
        TaskCancelled: `is_needed` returned False, or the pool was closed.
        PipelineError: no process can be started.
    """
    with pool.hold():
        return _BadItemSearch(pool, call, is_needed).run()


class _BadItemSearch:
    """The tries of one call, and the items lost so far."""

    def __init__(self, pool: SandboxPool, call: Call, is_needed: Callable[[], bool]) -> None:
        self._pool = pool
        self._call = call
        self._is_needed = is_needed
        self._lost: dict[int, Rejection] = {}

    def run(self) -> WorkerReply:
        unexplained = 0
        while True:
            outcome = self._try(None)
            if isinstance(outcome, WorkerReply):
                return outcome
            found = self._find_lost(outcome, unexplained)
            self._lost |= found
            unexplained += not found
            if unexplained >= MAX_UNEXPLAINED[outcome.cause]:
                return WorkerReply(FAILED, pickle.dumps((_explain_death(outcome, self._pool.limits), None)))

    def _find_lost(self, death: Death, unexplained: int) -> dict[int, Rejection]:
        """Return the items to blame for the death of a process that had the whole task; none if none is found."""
        if death.items == NO_ITEM or (death.cause is DeathCause.KILLED and unexplained < 2):
            return {}
        if death.sure:
            return {death.item: reject(death, self._pool.limits)}
        if death.item == NO_ITEM or unexplained:
            return self._try_each(range(death.items))
        return self._try_each([death.item])

    def _try_each(self, items: Sequence[int]) -> dict[int, Rejection]:
        """Run each item alone; return those that a process dies of that has run nothing else."""
        found = {}
        for item in items:
            if item in self._lost:
                continue
            death = self._try(item, fresh=len(items) == 1)
            if isinstance(death, Death) and not (death.sure or death.cause is DeathCause.TIMEOUT) and len(items) > 1:
                death = self._try(item, fresh=True)  # the item before may have been the reason
            if isinstance(death, Death) and death.cause is DeathCause.KILLED:
                death = self._try(item, fresh=True)
            if isinstance(death, Death):
                found[item] = reject(death, self._pool.limits)
        return found

    def _try(self, alone: int | None, fresh: bool = False) -> WorkerReply | Death:
        request: Request = (self._call.payload, self._call.folder, self._call.source, self._lost, alone)
        outcome = self._pool.run(request, self._is_needed, fresh)
        return outcome if isinstance(outcome, Death) else WorkerReply(*outcome[:2])


def reject(death: Death, limits: SandboxLimits) -> Rejection:
    """Return the verdict on an item that a process died of: the same on every run, except perhaps for the signal."""
    match death.cause:
        case DeathCause.CRASHED:
            return Rejection(Reason.DECODER_CRASHED, "the process that worked on it died", death.sign)
        case DeathCause.KILLED:
            detail = "the process that worked on it was killed each time, as systems do where memory runs out"
            return Rejection(Reason.MEMORY, detail, death.sign)
        case DeathCause.MEMORY:
            return Rejection(Reason.MEMORY, "it takes more than run.memory allows", limit=_format_memory(limits))
        case DeathCause.TIMEOUT:
            return Rejection(Reason.TIMEOUT, "it takes more than run.item_seconds allows", limit=_format_time(limits))


def _explain_death(death: Death, limits: SandboxLimits) -> str:
    """Return the message about a task that died again and again, and of no item of its own."""
    times = MAX_UNEXPLAINED[death.cause]
    message = {
        DeathCause.CRASHED: f"its process died {times} times ({death.sign})",
        DeathCause.KILLED: f"its process was killed {times} times ({death.sign}) from outside; is memory short here?",
        DeathCause.MEMORY: f"it takes more than the {_format_memory(limits)} of a worker; raise run.memory",
        DeathCause.TIMEOUT: f"it takes more than {_format_time(limits)} an item; raise run.item_seconds",
    }[death.cause]
    return message if death.items == NO_ITEM else f"{message}; each of its items alone does not"


def _format_memory(limits: SandboxLimits) -> str:
    return f"{limits.memory / 2**20:.0f} MiB"


def _format_time(limits: SandboxLimits) -> str:
    return f"{limits.item_seconds:g} s"
