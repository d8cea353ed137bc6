"""Run tasks on a Dask cluster, of this machine or of others. The only module that imports Dask.

The same tasks give the same results on any number of workers: they are pure functions of small arguments, write their
output by rename, and return records only. Dask hands tasks to threads, on this machine or on others; each thread gives
its task to a process of its own (`pipeline.runtime.sandbox`), so that a bad item can end that process and nothing else.
"""

import itertools
import logging
import pickle
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.config.named_function import load_function
from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.incremental.module_sources import hash_source
from pipeline.runtime.check_cluster import (
    Describe,
    check_address,
    check_client_address,
    check_worker_addresses,
    check_workers,
    describe_driver,
)
from pipeline.runtime.pending_tasks import PendingTasks
from pipeline.runtime.sandbox.find_bad_items import make_call, read_limits
from pipeline.runtime.sandbox.worker import TaskCancelled
from pipeline.runtime.sandbox.worker_pool import close_pool
from pipeline.runtime.worker_jobs import Job, JobReport, WorkerLost, WorkerSetup
from pipeline.runtime.worker_wait import WorkerWait

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
}

CLIENT_SETTINGS = {"distributed.admin.low-level-log-length": 10}
"""Settings with which the cluster of others is used: the rest of Dask's configuration is theirs."""

CONNECT_TIMEOUT = "5s"
"""How long to wait for a scheduler that does not answer."""

RESULT_TIMEOUT = 10.0
"""Seconds for the report of a job that has ended, a few hundred bytes: its worker may be gone with it."""

WAIT_SECONDS = 0.25
"""Seconds after which a cluster without workers is looked at again."""

JOBS_PER_THREAD = 2
"""Jobs submitted for each thread of this machine: none waits for its next one."""

JOBS_PER_REMOTE_THREAD = 6
"""The same for a cluster. An adaptive one grows if its threads have more than 5 s of work before them, as Dask's
`distributed.adaptive.target-duration` has it; jobs take 1 to 2 s, or longer if their one task does."""


@contextmanager
def open_local_cluster(run: RunParams, threads: int) -> Iterator["DaskExecutor"]:
    """Yield a `DaskExecutor` of `threads` threads in this process, each with a process for its tasks."""
    with _start_cluster(threads, run.dashboard) as client:
        setup = WorkerSetup(secrets.token_hex(8), read_limits(run))
        try:
            yield DaskExecutor(client, setup, WorkerWait("this machine", run.wait_for_workers))
        finally:
            close_pool(setup.run)


@contextmanager
def join_cluster(run: RunParams, folders: Sequence[Path], describe: Describe) -> Iterator["DaskExecutor"]:
    """Yield the `DaskExecutor` of the cluster that `run` names, after its workers were checked.

    Raises:
        PipelineError: the cluster cannot be reached or used, or has no workers; the message says what to do.
    """
    with _connect(run) as client:
        environment = describe_driver(secrets.token_hex(8), describe)
        setup = WorkerSetup(environment.run, read_limits(run), environment)
        address = client.scheduler.address
        cluster = DaskExecutor(client, setup, WorkerWait(address, run.wait_for_workers))
        check_workers(address, cluster.ask_workers, [Path(run.cache), *folders], environment)
        try:
            yield cluster
        finally:
            if client.status == "running":
                with suppress(OSError, TimeoutError):
                    client.run(close_pool, setup.run, on_error="ignore")


class DaskExecutor:
    """Runs tasks on a Dask cluster, a bounded number at a time: memory does not grow with the number of tasks.

    Args:
        client: of the cluster.
        setup: how its workers run the tasks.
        wait: what happens while it has no workers.
    """

    def __init__(self, client: "Client", setup: WorkerSetup, wait: WorkerWait) -> None:
        self._client = client
        self._setup = setup
        self._wait = wait
        self._submissions = itertools.count()
        self._runner = _make_runner()
        self.jobs_per_thread = JOBS_PER_REMOTE_THREAD if setup.environment else JOBS_PER_THREAD

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """See `pipeline.runtime.executor.Executor.run_tasks`."""
        pending = PendingTasks(self, function, tasks)
        try:
            while pending.submit_batches():
                yield from pending.wait_for_batch()
        finally:
            pending.cancel()

    def submit(self, function: Callable[[Task], object], tasks: Sequence[Task]) -> "Future":
        """See `pipeline.runtime.pending_tasks.Cluster`; so for the methods below."""
        source = hash_source(function.__module__) if self._setup.environment else None
        job = pickle.dumps(Job(self._setup, [make_call(function, task, source) for task in tasks]))
        key = f"{function.__name__}-{next(self._submissions)}"  # Dask returns the old result for an old key
        with self._notice_loss():
            return self._client.submit(self._runner, job, key=key, pure=False)

    def read_report(self, job: "Future", name: str) -> JobReport:
        """Return the report of a job that has ended."""
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        try:
            report: JobReport = job.result(timeout=RESULT_TIMEOUT)
        except PipelineError:
            raise
        except (CancelledError, TimeoutError, TaskCancelled, KilledWorker, CommClosedError) as error:
            raise WorkerLost from error  # or the scheduler was, which is noticed when it is asked next
        except Exception as error:
            raise PipelineError(f"{name}: a Dask worker could not run it: {type(error).__name__}: {error}") from error
        return report

    def cancel(self, jobs: "Sequence[Future]") -> None:
        """Cancel jobs."""
        if jobs:
            with suppress(PipelineError), self._notice_loss():
                self._client.cancel(list(jobs))

    def count_threads(self) -> int:
        """Return how many tasks the cluster can run at a time; a cluster may grow and shrink.

        Raises:
            PipelineError: the scheduler is gone, there were no workers for too long, or others can reach one.
        """
        with self._notice_loss():
            threads: dict[str, int] = self._client.nthreads()
        check_worker_addresses(threads)
        self._wait.note_threads(total := sum(threads.values()))
        return total

    def find_memory(self, threads: int) -> int:
        """Return how many bytes the running tasks may take together."""
        from distributed.system import MEMORY_LIMIT

        allowed = threads * self._setup.limits.memory
        return allowed if self._setup.environment else min(allowed, int(0.8 * MEMORY_LIMIT))

    def ask_workers(self, function: Callable[..., object], *arguments: object) -> Mapping[str, Any]:
        """Return by address what a function returned on each worker, or its exception, once there are any."""
        while True:
            self._wait_for_worker()
            with self._notice_loss():
                answers: dict[str, Any] = self._client.run(function, *arguments, on_error="return")
                present = self._client.nthreads()
            # A worker that left meanwhile has not failed, and is checked before its first task if it comes back.
            found = {worker: answer for worker, answer in answers.items() if worker in present}
            if found:
                return found

    def _wait_for_worker(self) -> None:
        """Wait until there is a worker. A task waits too: an adaptive cluster starts workers for tasks alone."""
        if self.count_threads():
            return
        with self._notice_loss():
            task = self._client.submit(time.monotonic, key=f"first-worker-{secrets.token_hex(8)}", pure=False)
        try:
            while not self.count_threads():
                time.sleep(WAIT_SECONDS)
        finally:
            self.cancel([task])

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
                f"the Dask scheduler at {self._wait.cluster} is gone: start it and its workers again, then run this "
                "again; finished items are in the cache"
            ) from error


def _make_runner() -> Callable[[bytes], object]:
    """Return the function that Dask gets: it takes a pickled `Job` and returns a `JobReport`.

    It is nested, so that it is pickled by its code and not by its name, and names no type of ours: a scheduler
    unpickles it, and need not have this project. The bytes it passes on as they are.
    """

    def run(job: bytes) -> object:
        from pipeline.runtime.dask_executor import run_job

        return run_job(job)

    return run


def run_job(job: bytes) -> JobReport:
    """Run a pickled `Job`. Runs on a worker."""
    loaded: Job = pickle.loads(job)
    return loaded.run(_watch_caller())


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
def _connect(run: RunParams) -> Iterator["Client"]:
    """Connect to a cluster that somebody else started, or that the function `run.client` starts."""
    import dask
    import distributed  # noqa: F401 - defines its loggers

    connection = _call_client_function(run.client) if run.client else _connect_to_scheduler(run)
    with dask.config.set(CLIENT_SETTINGS), _silence_dask(), connection as client:
        client.loop.asyncio_loop.set_exception_handler(_ignore_timeouts)
        yield client


@contextmanager
def _connect_to_scheduler(run: RunParams) -> Iterator["Client"]:
    from distributed import Client, Security

    check_address(run)
    address = run.scheduler or ""
    security = Security(
        tls_ca_file=run.tls_ca,
        tls_client_cert=run.tls_cert,
        tls_client_key=run.tls_key,
        require_encryption=address.startswith("tls:"),
    )
    try:
        client = Client(address, security=security, timeout=CONNECT_TIMEOUT)
    except (OSError, TimeoutError) as error:
        raise PipelineError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield client


@contextmanager
def _call_client_function(path: str) -> Iterator["Client"]:
    """Yield the client that the function `run.client` gives; close it and its cluster, and say if that fails.

    Raises:
        PipelineError: it gives none, or one whose scheduler others can reach without a certificate.
    """
    from distributed import Client

    stack = ExitStack()
    try:
        client = stack.enter_context(load_function("run.client", path)())
    except PipelineError:
        raise
    except Exception as error:
        raise PipelineError(f"run.client is {path}, which failed: {type(error).__name__}: {error}") from error
    try:
        if not isinstance(client, Client) or client.status != "running":
            raise PipelineError(
                f"run.client is {path}, which gave {client!r}; it must give a connected dask.distributed.Client, as "
                "`return Client(cluster)` does (see docs/clusters.md)"
            )
        check_client_address(path, client.scheduler.address)
        yield client
    finally:
        cluster = getattr(client, "cluster", None)
        try:
            stack.close()
            if cluster is not None:
                cluster.close()
        except Exception as error:
            sys.stderr.write(
                f"run.client is {path}, whose cluster could not be closed: {type(error).__name__}: {error}; see "
                "whether its workers still run\n"
            )


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
