"""Tasks in the process that asks for them: the whole pipeline in one, to look into it, or where there is one task."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pipeline.config.params import RunParams
from pipeline.runtime.sandbox.find_bad_items import Call, make_call, name_task, read_limits, run_call
from pipeline.runtime.sandbox.worker_pool import SandboxPool
from pipeline.runtime.stopwatch import OTHER, clock


class CrashMarkers:
    """Tasks that were begun and never ended, over all runs that share the folder: a file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, call: Call) -> bool:
        """Whether the process that began the task, of an earlier run, never came to its end."""
        return self._find_path(call).exists()

    @contextmanager
    def watch(self, call: Call) -> Iterator[None]:
        """The task is at work inside; an interrupt, as people send one to what hangs, is no end."""
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
        """The task has come to its end."""
        self._find_path(call).unlink(missing_ok=True)

    def _find_path(self, call: Call) -> Path:
        return self._folder / hashlib.sha256(call.payload + call.folder.encode()).hexdigest()


Task = TypeVar("Task")
Result = TypeVar("Result")


class SerialExecutor:
    """Runs tasks here, one after the other; an exception passes through with a note that names the task.

    What kills this process ends the stage. A task that did so, or that was interrupted because it hung, gets a process
    of its own in the next run: `run.cache` keeps the record. Without `run` there is none.
    """

    def __init__(self, run: RunParams | None = None) -> None:
        self._run = run

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """See `pipeline.runtime.executor.Executor.run_tasks`."""
        import numpy  # noqa: F401 - a pool that is not loaded yet cannot be limited
        from threadpoolctl import threadpool_limits

        for number, task in enumerate(tasks):
            what = name_task(function, task, number)
            try:
                with threadpool_limits(1):
                    result = function(task) if self._run is None else _run_warily(function, task, what, self._run)
            except BaseException as error:
                error.add_note(f"in {what}")
                raise
            yield number, result


def _run_warily(function: Callable[[Task], Result], task: Task, what: str, run: RunParams) -> Result:
    """Run a task here, unless it was the last thing that an earlier run did."""
    suspects = CrashMarkers(Path(run.cache) / "suspects")
    call = make_call(function, task)
    if not suspects.has(call):
        with suspects.watch(call), clock(OTHER):
            return function(task)
    host = SandboxPool(read_limits(run))
    try:
        result: Result = run_call(host, call).read(what)
    finally:
        host.close()
    suspects.clear(call)
    return result
