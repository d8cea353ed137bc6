"""Choose where tasks run: in this process, in processes of this machine, or on a Dask cluster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from pipeline.config.params import RunParams
from pipeline.runtime.dask_executor import join_cluster, open_local_cluster
from pipeline.runtime.serial_executor import SerialExecutor

Task = TypeVar("Task")
Result = TypeVar("Result")


class Executor(Protocol):
    """Processes to run tasks in, or this one."""

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """`(number of the task, its result)` for every task, as they are finished; each number once.

        A task that is `pipeline.runtime.sandbox.heartbeat.Divisible` survives its items: one that kills its process,
        takes longer than `run.item_seconds` or more memory than `run.memory` is lost, and the result is that of the
        task
        without it.
        A task with a number `estimated_bytes` waits until what is under way leaves so much memory.

        Raises:
            PipelineError: a task raised it; or, in a worker, anything else, or its process died again and again: the
                message has the task's `name` (else its number), what was raised, and where. Or the cluster is gone.
        """
        ...


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], run: RunParams
) -> Iterator[tuple[int, Result]]:
    """`Executor.run_tasks` for a stage with one kind of task."""
    with open_executor(run, len(tasks)) as workers:
        yield from workers.run_tasks(function, tasks)


@contextmanager
def open_executor(run: RunParams, tasks: int, folders: Sequence[Path] = ()) -> Iterator[Executor]:
    """Yield the workers of the cluster `run.scheduler`; else `run.workers` processes of this machine, but no more than
    there are `tasks`; or this process if that is 0.

    Each process loads its libraries once, so kinds of tasks that follow each other share them.

    Args:
        run: how to run.
        tasks: the most that there will be of one kind.
        folders: which workers on other machines must see too, beside `run.cache`.

    Raises:
        PipelineError: the cluster cannot be reached or used; the message says what to do.
    """
    if tasks == 0 or (run.scheduler is None and run.workers == 0):
        yield SerialExecutor(run)
    elif run.scheduler is not None:
        with join_cluster(run, run.scheduler, folders) as cluster:
            yield cluster
    else:
        with open_local_cluster(run, min(run.workers, tasks)) as cluster:
            yield cluster
