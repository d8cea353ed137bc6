"""Where work runs. The only importer of Dask: steps say what is to be done, this file says in which process.

The same tasks give the same results on any number of workers: they are pure functions of small arguments, write their
output by rename, and return records only. A task whose worker is lost runs again elsewhere.
"""

import itertools
import logging
import multiprocessing.resource_tracker
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pipeline.errors import PipelineError
from pipeline.params import RunParams
from pipeline.parent_death import end_with_parent

if TYPE_CHECKING:
    from distributed import Client, Future

Task = TypeVar("Task")
Result = TypeVar("Result")

ONE_THREAD = dict.fromkeys(
    (
        "BLIS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "RAYON_NUM_THREADS",
    ),
    "1",
)
"""One process a core, so one thread a library; and sums in BLAS are the same on every machine of a kind."""

WORKER_LOSSES = 1
"""How often a task may lose its worker and run again at once. A kill from outside hits a task once; what dies twice is
suspect, with all that waited for the same worker, and runs alone."""

SETTINGS = {
    # Read in the driver, and put into os.environ there with the caller's values first: `_pin_threads` does it better.
    "distributed.nanny.pre-spawn-environ": {"MALLOC_TRIM_THRESHOLD_": 65536},
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.scheduler.allowed-failures": WORKER_LOSSES,
    # Results are small: what grows is a task. Nothing can be spilled, and a paused worker would wait for ever.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # What nobody looks at: with these, the driver takes 2.5 instead of 6 % of a core beside the work of 2 workers.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}


class Workers(Protocol):
    """Processes to run tasks in, or this one."""

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """`(number of the task, its result)` for every task, as they are finished; each number once.

        Raises:
            PipelineError: a task raised it; or, in a worker, anything else, or its worker was lost too often: the
                message has the task's `name` (else its number), what was raised, and where.
        """
        ...


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], run: RunParams
) -> Iterator[tuple[int, Result]]:
    """`Workers.run_tasks` for a stage with one kind of task."""
    with open_workers(run, len(tasks)) as workers:
        yield from workers.run_tasks(function, tasks)


@contextmanager
def open_workers(run: RunParams, tasks: int) -> Iterator[Workers]:
    """`run.workers` processes, but no more than there are `tasks` at most; or this process if that is 0.

    Opening them costs some 2 s and each loads its libraries once, so kinds of tasks that follow each other share them.
    """
    count = min(run.workers, tasks)
    if count == 0:
        yield ThisProcess()
        return
    with _pin_threads(), _open_cluster(count, run.memory) as client:
        yield Cluster(client, count)


class ThisProcess:
    """Runs tasks here, one after the other; an exception passes through with a note that names the task."""

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """See `Workers.run_tasks`."""
        import numpy  # noqa: F401 - a pool that is not loaded yet cannot be limited
        from threadpoolctl import threadpool_limits

        for number, task in enumerate(tasks):
            try:
                with threadpool_limits(1):
                    result = function(task)
            except BaseException as error:
                error.add_note(f"in {function.__name__} of {_name_task(task, number)}")
                raise
            yield number, result


class Cluster:
    """Runs tasks on a Dask cluster, twice as many in flight as there are workers: memory does not grow with tasks."""

    def __init__(self, client: "Client", workers: int) -> None:
        self._client = client
        self._in_flight = 2 * workers
        self._submissions = itertools.count()

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """See `Workers.run_tasks`.

        Dask blames the loss of a worker on all tasks that it had. So where a task was lost with its worker, those in
        flight are waited for, and then each that was blamed runs alone: only what dies alone is at fault.
        """
        batch = _Batch(function, tasks)
        waiting = deque(range(len(tasks)))
        while waiting:
            suspects: list[int] = []
            yield from self._run_until_loss(batch, waiting, suspects)
            for number in suspects:
                yield number, batch.read_result(number, self._submit(batch, number))

    def _run_until_loss(
        self, batch: "_Batch[Task, Result]", waiting: deque[int], suspects: list[int]
    ) -> Iterator[tuple[int, Result]]:
        """Take tasks from `waiting` until one is lost with its worker; those that were go to `suspects`."""
        from distributed import as_completed

        numbers: dict[str, int] = {}

        def submit_next() -> "Future":
            future = self._submit(batch, waiting[0])
            numbers[future.key] = waiting.popleft()
            return future

        finished = as_completed([submit_next() for _ in range(min(self._in_flight, len(waiting)))])
        for future in finished:
            number = numbers.pop(future.key)
            if _was_lost(future):
                suspects.append(number)
                continue
            result = batch.read_result(number, future)
            if waiting and not suspects:
                finished.add(submit_next())
            yield number, result

    def _submit(self, batch: "_Batch[Task, Result]", number: int) -> "Future":
        key = f"{batch.function.__name__}-{next(self._submissions)}"  # Dask gives the old result for an old key
        return self._client.submit(_Call(batch.function, batch.tasks[number]), key=key, pure=False)


@dataclass(frozen=True)
class _Batch(Generic[Task, Result]):
    """A function with its tasks."""

    function: Callable[[Task], Result]
    tasks: Sequence[Task]

    def read_result(self, number: int, future: "Future") -> Result:
        """Wait for the result of a task; raise what is to be said where there is none."""
        error = future.exception()
        if error is not None:
            what = f"{self.function.__name__} of {_name_task(self.tasks[number], number)}"
            raise _explain_failure(what, future, error)
        result: Result = future.result()
        return result


class _Call:
    """A task with its function, as one thing: Dask would search lists and dicts in it for futures of its own."""

    def __init__(self, function: Callable[[Task], Result], task: Task) -> None:
        self._function = function
        self._task = task

    def __call__(self) -> object:
        # A Dask worker watches its parent in a thread of its own; that thread waits for ever while C code that hangs
        # holds the interpreter's lock.
        end_with_parent(signal.SIGKILL)
        return self._function(self._task)


def _name_task(task: object, number: int) -> str:
    return str(getattr(task, "name", f"task {number}"))


def _was_lost(future: "Future") -> bool:
    """Whether the task of a future that is done lost its worker too often."""
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _explain_failure(what: str, future: "Future", error: BaseException) -> PipelineError:
    """The error to raise: the task's own if that is for a person, else one about it."""
    if isinstance(error, PipelineError):
        return error
    if _was_lost(future):
        explained = PipelineError(
            f"{what}: its process died again when it ran alone; either it needs more memory than run.memory allows, "
            "or a decoder crashed on one of its items"
        )
    else:
        trace = future.traceback()
        place = traceback.extract_tb(trace)[-1] if trace else None
        where = f" ({place.filename}:{place.lineno})" if place else ""
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
        explained = PipelineError(f"{what} failed: {type(error).__name__}: {error}{where}{notes}")
    explained.__cause__ = error
    return explained


@contextmanager
def _pin_threads() -> Iterator[None]:
    """What processes started meanwhile find in their environment: one thread a library, whatever the caller had.

    Dask would let the caller's values win, and would leave its own in this process.
    """
    before = {name: os.environ.get(name) for name in (*ONE_THREAD, "MALLOC_TRIM_THRESHOLD_", "PYTHONHASHSEED")}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _open_cluster(workers: int, memory: str) -> Iterator["Client"]:
    """Processes on this machine, reachable from this machine only, without a dashboard."""
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set(SETTINGS):
        with _delay_interrupts():
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=memory,
                host="127.0.0.1",
                # Dask opens an HTTP port in any case: left to itself 8787, with a warning where that is taken.
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                silence_logs=logging.CRITICAL,
            )
        with cluster, Client(cluster) as client:
            yield client


@contextmanager
def _delay_interrupts() -> Iterator[None]:
    """Start threads and processes that Ctrl-C does not reach: the terminal sends it to all, and this one ends the rest.

    The mask is inherited by threads and by what they start, also later; an interrupt that comes meanwhile waits.
    """
    multiprocessing.resource_tracker.ensure_running()  # its start would lift the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
