"""What steps see of whatever runs their tasks."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Workers(Protocol):
    """Processes to run tasks in, or this one."""

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """`(number of the task, its result)` for every task, as they are finished; each number once.

        A task that is `pipeline.isolate.items.Divisible` survives its items: one that kills its process, takes longer
        than `run.item_seconds` or more memory than `run.memory` is lost, and the result is that of the task without it.
        A task with a number `estimated_bytes` waits until what is under way leaves so much memory.

        Raises:
            PipelineError: a task raised it; or, in a worker, anything else, or its process died again and again: the
                message has the task's `name` (else its number), what was raised, and where. Or the cluster is gone.
        """
        ...
