"""Processes for tasks on this machine: made when they are needed, used again, replaced when they died."""

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.config.params import RunParams
from pipeline.runtime.sandbox.child_main import Reply, Request
from pipeline.runtime.sandbox.fork_server import ForkServer, ForkServerDied
from pipeline.runtime.sandbox.worker import Death, DeathCause, SandboxLimits, SandboxWorker, TaskCancelled

REST = 60.0
"""Seconds without a task after which processes end."""


class SandboxPool:
    """The processes of one run: as many as there are threads that run a task at a time.

    Args:
        limits: of each process.
    """

    def __init__(self, limits: SandboxLimits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._forkers: list[ForkServer] = []  # the last one is in use; processes of those before may be alive
        self._idle: list[SandboxWorker] = []
        self._loaded: list[str] = []  # modules that processes loaded and the forker did not
        self._may_load = True
        self._holders = 0
        self._closed = False
        self._used = time.monotonic()
        self._rest: threading.Timer | None = None

    def run(self, request: Request, wanted: Callable[[], bool], fresh: bool = False) -> Reply | Death:
        """Run a task in a process; with `fresh`, in one that has run nothing before.

        Raises:
            Unwanted: `wanted` said no, or the host was closed meanwhile.
            PipelineError: no process can be started.
        """
        cell = self._take_cell(fresh)
        try:
            outcome = cell.run(request, self.limits, wanted)
        except BaseException:
            cell.close()
            raise
        with self._lock:
            if self._closed:
                raise TaskCancelled
            if isinstance(outcome, Death):
                self._learn_from_death(outcome)
            else:
                self._idle.append(cell)
                self._loaded += outcome[2]
        return outcome

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Something runs here that needs several processes one after the other."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                self._used = time.monotonic()
                self._arm_rest()

    def _arm_rest(self) -> None:
        if self._rest is None and not self._closed:
            self._rest = threading.Timer(REST, self._end_idle)
            self._rest.daemon = True
            self._rest.start()

    def _end_idle(self) -> None:
        """Let go of the memory of processes that nobody needs, should the driver be dead; new ones can be had again."""
        with self._lock:
            self._rest = None
            if self._holders or time.monotonic() - self._used < REST:
                self._arm_rest()
            else:
                self._end_all()

    def is_idle(self) -> bool:
        """Whether nobody holds it."""
        return not self._holders

    def close(self) -> None:
        """End all its processes; threads that wait for them get `TaskCancelled`."""
        with self._lock:
            self._closed = True
            if self._rest is not None:
                self._rest.cancel()
            self._end_all()

    def _end_all(self) -> None:
        for forker in self._forkers:
            forker.close()
        self._forkers.clear()
        self._idle.clear()

    def _take_cell(self, fresh: bool) -> SandboxWorker:
        with self._lock:
            if self._closed:
                raise TaskCancelled
            while self._idle:
                idle = self._idle.pop()
                if not fresh and idle.is_alive():
                    return idle
                idle.close()
                if fresh:
                    break
            if not (self._forkers and self._forkers[-1].is_alive()):
                self._forkers.append(_early.pop() if _early else ForkServer())
                if not self._forkers[-1].is_safe():  # of those that were started early: a library has threads
                    self._forkers.append(ForkServer())
            try:
                return self._forkers[-1].fork()
            except ForkServerDied:  # while it forked
                self._forkers.append(ForkServer())
                return self._forkers[-1].fork()

    def _learn_from_death(self, death: Death) -> None:
        """Have the libraries loaded where the next process is forked: it is not the last one that is needed."""
        if death.cause is DeathCause.KILLED or not self._may_load or not self._loaded:
            return
        if not self._forkers[-1].load(self._loaded):
            self._may_load = False  # a library has started threads, or there is nothing any more to fork from
            self._forkers.append(ForkServer())
        self._loaded.clear()


_early: list[ForkServer] = []  # for the hosts that come


def warm_up_pool(run: RunParams, prepare: Callable[[], None]) -> None:
    """Have the processes that tasks will run in on this machine made ready while there is still something to plan.

    Args:
        run: how tasks will run.
        prepare: a function of a module, or a partial of one, that loads what most tasks need. It runs in the process
            that those are forked from, at the same time as this one goes on; what it raises is of no consequence.
    """
    if run.scheduler is None and run.workers > 0:
        _early.append(ForkServer(pickle.dumps(prepare)))


_hosts: dict[str, SandboxPool] = {}  # of the runs that this process works for
_hosts_lock = threading.Lock()


def open_pool(run: str, limits: SandboxLimits) -> SandboxPool:
    """This process's host for the run of that name; made when it is first asked for, and those of other runs, which
    may have ended without a word, are closed if they have nothing to do."""
    with _hosts_lock:
        if run not in _hosts:
            for name in [name for name, host in _hosts.items() if host.is_idle()]:
                _hosts.pop(name).close()
            _hosts[run] = SandboxPool(limits)
        return _hosts[run]


def close_pool(run: str) -> None:
    """End all processes of a run here."""
    with _hosts_lock:
        host = _hosts.pop(run, None)
    if host:
        host.close()
