"""Keep a bounded number of tasks submitted to a cluster, and submit again those whose worker was lost."""

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from pipeline.errors import PipelineError
from pipeline.runtime.sandbox.find_bad_items import name_task
from pipeline.runtime.task_batching import TaskBatches
from pipeline.runtime.worker_jobs import JobReport, WorkerLost

Task = TypeVar("Task")
Result = TypeVar("Result")

MAX_LOSSES = 5
"""How often a task may lose its worker. No item can kill one, so it is the machines that fail."""

POLL_SECONDS = 1.0
"""Seconds after which the driver asks again how many threads the cluster has, and whether it is still there."""


class SubmittedJob(Protocol):
    """A future of Dask: tasks that one worker runs one after the other."""

    key: str

    def add_done_callback(self, function: Callable[[Any], object]) -> None:
        """Call the function with the future when the job has ended, in another thread."""
        ...


class Cluster(Protocol):
    """What runs jobs. Each method raises a `PipelineError` if it is gone."""

    jobs_per_thread: int

    def submit(self, function: Callable[[Task], object], tasks: Sequence[Task]) -> SubmittedJob:
        """Have a worker run tasks one after the other."""
        ...

    def cancel(self, jobs: Sequence[Any]) -> None:
        """Cancel jobs; the processes that work on them are ended within seconds."""
        ...

    def read_report(self, job: Any, name: str) -> JobReport:
        """Return the report of a job that has ended; `name` is for messages. Raises `WorkerLost`."""
        ...

    def count_threads(self) -> int:
        """Return how many tasks can run at a time; raise an error if it was none for too long."""
        ...

    def find_memory(self, threads: int) -> int:
        """Return how many bytes the running tasks may take together."""
        ...


class PendingTasks(Generic[Task, Result]):
    """The tasks of one function, some of them submitted: a few batches for each thread of the cluster, so that none
    waits for its next one, and no more than memory allows. The tasks of a batch run one after the other."""

    def __init__(self, cluster: Cluster, function: Callable[[Task], Result], tasks: Sequence[Task]) -> None:
        self._cluster = cluster
        self._function = function
        self._tasks = tasks
        self._batches = TaskBatches(len(tasks))
        self._submitted: dict[str, tuple[list[int], int, SubmittedJob]] = {}  # by key: the tasks, and their memory
        self._ended: queue.SimpleQueue[SubmittedJob] = queue.SimpleQueue()
        self._threads = cluster.count_threads()
        self._polled = time.monotonic()

    def submit_batches(self) -> bool:
        """Submit as many batches as there is room for, one at least; return whether any is submitted."""
        self._batches.count = len(self._tasks)
        while len(self._submitted) < max(self._cluster.jobs_per_thread * self._threads, 1):
            batch = self._batches.take(self._threads, self._has_memory)
            if not batch:
                break
            job = self._cluster.submit(self._function, [self._tasks[number] for number in batch])
            self._submitted[job.key] = batch, max(map(self._estimate_bytes, batch)), job
            job.add_done_callback(self._ended.put)
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
            job = self._ended.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        batch, *_ = self._submitted.pop(job.key)
        if (report := self._read_report(job, batch)) is not None:
            self._batches.note_finished(len(report.replies), report.seconds)
            for number, reply in zip(batch, report.replies, strict=False):  # none after one that failed
                yield number, reply.read(self._name(number))

    def _name(self, number: int) -> str:
        return name_task(self._function, self._tasks[number], number)

    def _read_report(self, job: SubmittedJob, batch: Sequence[int]) -> JobReport | None:
        """Return the replies of the tasks' process; None if the tasks run again because their worker was lost."""
        name = self._name(batch[0])
        try:
            return self._cluster.read_report(job, name)
        except WorkerLost as error:
            self._cluster.count_threads()
            if self._batches.put_back(batch) > MAX_LOSSES:
                raise PipelineError(
                    f"{name}: its Dask worker was lost {MAX_LOSSES} times; look at the workers"
                ) from error
            return None

    def _poll_threads(self) -> None:
        if time.monotonic() - self._polled >= POLL_SECONDS:
            self._polled = time.monotonic()
            self._threads = self._cluster.count_threads()

    def cancel(self) -> None:
        """Cancel the submitted tasks: nobody waits for them any more."""
        jobs = [job for *_, job in self._submitted.values()]
        self._submitted.clear()
        self._cluster.cancel(jobs)
