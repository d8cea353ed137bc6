"""A task to its end, through the deaths of the processes that it runs in.

A task whose process died runs again. An item that surely was the reason is lost: it had its time for itself, or took
all that memory itself. One that is only accused (the process died at it) first runs alone in a new process: only if
that dies too is it lost, and the task runs again without it; what it had finished before it may have kept. So a bad
item costs no other item anything. The accused is not always to blame: an earlier item may have left memory corrupt, or
full, and people kill processes. Then every item of the task runs alone.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config.params import RunParams, parse_size
from pipeline.errors import PipelineError
from pipeline.runtime.sandbox.child_main import FAILED, REFUSED, RESULT, Request
from pipeline.runtime.sandbox.heartbeat import NOWHERE
from pipeline.runtime.sandbox.worker import Death, DeathCause, SandboxLimits
from pipeline.runtime.sandbox.worker_pool import SandboxPool
from pipeline.runtime.stopwatch import add_times
from pipeline.tables.drops import Reason, Rejection

Task = TypeVar("Task")

DEATHS = {DeathCause.CRASHED: 3, DeathCause.KILLED: 6, DeathCause.MEMORY: 3, DeathCause.TIMEOUT: 3}
"""How often a task may die of nothing that is found before it is given up: what kills from outside may go on for a
while, and says nothing of the task; the rest comes again."""


@dataclass(frozen=True)
class Call:
    """A function and its task, pickled; the folder to work in; the hash that the function's source must have."""

    payload: bytes
    folder: str
    source: str | None = None


@dataclass(frozen=True)
class WorkerReply:
    """What a process said of a task, see `pipeline.runtime.sandbox.child_main`."""

    kind: str
    content: bytes

    @property
    def failed(self) -> bool:
        """Whether there is no result."""
        return self.kind != RESULT

    def read(self, what: str) -> Any:
        """The result of the task that messages call `what`; counts the time that it took by part.

        Raises:
            PipelineError: the task's own, if that is for a person, else one that says what was raised, and where.
        """
        content = pickle.loads(self.content)
        if self.kind == RESULT:
            result, times = content
            add_times(times)
            return result
        error, cause = content if self.kind == REFUSED else (PipelineError(f"{what} failed: {content[0]}"), content[1])
        raise error from cause


def name_task(function: Callable[[Task], object], task: Task, number: int) -> str:
    """What messages call it: `check_chunk of items-000003`."""
    return f"{function.__name__} of {getattr(task, 'name', f'task {number}')}"


def read_limits(run: RunParams) -> SandboxLimits:
    """What one process may take."""
    return SandboxLimits(parse_size(run.memory), run.item_seconds)


def make_call(function: Callable[[Task], object], task: Task, source: str | None = None) -> Call:
    """The call of `function(task)` in the folder that this process is in; a function of a script goes by its code."""
    import cloudpickle  # type: ignore[import-untyped]

    return Call(cloudpickle.dumps((function, task)), str(Path.cwd()), source)


def run_call(host: SandboxPool, call: Call, wanted: Callable[[], bool] = lambda: True) -> WorkerReply:
    """The answer to a call. Items that no process survives are lost, as `Divisible` says.

    Raises:
        Unwanted: `wanted` said no, or the host was closed.
        PipelineError: no process can be started.
    """
    with host.hold():
        return _BadItemSearch(host, call, wanted).run()


class _BadItemSearch:
    """The way of one call, with what was lost on it so far."""

    def __init__(self, host: SandboxPool, call: Call, wanted: Callable[[], bool]) -> None:
        self._host = host
        self._call = call
        self._wanted = wanted
        self._lost: dict[int, Rejection] = {}

    def run(self) -> WorkerReply:
        unexplained = 0
        while True:
            end = self._try(None)
            if isinstance(end, WorkerReply):
                return end
            found = self._find_lost(end, unexplained)
            self._lost |= found
            unexplained += not found
            if unexplained >= DEATHS[end.cause]:
                return WorkerReply(FAILED, pickle.dumps((_explain_death(end, self._host.limits), None)))

    def _find_lost(self, death: Death, unexplained: int) -> dict[int, Rejection]:
        """The items that answer for the death of a process that had the whole task; none, where none can be named."""
        if death.items == NOWHERE or (death.cause is DeathCause.KILLED and unexplained < 2):
            return {}
        if death.sure:
            return {death.item: reject(death, self._host.limits)}
        if death.item == NOWHERE or unexplained:
            return self._try_each(range(death.items))
        return self._try_each([death.item])

    def _try_each(self, items: Sequence[int]) -> dict[int, Rejection]:
        """Those of the items that a process dies of which has run nothing else."""
        found = {}
        for item in items:
            if item in self._lost:
                continue
            death = self._try(item, fresh=len(items) == 1)
            if isinstance(death, Death) and not (death.sure or death.cause is DeathCause.TIMEOUT) and len(items) > 1:
                death = self._try(item, fresh=True)  # it may have suffered for the one before
            if isinstance(death, Death) and death.cause is DeathCause.KILLED:
                death = self._try(item, fresh=True)
            if isinstance(death, Death):
                found[item] = reject(death, self._host.limits)
        return found

    def _try(self, alone: int | None, fresh: bool = False) -> WorkerReply | Death:
        request: Request = (self._call.payload, self._call.folder, self._call.source, self._lost, alone)
        outcome = self._host.run(request, self._wanted, fresh)
        return outcome if isinstance(outcome, Death) else WorkerReply(*outcome[:2])


def reject(death: Death, limits: SandboxLimits) -> Rejection:
    """The verdict on an item that a process died of. Nothing in it differs from run to run, but the signal may."""
    match death.cause:
        case DeathCause.CRASHED:
            return Rejection(Reason.DECODER_CRASHED, "the process that worked on it died", death.sign)
        case DeathCause.KILLED:
            detail = "the process that worked on it was killed each time, as systems do where memory runs out"
            return Rejection(Reason.MEMORY, detail, death.sign)
        case DeathCause.MEMORY:
            detail, limit = "it takes more memory than allowed", _format_memory(limits)
            return Rejection(Reason.MEMORY, detail, limit=limit, setting="run.memory")
        case DeathCause.TIMEOUT:
            detail, limit = "it takes more time than allowed", _format_time(limits)
            return Rejection(Reason.TIMEOUT, detail, limit=limit, setting="run.item_seconds")


def _explain_death(death: Death, limits: SandboxLimits) -> str:
    """What to say of a task that died again and again, and of no item of its own."""
    times = DEATHS[death.cause]
    what = {
        DeathCause.CRASHED: f"its process died {times} times ({death.sign})",
        DeathCause.KILLED: f"its process was killed {times} times ({death.sign}) from outside; is memory short here?",
        DeathCause.MEMORY: f"it takes more than the {_format_memory(limits)} of a worker; raise run.memory",
        DeathCause.TIMEOUT: f"it takes more than {_format_time(limits)} an item; raise run.item_seconds",
    }[death.cause]
    return what if death.items == NOWHERE else f"{what}; each of its items alone does not"


def _format_memory(limits: SandboxLimits) -> str:
    return f"{limits.memory / 2**20:.0f} MiB"


def _format_time(limits: SandboxLimits) -> str:
    return f"{limits.item_seconds:g} s"
