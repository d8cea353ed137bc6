"""Run tasks on a Dask cluster, of this machine or of others. The only module that imports Dask.

The same tasks give the same results on any number of workers: they are pure functions of small arguments, write their
output by rename, and return records only. Dask hands tasks to threads, on this machine or on others; each thread gives
its task to a process of its own (`pipeline.runtime.sandbox`), so that a bad item can end that process and nothing else.
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

from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.incremental.module_sources import hash_source
from pipeline.runtime.check_cluster import Describe, Environment, check_address, check_workers, describe_driver
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
    # Diagnostics nobody reads: with these, the driver takes 2.5 instead of 6 % of a core beside the work of 2 workers.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    # Dask keeps the messages sent last, tasks included: 1,000 on either side, a task of some 160 kB in each.
    "distributed.admin.low-level-log-length": 10,
    # How long to wait for a scheduler that does not answer, at the start and when it is gone.
    "distributed.comm.timeouts.connect": "5s",
}

MAX_LOSSES = 5
"""How often a task may lose its Dask worker. No item can kill one, so it is the machines that fail."""

WORKER_TIMEOUT = 60.0
"""Seconds to wait for a worker where there is none: one that was killed is started again in a few."""

POLL_SECONDS = 1.0
"""Seconds without a result after which the driver asks whether the cluster is still there."""


@contextmanager
def open_local_cluster(run: RunParams, threads: int) -> Iterator["DaskExecutor"]:
    """Yield a `DaskExecutor` of `threads` threads in this process, each with a process for its tasks."""
    with _start_cluster(threads, run.dashboard) as client:
        setup = _WorkerSetup(secrets.token_hex(8), read_limits(run))
        try:
            yield DaskExecutor(client, setup, "this machine")
        finally:
            close_pool(setup.run)


@contextmanager
def join_cluster(run: RunParams, address: str, folders: Sequence[Path], describe: Describe) -> Iterator["DaskExecutor"]:
    """Yield the `DaskExecutor` of the scheduler at `address`, after its workers were checked.

    Raises:
        PipelineError: the cluster cannot be reached or used; the message says what to do.
    """
    with _connect(address, run) as client:
        name = secrets.token_hex(8)
        environment = describe_driver(name, describe)
        check_workers(address, partial(client.run, on_error="return"), [Path(run.cache), *folders], environment)
        try:
            yield DaskExecutor(client, _WorkerSetup(name, read_limits(run), environment), address)
        finally:
            if client.status == "running":
                with suppress(OSError, TimeoutError):
                    client.run(close_pool, name, on_error="ignore")


class DaskExecutor:
    """Runs tasks on a Dask cluster, a bounded number at a time: memory does not grow with the number of tasks.

    Args:
        client: of the cluster.
        setup: how its workers run the tasks.
        name: of the cluster, for messages.
    """

    def __init__(self, client: "Client", setup: "_WorkerSetup", name: str) -> None:
        self._client = client
        self._setup = setup
        self._name = name
        self._submissions = itertools.count()
        self._runner = _make_runner()

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """See `pipeline.runtime.executor.Executor.run_tasks`."""
        pending = _PendingTasks(self, function, tasks)
        try:
            while pending.submit_batches():
                yield from pending.wait_for_batch()
        finally:
            pending.cancel()

    def submit(self, function: Callable[[Task], object], tasks: Sequence[Task]) -> "Future":
        """Have a worker run tasks one after the other; the future's result is a `_Report`."""
        source = hash_source(function.__module__) if self._setup.environment else None
        job = pickle.dumps(_Job(self._setup, [make_call(function, task, source) for task in tasks]))
        key = f"{function.__name__}-{next(self._submissions)}"  # Dask returns the old result for an old key
        with self._notice_loss():
            return self._client.submit(self._runner, job, key=key, pure=False)

    def cancel(self, futures: "list[Future]") -> None:
        """Cancel tasks; the processes that work on them are ended within seconds."""
        if futures:
            with suppress(PipelineError), self._notice_loss():
                self._client.cancel(futures)

    def count_threads(self) -> int:
        """Return how many tasks the cluster can run at a time; a cluster may grow and shrink.

        Raises:
            PipelineError: the scheduler is gone.
        """
        with self._notice_loss():
            return sum(self._client.nthreads().values())

    def find_memory(self, threads: int) -> int:
        """Return how many bytes the running tasks may take together."""
        from distributed.system import MEMORY_LIMIT

        allowed = threads * self._setup.limits.memory
        return allowed if self._setup.environment else min(allowed, int(0.8 * MEMORY_LIMIT))

    @contextmanager
    def _notice_loss(self) -> Iterator[None]:
        """Raise an error that says what to do if the scheduler is gone, whether the client knows already or not."""
        from distributed.client import ClosedClientError

        try:
            if self._client.status != "running":
                raise ClosedClientError
            yield
        except (OSError, TimeoutError, ClosedClientError) as error:
            raise PipelineError(
                f"the Dask scheduler at {self._name} is gone: start it and its workers again, then run this again; "
                "finished items are in the cache"
            ) from error


class _PendingTasks(Generic[Task, Result]):
    """The tasks of one function, some of them submitted: two batches for each thread of the cluster, so that none waits
    for its next one, and no more than memory allows. The tasks of a batch run one after the other."""

    def __init__(self, cluster: DaskExecutor, function: Callable[[Task], Result], tasks: Sequence[Task]) -> None:
        self._cluster = cluster
        self._function = function
        self._tasks = tasks
        self._batches = TaskBatches(len(tasks))
        self._submitted: dict[str, tuple[list[int], int, Future]] = {}  # by Dask's key: the tasks, and their memory
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._threads = cluster.count_threads()
        self._polled = self._had_threads = time.monotonic()

    def submit_batches(self) -> bool:
        """Submit as many batches as there is room for; return whether any is submitted."""
        while len(self._submitted) < max(2 * self._threads, 1):
            batch = self._batches.take(self._threads, self._has_memory)
            if not batch:
                break
            future = self._cluster.submit(self._function, [self._tasks[number] for number in batch])
            self._submitted[future.key] = batch, max(map(self._estimate_bytes, batch)), future
            future.add_done_callback(self._ended.put)
        return bool(self._submitted)

    def _has_memory(self, number: int) -> bool:
        """Return whether a task fits beside those submitted; one that is too large for the limit runs alone."""
        taken = sum(memory for _, memory, _ in self._submitted.values())
        return not taken or taken + self._estimate_bytes(number) <= self._cluster.find_memory(self._threads)

    def _estimate_bytes(self, number: int) -> int:
        return int(getattr(self._tasks[number], "estimated_bytes", 0))

    def wait_for_batch(self) -> Iterator[tuple[int, Result]]:
        """Wait for a batch to end, a second at most; yield its tasks' numbers and results, none if it was lost."""
        self._poll_threads()
        try:
            future = self._ended.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        batch, *_ = self._submitted.pop(future.key)
        if (report := self._read_report(future, batch)) is not None:
            self._batches.note_finished(len(report.replies), report.seconds)
            for number, reply in zip(batch, report.replies, strict=False):  # none after one that failed
                yield number, reply.read(self._name(number))

    def _name(self, number: int) -> str:
        return name_task(self._function, self._tasks[number], number)

    def _read_report(self, future: "Future", batch: Sequence[int]) -> "_Report | None":
        """Return the replies of the tasks' process; None if the tasks run again because their worker was lost."""
        from distributed import KilledWorker

        name = self._name(batch[0])
        try:
            report: _Report = future.result(timeout=WORKER_TIMEOUT)
        except PipelineError:
            raise
        except (CancelledError, TimeoutError, TaskCancelled, KilledWorker) as error:
            self._cluster.count_threads()
            if self._batches.put_back(batch) > MAX_LOSSES:
                raise PipelineError(
                    f"{name}: its Dask worker was lost {MAX_LOSSES} times; look at the workers"
                ) from error
            return None
        except Exception as error:
            raise PipelineError(f"{name}: a Dask worker could not run it: {type(error).__name__}: {error}") from error
        return report

    def _poll_threads(self) -> None:
        """Ask now and then how many threads there are.

        Raises:
            PipelineError: there were none for `WORKER_TIMEOUT` seconds.
        """
        now = time.monotonic()
        if now - self._polled < POLL_SECONDS:
            return
        self._polled = now
        self._threads = self._cluster.count_threads()
        if self._threads:
            self._had_threads = now
        elif now - self._had_threads > WORKER_TIMEOUT:
            raise PipelineError(
                f"the cluster has had no workers for {WORKER_TIMEOUT:.0f} s: start some, then run this again"
            )

    def cancel(self) -> None:
        """Cancel the submitted tasks: nobody waits for them any more."""
        futures = [future for *_, future in self._submitted.values()]
        self._submitted.clear()
        self._cluster.cancel(futures)


@dataclass(frozen=True)
class _WorkerSetup:
    """How workers run a run's tasks: in processes within limits; other machines first compare their environment."""

    run: str
    limits: SandboxLimits
    environment: Environment | None = None


def _make_runner() -> Callable[[bytes], object]:
    """Return the function that Dask gets: it takes a pickled `_Job` and returns a `_Report`.

    It is nested, so that it is pickled by its code and not by its name, and names no type of ours: a scheduler
    unpickles it, and need not have this project. The bytes it passes on as they are.
    """

    def run(job: bytes) -> object:
        import pickle

        return pickle.loads(job).run()

    return run


@dataclass(frozen=True)
class _Report:
    """The replies to a job's calls, in their order, up to the first that failed; and the seconds that they took."""

    replies: list[WorkerReply]
    seconds: float


@dataclass(frozen=True)
class _Job:
    """Calls that run one after the other, and how."""

    setup: _WorkerSetup
    calls: list[Call]

    def run(self) -> _Report:
        """Run the calls until one fails. Runs on a worker.

        Raises:
            PipelineError: this worker joined late, and differs from the driver.
        """
        if self.setup.environment:
            self.setup.environment.check_late_worker()
        start, replies, is_needed = time.monotonic(), list[WorkerReply](), _watch_caller()
        for call in self.calls:
            replies.append(run_call(open_pool(self.setup.run, self.setup.limits), call, is_needed))
            if replies[-1].failed:
                break
        return _Report(replies, time.monotonic() - start)


def _watch_caller() -> Callable[[], bool]:
    """Return a function that tells whether the result of this thread's Dask task is still needed: its driver may be
    dead."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def is_needed() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"

    return is_needed


@contextmanager
def _start_cluster(threads: int, dashboard: bool) -> Iterator["Client"]:
    """Start a scheduler and a worker in this process that nobody else can reach, with a dashboard for this machine on
    request."""
    import dask
    from distributed import Client, LocalCluster

    if dashboard and find_spec("bokeh") is None:
        raise PipelineError(
            "run.dashboard is true, which needs the package bokeh: `pip install bokeh`, or set it to false"
        )
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
            client.loop.asyncio_loop.set_exception_handler(_ignore_timeouts)
            yield client


@contextmanager
def _connect(address: str, run: RunParams) -> Iterator["Client"]:
    """Connect to a scheduler that somebody else started."""
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
            client.loop.asyncio_loop.set_exception_handler(_ignore_timeouts)
            yield client


def _ignore_timeouts(loop: "AbstractEventLoop", context: dict[str, Any]) -> None:
    """Ignore the timeout of a wait that Dask left behind when it closed; it would print a traceback."""
    if not isinstance(context.get("exception"), TimeoutError):
        loop.default_exception_handler(context)


@contextmanager
def _silence_dask() -> Iterator[None]:
    """Silence Dask's loggers: an error is one line of ours, without the traces of Dask's attempts to recover."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in levels:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
