"""Keep processes for tasks on this machine: start them when needed, use them again, replace dead ones."""

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.config.params import RunParams
from pipeline.runtime.sandbox.child_main import Reply, Request
from pipeline.runtime.sandbox.fork_server import ForkServer, ForkServerDied
from pipeline.runtime.sandbox.worker import Death, DeathCause, SandboxLimits, SandboxWorker, TaskCancelled

IDLE_SECONDS = 60.0
"""Seconds without a task after which processes are ended."""


class SandboxPool:
    """The processes of one run: as many as there are threads that run a task at a time.

    Args:
        limits: of each process.
    """

    def __init__(self, limits: SandboxLimits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._servers: list[ForkServer] = []  # the last one is in use; processes of those before may be alive
        self._idle: list[SandboxWorker] = []
        self._loaded: list[str] = []  # modules that processes have loaded and the fork server has not
        self._may_load = True
        self._holders = 0
        self._closed = False
        self._used = time.monotonic()
        self._timer: threading.Timer | None = None

    def run(self, request: Request, is_needed: Callable[[], bool], fresh: bool = False) -> Reply | Death:
        """Run a task in a process; with `fresh`, in one that has run nothing before.

        Raises:
            TaskCancelled: `is_needed` returned False, or the pool was closed meanwhile.
            PipelineError: no process can be started.
        """
        worker = self._take_worker(fresh)
        try:
            outcome = worker.run(request, self.limits, is_needed)
        except BaseException:
            worker.close()
            raise
        with self._lock:
            if self._closed:
                raise TaskCancelled
            if isinstance(outcome, Death):
                self._learn_from_death(outcome)
            else:
                self._idle.append(worker)
                self._loaded += outcome[2]
        return outcome

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the pool from ending idle processes: a call needs several, one after the other."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                self._used = time.monotonic()
                self._start_timer()

    def _start_timer(self) -> None:
        if self._timer is None and not self._closed:
            self._timer = threading.Timer(IDLE_SECONDS, self._end_idle)
            self._timer.daemon = True
            self._timer.start()

    def _end_idle(self) -> None:
        """End processes that nobody needs, to free their memory, should the driver be dead; new ones can be started."""
        with self._lock:
            self._timer = None
            if self._holders or time.monotonic() - self._used < IDLE_SECONDS:
                self._start_timer()
            else:
                self._end_all()

    def is_idle(self) -> bool:
        """Return whether nobody holds it."""
        return not self._holders

    def close(self) -> None:
        """End all processes; threads that wait for one get `TaskCancelled`."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            self._end_all()

    def _end_all(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._idle.clear()

    def _take_worker(self, fresh: bool) -> SandboxWorker:
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
            if not (self._servers and self._servers[-1].is_alive()):
                self._servers.append(_early.pop() if _early else ForkServer())
                if not self._servers[-1].is_safe():  # it was started early, and a library that it loaded has threads
                    self._servers.append(ForkServer())
            try:
                return self._servers[-1].fork()
            except ForkServerDied:  # while it forked
                self._servers.append(ForkServer())
                return self._servers[-1].fork()

    def _learn_from_death(self, death: Death) -> None:
        """Load the libraries in the fork server: after one death, more processes will be needed."""
        if death.cause is DeathCause.KILLED or not self._may_load or not self._loaded:
            return
        if not self._servers[-1].load(self._loaded):
            self._may_load = False  # a library has started threads, or the server is dead
            self._servers.append(ForkServer())
        self._loaded.clear()


_early: list[ForkServer] = []  # for pools to come


def warm_up_pool(run: RunParams, prepare: Callable[[], None]) -> None:
    """Start a fork server for tasks on this machine while the driver still plans them.

    Args:
        run: how tasks will run.
        prepare: a function of a module, or a partial of one, that loads what most tasks need. It runs in the fork
            server, while this process goes on; what it raises is ignored.
    """
    if run.scheduler is None and run.workers > 0:
        _early.append(ForkServer(pickle.dumps(prepare)))


_pools: dict[str, SandboxPool] = {}  # of the runs that this process works for
_pools_lock = threading.Lock()


def open_pool(run: str, limits: SandboxLimits) -> SandboxPool:
    """Return this process's pool for the run of that name, opened on first use; idle pools of other runs, whose drivers
    may be dead, are closed."""
    with _pools_lock:
        if run not in _pools:
            for name in [name for name, pool in _pools.items() if pool.is_idle()]:
                _pools.pop(name).close()
            _pools[run] = SandboxPool(limits)
        return _pools[run]


def close_pool(run: str) -> None:
    """End all processes of a run on this machine."""
    with _pools_lock:
        pool = _pools.pop(run, None)
    if pool:
        pool.close()
