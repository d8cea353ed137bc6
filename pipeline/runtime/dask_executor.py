"""Run tasks on a Dask cluster, of this machine or of others. The only module that imports Dask.

The same tasks give the same results on any number of workers: they are pure functions of small arguments, write their
output by rename, and return records only. Dask hands tasks to threads, on this machine or on others; each thread gives
its task to a process of its own (`pipeline.runtime.sandbox`), so that an item can take nothing with it but that
process.
"""

import itertools
import logging
import pickle
import queue
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pipeline.cache.module_sources import hash_source
from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.runtime.check_cluster import check_address, check_workers
from pipeline.runtime.sandbox.find_bad_items import Call, WorkerReply, make_call, name_task, read_limits, run_call
from pipeline.runtime.sandbox.worker import SandboxLimits, TaskCancelled
from pipeline.runtime.sandbox.worker_pool import close_pool, open_pool
from pipeline.runtime.task_batching import TaskBatches

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from distributed import Client, Future

Task = TypeVar("Task")
Result = TypeVar("Result")

SETTINGS = {
    # On this machine the worker is a thread of the driver. The processes of the tasks are watched one by one.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    # What nobody looks at: with these, the driver takes 2.5 instead of 6 % of a core beside the work of 2 workers.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    # It keeps the messages sent last, tasks and all: 1,000 on either side, a task of some 160 kB in each.
    "distributed.admin.low-level-log-length": 10,
    # To wait for a scheduler that does not answer, at the start and when it is gone.
    "distributed.comm.timeouts.connect": "5s",
}

LOSSES = 5
"""How often a task may lose its Dask worker. No item can kill one, so it is the machines that fail."""

PATIENCE = 60.0
"""Seconds to wait for a worker where there is none: one that was killed is started again in a few."""

LOOK = 1.0
"""Seconds without a result after which it is asked whether the cluster is still there."""


@contextmanager
def open_local_cluster(run: RunParams, threads: int) -> Iterator["DaskExecutor"]:
    """Yield a `DaskExecutor` of `threads` threads in this process, each with a process for its tasks."""
    with _start_cluster(threads, run.dashboard) as client:
        place = _WorkerSetup(secrets.token_hex(8), read_limits(run), check_source=False)
        try:
            yield DaskExecutor(client, place, "this machine")
        finally:
            close_pool(place.run)


@contextmanager
def join_cluster(run: RunParams, address: str, folders: Sequence[Path]) -> Iterator["DaskExecutor"]:
    """Yield the `DaskExecutor` of the scheduler at `address`, once its workers were checked.

    Raises:
        PipelineError: the cluster cannot be reached or used; the message says what to do.
    """
    with _connect(address, run) as client:
        check_workers(address, partial(client.run, on_error="return"), [Path(run.cache), *folders])
        place = _WorkerSetup(secrets.token_hex(8), read_limits(run), check_source=True)
        try:
            yield DaskExecutor(client, place, address)
        finally:
            if client.status == "running":
                with suppress(OSError, TimeoutError):
                    client.run(close_pool, place.run, on_error="ignore")


class DaskExecutor:
    """Runs tasks on a Dask cluster, a bounded number in flight: memory does not grow with tasks.

    Args:
        client: of the cluster.
        place: where its workers run the tasks.
        name: of the cluster, for messages.
    """

    def __init__(self, client: "Client", place: "_WorkerSetup", name: str) -> None:
        self._client = client
        self._place = place
        self._name = name
        self._submissions = itertools.count()
        self._runner = _make_runner()

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """See `Workers.run_tasks`."""
        flight = _PendingTasks(self, function, tasks)
        try:
            while flight.launch():
                yield from flight.land()
        finally:
            flight.cancel()

    def submit(self, function: Callable[[Task], object], tasks: Sequence[Task]) -> "Future":
        """Have tasks run on the cluster, one after the other; the result is a `_Report`."""
        source = hash_source(function.__module__) if self._place.check_source else None
        job = pickle.dumps(_Job(self._place, [make_call(function, task, source) for task in tasks]))
        key = f"{function.__name__}-{next(self._submissions)}"  # Dask gives the old result for an old key
        with self._notice_loss():
            return self._client.submit(self._runner, job, key=key, pure=False)

    def cancel(self, futures: "list[Future]") -> None:
        """Let go of tasks; the processes that are at work on them are ended within seconds."""
        if futures:
            with suppress(PipelineError), self._notice_loss():
                self._client.cancel(futures)

    def count_threads(self) -> int:
        """How many tasks the cluster can run at a time; a cluster may grow and shrink.

        Raises:
            PipelineError: the scheduler is gone.
        """
        with self._notice_loss():
            return sum(self._client.nthreads().values())

    def find_memory(self, threads: int) -> int:
        """Bytes that tasks under way may take together."""
        from distributed.system import MEMORY_LIMIT

        allowed = threads * self._place.limits.memory
        return allowed if self._place.check_source else min(allowed, int(0.8 * MEMORY_LIMIT))

    @contextmanager
    def _notice_loss(self) -> Iterator[None]:
        """Say what to do where the scheduler is gone; the client may know that already, or find out only now."""
        from distributed.client import ClosedClientError

        try:
            if self._client.status != "running":
                raise ClosedClientError
            yield
        except (OSError, TimeoutError, ClosedClientError) as error:
            raise PipelineError(
                f"the Dask scheduler at {self._name} is gone: start it and its workers again, then run this again; "
                "what is finished is kept"
            ) from error


class _PendingTasks(Generic[Task, Result]):
    """The tasks of one function, of which some are under way: two stints for each thread of the cluster, so that none
    waits for its next one, and no more than memory allows. A stint is tasks that run one after the other."""

    def __init__(self, cluster: DaskExecutor, function: Callable[[Task], Result], tasks: Sequence[Task]) -> None:
        self._cluster = cluster
        self._function = function
        self._tasks = tasks
        self._stints = TaskBatches(len(tasks))
        self._under_way: dict[str, tuple[list[int], int, Future]] = {}  # by Dask's key: the tasks, and their memory
        self._landed: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._threads = cluster.count_threads()
        self._looked = self._worked = time.monotonic()

    def launch(self) -> bool:
        """Launch what there is room for; whether any task is under way."""
        while len(self._under_way) < max(2 * self._threads, 1):
            stint = self._stints.take(self._threads, self._has_memory)
            if not stint:
                break
            future = self._cluster.submit(self._function, [self._tasks[number] for number in stint])
            self._under_way[future.key] = stint, max(map(self._estimate, stint)), future
            future.add_done_callback(self._landed.put)
        return bool(self._under_way)

    def _has_memory(self, number: int) -> bool:
        """Whether a task fits beside those under way; one that fits nowhere goes alone."""
        taken = sum(memory for _, memory, _ in self._under_way.values())
        return not taken or taken + self._estimate(number) <= self._cluster.find_memory(self._threads)

    def _estimate(self, number: int) -> int:
        return int(getattr(self._tasks[number], "estimated_bytes", 0))

    def land(self) -> Iterator[tuple[int, Result]]:
        """Wait for a stint to end: its tasks' numbers and results; none if it was lost, or nothing happened."""
        self._look()
        try:
            future = self._landed.get(timeout=LOOK)
        except queue.Empty:
            return
        stint, *_ = self._under_way.pop(future.key)
        if (report := self._read(future, stint)) is not None:
            self._stints.note_finished(len(report.answers), report.seconds)
            for number, answer in zip(stint, report.answers, strict=False):  # after one that failed there are no more
                yield number, answer.read(self._name(number))

    def _name(self, number: int) -> str:
        return name_task(self._function, self._tasks[number], number)

    def _read(self, future: "Future", stint: Sequence[int]) -> "_Report | None":
        """What the tasks' process said of them; None if they go again, because their worker was lost."""
        from distributed import KilledWorker

        what = self._name(stint[0])
        try:
            report: _Report = future.result(timeout=PATIENCE)
        except PipelineError:
            raise
        except (CancelledError, TimeoutError, TaskCancelled, KilledWorker) as error:
            self._cluster.count_threads()
            if self._stints.put_back(stint) > LOSSES:
                raise PipelineError(f"{what}: its Dask worker was lost {LOSSES} times; look at the workers") from error
            return None
        except Exception as error:
            raise PipelineError(f"{what}: a Dask worker could not run it: {type(error).__name__}: {error}") from error
        return report

    def _look(self) -> None:
        """Ask now and then how many threads there are, and give up where there are none for long."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        self._threads = self._cluster.count_threads()
        if self._threads:
            self._worked = now
        elif now - self._worked > PATIENCE:
            raise PipelineError(f"the cluster has had no workers for {PATIENCE:.0f} s: start some, then run this again")

    def cancel(self) -> None:
        """Nobody waits any more for what is under way."""
        futures = [future for *_, future in self._under_way.values()]
        self._under_way.clear()
        self._cluster.cancel(futures)


@dataclass(frozen=True)
class _WorkerSetup:
    """Where a run's tasks run: in processes of its own on every worker, within limits."""

    run: str
    limits: SandboxLimits
    check_source: bool


def _make_runner() -> Callable[[bytes], object]:
    """The function that Dask gets, with a pickled `_Job`; it gives a `_Report`.

    It is nested, so that it goes by its code and not by its name, and names no type of ours: a scheduler unpickles it,
    and need not have this project. The bytes it hands on as they are.
    """

    def run(job: bytes) -> object:
        import pickle

        return pickle.loads(job).run()

    return run


@dataclass(frozen=True)
class _Report:
    """What processes said of the calls of a job, in their order, up to the first that failed; and the time it took."""

    answers: list[WorkerReply]
    seconds: float


@dataclass(frozen=True)
class _Job:
    """Calls, and where they run, one after the other."""

    place: _WorkerSetup
    calls: list[Call]

    def run(self) -> _Report:
        """In a worker: make the calls until one fails."""
        start, answers, wanted = time.monotonic(), list[WorkerReply](), _watch_caller()
        for call in self.calls:
            answers.append(run_call(open_pool(self.place.run, self.place.limits), call, wanted))
            if answers[-1].failed:
                break
        return _Report(answers, time.monotonic() - start)


def _watch_caller() -> Callable[[], bool]:
    """A function that says whether the task that this thread has from Dask is still wanted: its driver may be dead."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"

    return is_wanted


@contextmanager
def _start_cluster(threads: int, dashboard: bool) -> Iterator["Client"]:
    """A scheduler and a worker in this process, which nobody else can reach; a dashboard for this machine on demand."""
    import dask
    from distributed import Client, LocalCluster

    if dashboard and find_spec("bokeh") is None:
        raise PipelineError("run.dashboard needs the package bokeh: `pip install bokeh`, or set it to false")
    with dask.config.set(SETTINGS):
        cluster = LocalCluster(
            processes=False,
            n_workers=1,
            threads_per_worker=threads,
            memory_limit=0,
            # Dask opens HTTP ports in any case: left to itself on all interfaces, with a warning if 8787 is taken.
            dashboard_address="127.0.0.1:8787" if dashboard else "127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": dashboard},
            silence_logs=logging.CRITICAL,
        )
        with cluster, Client(cluster) as client:
            client.loop.asyncio_loop.set_exception_handler(_forgive_timeouts)
            yield client


@contextmanager
def _connect(address: str, run: RunParams) -> Iterator["Client"]:
    """A connection to a scheduler that somebody else started."""
    import dask
    from distributed import Client, Security

    check_address(run)
    security = Security(
        tls_ca_file=run.tls_ca,
        tls_client_cert=run.tls_cert,
        tls_client_key=run.tls_key,
        require_encryption=address.startswith("tls:"),
    )
    with dask.config.set(SETTINGS), _silence_dask():
        try:
            client = Client(address, security=security, timeout=SETTINGS["distributed.comm.timeouts.connect"])
        except (OSError, TimeoutError) as error:
            raise PipelineError(f"no Dask scheduler answers at {address}: {error}") from error
        with client:
            client.loop.asyncio_loop.set_exception_handler(_forgive_timeouts)
            yield client


def _forgive_timeouts(loop: "AbstractEventLoop", context: dict[str, Any]) -> None:
    """That the time of a wait is up which Dask left when it closed is no news; it would be a trace on the terminal."""
    if not isinstance(context.get("exception"), TimeoutError):
        loop.default_exception_handler(context)


@contextmanager
def _silence_dask() -> Iterator[None]:
    """What goes wrong is one line of ours, without Dask's traces of its attempts to mend it."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in levels:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
