"""Choose where tasks run: in this process, in processes of this machine, or on a Dask cluster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from pipeline.config.params import RunParams
from pipeline.incremental.library_versions import describe_environment
from pipeline.runtime.check_cluster import Describe
from pipeline.runtime.dask_executor import join_cluster, open_local_cluster
from pipeline.runtime.serial_executor import SerialExecutor

Task = TypeVar("Task")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs tasks in worker processes, or in this one."""

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """Yield `(number of the task, its result)` for every task once, in the order in which they finish.

        `tasks` may grow while their results are read: what is appended before the next result is asked for runs too.

        A task that is `pipeline.runtime.sandbox.heartbeat.Divisible` survives its items: one that kills its process,
        or takes longer than `run.item_seconds` or more memory than `run.memory`, is lost, and the result is that of the
        task without it. A task with a number `estimated_bytes` waits until the running ones leave so much memory.

        Raises:
            PipelineError: a task raised it. Or a task in a worker raised anything else, or its process died again and
                again: the message has the task's `name` (else its number), what was raised, and where. Or the cluster
                is gone.
        """
        ...

    def count_threads(self) -> int:
        """Return how many tasks can run at a time now.

        Raises:
            PipelineError: the cluster is gone, or had no workers for too long.
        """
        ...


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], run: RunParams
) -> Iterator[tuple[int, Result]]:
    """Open an executor for tasks of one kind, and yield what `Executor.run_tasks` does."""
    describe = partial(describe_environment, (function.__module__,))
    with open_executor(run, len(tasks), describe=describe) as executor:
        yield from executor.run_tasks(function, tasks)


@contextmanager
def open_executor(
    run: RunParams, tasks: int, folders: Sequence[Path] = (), describe: Describe = dict
) -> Iterator[Executor]:
    """Yield the executor of the cluster of `run.scheduler` or `run.client`; else of `run.workers` processes of this
    machine, but no more than there are `tasks`; or of this process if that is 0.

    A process loads its libraries once, so kinds of tasks that follow each other share them.

    Args:
        run: how to run.
        tasks: the most tasks of one kind.
        folders: which workers on other machines must see too, beside `run.cache`.
        describe: returns by name what results depend on, such as versions of libraries; workers on other machines must
            return the same. It is pickled. `describe_environment` of the modules that tasks run, and more.

    Raises:
        PipelineError: the cluster cannot be reached or used; the message says what to do.
    """
    has_cluster = run.scheduler is not None or run.client is not None
    if tasks == 0 or (not has_cluster and run.workers == 0):
        yield SerialExecutor(run)
    elif has_cluster:
        with join_cluster(run, folders, describe) as cluster:
            yield cluster
    else:
        with open_local_cluster(run, min(run.workers, tasks)) as cluster:
            yield cluster
