"""Run tasks in the process that asks for them: for debugging, or where there are none for workers."""

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pipeline.config.params import RunParams
from pipeline.runtime.sandbox.find_bad_items import Call, make_call, name_task, read_limits, run_call
from pipeline.runtime.sandbox.worker_pool import SandboxPool
from pipeline.runtime.stopwatch import OTHER, clock


class CrashMarkers:
    """A file for each task that was begun and did not end, over all runs that share the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, call: Call) -> bool:
        """Return whether the process of an earlier run that began the task died or was interrupted at it."""
        return self._find_path(call).exists()

    @contextmanager
    def watch(self, call: Call) -> Iterator[None]:
        """Mark the task until it ends; it does not end by an interrupt, which people send to a task that hangs."""
        path = self._find_path(call)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        try:
            yield
        except Exception:
            self.clear(call)
            raise
        self.clear(call)

    def clear(self, call: Call) -> None:
        """Remove the mark: the task has ended."""
        self._find_path(call).unlink(missing_ok=True)

    def _find_path(self, call: Call) -> Path:
        return self._folder / hashlib.sha256(call.payload + call.folder.encode()).hexdigest()


Task = TypeVar("Task")
Result = TypeVar("Result")


class SerialExecutor:
    """Runs tasks in this process, one after the other; an exception passes through with a note that names the task.

    What kills this process ends the stage. A task that did so, or that was interrupted because it hung, gets a process
    of its own in the next run: `run.cache` keeps a marker. Without `run` there is none.
    """

    def __init__(self, run: RunParams | None = None) -> None:
        self._run = run

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """See `pipeline.runtime.executor.Executor.run_tasks`."""
        import numpy  # noqa: F401 - a pool that is not loaded yet cannot be limited
        from threadpoolctl import ThreadpoolController

        pools, modules = ThreadpoolController(), len(sys.modules)
        for number, task in enumerate(tasks):
            if len(sys.modules) != modules:  # to look for pools takes 2 ms, and a task may have imported one
                pools, modules = ThreadpoolController(), len(sys.modules)
            name = name_task(function, task, number)
            try:
                with pools.limit(limits=1):
                    result = function(task) if self._run is None else _run_marked(function, task, name, self._run)
            except BaseException as error:
                error.add_note(f"in {name}")
                raise
            yield number, result

    def count_threads(self) -> int:
        """Return 1: tasks run one after the other."""
        return 1


def _run_marked(function: Callable[[Task], Result], task: Task, name: str, run: RunParams) -> Result:
    """Run a task here; in a process of its own if an earlier run did not survive it."""
    markers = CrashMarkers(Path(run.cache) / "crash-markers")
    call = make_call(function, task)
    if not markers.has(call):
        with markers.watch(call), clock(OTHER):
            return function(task)
    pool = SandboxPool(read_limits(run))
    try:
        result: Result = run_call(pool, call).read(name)
    finally:
        pool.close()
    markers.clear(call)
    return result
