"""Where work runs. The only importer of Dask: steps say what is to be done, this file says in which process.

The same tasks give the same results on any number of workers: they are pure functions of small arguments, write their
output by rename, and return records only. Dask hands tasks to threads, on this machine or on others; each thread gives
its task to a process of its own (`pipeline.isolate`), so that an item can take nothing with it but that process.
"""

import itertools
import logging
import pickle
import queue
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pipeline.errors import PipelineError
from pipeline.isolate.cell import Limits, Unwanted
from pipeline.isolate.host import close_host, find_host
from pipeline.isolate.this_process import ThisProcess
from pipeline.isolate.triage import Answer, Call, make_call, name_task, read_limits, run_call
from pipeline.isolate.workers import Workers
from pipeline.params import RunParams
from pipeline.remote import check_address, check_workers
from pipeline.source import hash_source

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from distributed import Client, Future

__all__ = ["Cluster", "ThisProcess", "Workers", "open_workers", "run_tasks"]

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


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], run: RunParams
) -> Iterator[tuple[int, Result]]:
    """`Workers.run_tasks` for a stage with one kind of task."""
    with open_workers(run, len(tasks)) as workers:
        yield from workers.run_tasks(function, tasks)


@contextmanager
def open_workers(run: RunParams, tasks: int, folders: Sequence[Path] = ()) -> Iterator[Workers]:
    """The workers of the cluster `run.scheduler`; else `run.workers` processes, but no more than there are `tasks` at
    most; or this process if that is 0.

    Each process loads its libraries once, so kinds of tasks that follow each other share them.

    Args:
        run: how to run.
        tasks: the most that there will be of one kind.
        folders: which workers on other machines must see too, beside `run.cache`.

    Raises:
        PipelineError: the cluster cannot be reached or used; the message says what to do.
    """
    if tasks == 0 or (run.scheduler is None and run.workers == 0):
        yield ThisProcess(run)
    elif run.scheduler is not None:
        with _join_cluster(run.scheduler, run) as client:
            check_workers(run.scheduler, partial(client.run, on_error="return"), [Path(run.cache), *folders])
            place = _Place(secrets.token_hex(8), read_limits(run), check_source=True)
            try:
                yield Cluster(client, place, run.scheduler)
            finally:
                if client.status == "running":
                    with suppress(OSError, TimeoutError):
                        client.run(close_host, place.run, on_error="ignore")
    else:
        with _open_cluster(min(run.workers, tasks), run.dashboard) as client:
            place = _Place(secrets.token_hex(8), read_limits(run), check_source=False)
            try:
                yield Cluster(client, place, "this machine")
            finally:
                close_host(place.run)


class Cluster:
    """Runs tasks on a Dask cluster, twice as many in flight as it has threads: memory does not grow with tasks.

    Args:
        client: of the cluster.
        place: where its workers run the tasks.
        name: of the cluster, for messages.
    """

    def __init__(self, client: "Client", place: "_Place", name: str) -> None:
        self._client = client
        self._place = place
        self._name = name
        self._submissions = itertools.count()
        self._runner = _make_runner()

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """See `Workers.run_tasks`."""
        flight = _Flight(self, function, tasks)
        try:
            while flight.launch():
                landed = flight.land()
                if landed is not None:
                    yield landed
        finally:
            flight.cancel()

    def submit(self, function: Callable[[Task], object], task: Task) -> "Future":
        """Have a task run on the cluster; its result is an `Answer`."""
        source = hash_source(function.__module__) if self._place.check_source else None
        job = pickle.dumps(_Job(self._place, make_call(function, task, source)))
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


class _Flight(Generic[Task, Result]):
    """The tasks of one function, of which some are under way: twice as many as the cluster has threads, so that no
    thread waits for its next one, and no more than memory allows."""

    def __init__(self, cluster: Cluster, function: Callable[[Task], Result], tasks: Sequence[Task]) -> None:
        self._cluster = cluster
        self._function = function
        self._tasks = tasks
        self._waiting = deque[int]()  # were lost with their worker
        self._unseen = 0  # the first that was never launched
        self._under_way: dict[str, tuple[int, int, Future]] = {}  # by Dask's key: the task's number, and its memory
        self._landed: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._losses: Counter[int] = Counter()
        self._threads = cluster.count_threads()
        self._looked = self._worked = time.monotonic()

    def launch(self) -> bool:
        """Launch what there is room for; whether any task is under way."""
        while len(self._under_way) < max(2 * self._threads, 1):
            number = self._waiting[0] if self._waiting else self._unseen
            if number == len(self._tasks) or not self._has_memory(number):
                break
            if self._waiting:
                self._waiting.popleft()
            else:
                self._unseen += 1
            future = self._cluster.submit(self._function, self._tasks[number])
            self._under_way[future.key] = number, self._estimate(number), future
            future.add_done_callback(self._landed.put)
        return bool(self._under_way)

    def _has_memory(self, number: int) -> bool:
        """Whether a task fits beside those under way; one that fits nowhere goes alone."""
        taken = sum(memory for _, memory, _ in self._under_way.values())
        return not taken or taken + self._estimate(number) <= self._cluster.find_memory(self._threads)

    def _estimate(self, number: int) -> int:
        return int(getattr(self._tasks[number], "estimated_bytes", 0))

    def land(self) -> tuple[int, Result] | None:
        """Wait for a task to end: its number and its result; None if it was lost, or nothing happened for a while."""
        self._look()
        try:
            future = self._landed.get(timeout=LOOK)
        except queue.Empty:
            return None
        number, *_ = self._under_way.pop(future.key)
        what = name_task(self._function, self._tasks[number], number)
        answer = self._read(future, number, what)
        return None if answer is None else (number, answer.read(what))

    def _read(self, future: "Future", number: int, what: str) -> Answer | None:
        """What a task's process said of it; None if the task goes again, because its worker was lost."""
        from distributed import KilledWorker

        try:
            answer: Answer = future.result(timeout=PATIENCE)
        except PipelineError:
            raise
        except (CancelledError, TimeoutError, Unwanted, KilledWorker) as error:
            self._cluster.count_threads()
            self._losses[number] += 1
            if self._losses[number] > LOSSES:
                raise PipelineError(f"{what}: its Dask worker was lost {LOSSES} times; look at the workers") from error
            self._waiting.append(number)
            return None
        except Exception as error:
            raise PipelineError(f"{what}: a Dask worker could not run it: {type(error).__name__}: {error}") from error
        return answer

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
class _Place:
    """Where a run's tasks run: in processes of its own on every worker, within limits."""

    run: str
    limits: Limits
    check_source: bool


def _make_runner() -> Callable[[bytes], object]:
    """The function that Dask gets, with a pickled `_Job`; it gives an `Answer`.

    It is nested, so that it goes by its code and not by its name, and names no type of ours: a scheduler unpickles it,
    and need not have this project. The bytes it hands on as they are.
    """

    def run(job: bytes) -> object:
        import pickle

        return pickle.loads(job).run()

    return run


@dataclass(frozen=True)
class _Job:
    """A call, and where it runs."""

    place: _Place
    call: Call

    def run(self) -> Answer:
        """In a worker: what a process there says of the call."""
        return run_call(find_host(self.place.run, self.place.limits), self.call, _watch_caller())


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
def _open_cluster(threads: int, dashboard: bool) -> Iterator["Client"]:
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
def _join_cluster(address: str, run: RunParams) -> Iterator["Client"]:
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
