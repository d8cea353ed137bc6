"""Read batches in worker processes, for transforms that hold Python's lock."""

import multiprocessing
import os
import pickle
import signal
import threading
import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import ShardwrightError
from shardwright.loading.batch_reader import BatchReader, ReadBatch, ReadTask
from shardwright.loading.shared_slots import SLOT_BYTES, SharedSlots, open_memory, unpack_batch
from shardwright.loading.worker_main import SentBatch, SlotTask, WorkerEnd, run_workers, unpickle_reader

START_SECONDS = 120.0
"""Until the workers have started: what a script imports takes seconds, or more if the machine is busy."""
END_SECONDS = 5.0
"""For running tasks when the pool is closed; then the workers are killed."""
TASKS_AHEAD = 2
"""For each worker: one is read while the result of another waits."""
HELD_BATCHES = 8
"""Batches that a user may hold before further ones come through the pipe; slots take memory only when they are used."""
HINT = "States that were saved before remain valid"
SINGLE_THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
"""Variables by which OpenMP, and so PyTorch, BLAS libraries and OpenCV are told their number of threads."""
_environment = threading.Lock()


@dataclass(eq=False)
class _Ticket:
    """A task that was sent to a worker; it holds its slot until the batch does."""

    worker: int
    slot: NDArray[np.uint8] | None
    answer: SentBatch | Exception | None = None


class WorkerPool:
    """Worker processes that read batches into memory that this process shares with them.

    They are forks of one process that is spawned, so that locks held by threads of this process do no harm there, and
    that imports what is needed and opens the data once. They end with this object, and with this process however it
    ends. Libraries compute with one thread in them.

    Args:
        reader: reads the batches; it is pickled once.
        count: workers.
        timeout: seconds that a batch may take before the workers are killed; None waits forever.

    Attributes:
        lost: whether a worker died or was killed; the pool can read no more then.

    Raises:
        TypeError: the reader cannot be pickled, as when a transform is not defined at the top of a module.
    """

    def __init__(self, reader: BatchReader, count: int, timeout: float | None) -> None:
        self.lost = False
        self._timeout = timeout
        self._pids: list[int] | None = None  # known once the workers have started
        self._sent: list[deque[_Ticket]] = [deque() for _ in range(count)]  # for each worker, until it has answered
        self._tasks = 0
        context = multiprocessing.get_context("spawn")
        ours, theirs = zip(*(context.Pipe() for _ in range(count)), strict=True)
        self._reports, reports = context.Pipe(duplex=False)
        self._connections: Sequence[Connection] = ours
        slots = (TASKS_AHEAD + 1) * count + HELD_BATCHES
        with open_memory(slots * SLOT_BYTES) as descriptor:
            self._slots = SharedSlots(descriptor, slots, SLOT_BYTES)
            arguments = (reports, theirs, self._slots, _PickledReader(reader))
            self._process = context.Process(target=run_workers, args=arguments, daemon=True)
            try:
                with _limit_threads():
                    self._process.start()
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise TypeError(
                    f"{reader.data!r} cannot be sent to processes: {error}; define its transforms at the top of a "
                    "module, see `with_transform`"
                ) from error
            finally:
                for connection in (reports, *theirs):
                    connection.close()  # so that the end of a worker is the end of its connection
        self.close = weakref.finalize(self, _end, self._process, [self._reports, *ours], os.getpid())

    def read_ahead(self, tasks: Iterable[ReadTask]) -> Generator[tuple[ReadTask, ReadBatch], None, None]:
        """Yield each task with its batch, in order, sending two tasks a worker ahead.

        Raises:
            ShardwrightError: a worker was killed from outside, or took longer than `timeout`.
        """
        pending: deque[tuple[ReadTask, _Ticket]] = deque()
        try:
            for task in tasks:
                pending.append((task, self._send(task)))
                if len(pending) > TASKS_AHEAD * len(self._connections):
                    yield self._take(*pending.popleft())
            while pending:
                yield self._take(*pending.popleft())
        except KeyboardInterrupt:
            self._kill()
            raise

    def count_ready(self) -> int:
        """Return the workers that have a batch complete."""
        return len(wait(self._connections, 0)) if self.close.alive and not self.lost else 0

    def _send(self, task: ReadTask) -> _Ticket:
        self._await_start()
        worker = self._tasks % len(self._connections)
        self._tasks += 1
        number, slot = self._slots.acquire() or (None, None)
        ticket = _Ticket(worker, slot)
        with suppress(OSError):  # answers to tasks before this one come first, then the end of the connection
            self._connections[worker].send(SlotTask(task, number))
        self._sent[worker].append(ticket)
        return ticket

    def _take(self, task: ReadTask, ticket: _Ticket) -> tuple[ReadTask, ReadBatch]:
        while ticket.answer is None:  # those of iterations that were abandoned may come before
            answer = self._receive(ticket.worker)
            self._sent[ticket.worker].popleft().answer = answer
        if isinstance(ticket.answer, Exception):
            raise ticket.answer
        try:
            batch = unpack_batch(ticket.answer.parcel, ticket.slot)
        except Exception as error:
            raise ShardwrightError(
                f"the result of a worker process cannot be unpickled: {type(error).__name__}: {error}. {HINT}"
            ) from error
        return task, replace(ticket.answer.delivery, batch=batch)

    def _receive(self, worker: int) -> SentBatch | Exception:
        """Return the next answer of a worker."""
        if self.lost or not self.close.alive:
            raise ShardwrightError(f"the worker processes of this iteration have ended. {HINT}")
        connection = self._connections[worker]
        ready = wait([connection, self._process.sentinel], self._timeout)
        if not ready:
            pid = self._pids[worker] if self._pids else None
            self._kill()
            raise ShardwrightError(
                f"worker process {pid} returned no batch within {self._timeout:g} s, and all were killed; raise "
                f"timeout if a batch may take longer. {HINT}"
            )
        if connection not in ready:
            raise self._explain_loss()
        try:
            answer: SentBatch | Exception = connection.recv()
        except (EOFError, OSError) as error:
            raise self._explain_loss() from error
        return answer

    def _await_start(self) -> None:
        """Wait until the workers have started."""
        if self._pids is not None or not self.close.alive:
            return
        if not wait([self._reports], None if self._timeout is None else START_SECONDS):
            self._kill()
            raise ShardwrightError(f"no worker process started within {START_SECONDS:g} s. {HINT}")
        try:
            self._pids = self._reports.recv()
        except EOFError as error:
            raise self._explain_loss() from error

    def _explain_loss(self) -> ShardwrightError:
        """Return the error for the first worker that ended, and end the others."""
        end: WorkerEnd | None = None
        with suppress(EOFError, OSError):
            end = self._reports.recv() if self._pids and self._reports.poll(END_SECONDS) else None
        self._kill()
        if end is None:
            end = WorkerEnd(self._process.pid or 0, self._process.exitcode or 0)
        return ShardwrightError(f"one of the worker processes was lost: {_describe_end(end)}. {HINT}")

    def _kill(self) -> None:
        self.lost = True
        self._process.terminate()  # which kills the workers
        self._process.join(END_SECONDS)
        self._process.kill()
        self._process.join(END_SECONDS)
        for connection in self._connections:
            connection.close()  # ends workers whose parent was killed


class _PickledReader:
    """A reader that is unpickled as itself, or as the exception of unpickling it."""

    def __init__(self, reader: BatchReader) -> None:
        self._reader = reader

    def __reduce__(self) -> tuple[Any, ...]:
        return unpickle_reader, (bytes(ForkingPickler.dumps(self._reader)),)


@contextmanager
def _limit_threads() -> Iterator[None]:
    """Let libraries of a process that is started meanwhile compute with one thread."""
    with _environment:
        before = {name: os.environ.get(name) for name in SINGLE_THREADED}
        os.environ.update(dict.fromkeys(SINGLE_THREADED, "1"))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _describe_end(end: WorkerEnd) -> str:
    """Describe how a process ended."""
    if end.code < 0:
        name = signal.Signals(-end.code).name
        return f"{end.pid} was killed by {name}: from outside, for lack of memory, or by a crash in a transform"
    return (
        f"{end.pid} ended with exit code {end.code}, the reason is on stderr; if it could not start, the script may "
        'lack `if __name__ == "__main__":`'
    )


def _end(process: SpawnProcess, connections: Sequence[Connection], owner: int) -> None:
    """Let the workers finish their batches, then kill those that are left."""
    if os.getpid() != owner:  # a fork of the process that they belong to
        return
    for connection in connections:
        connection.close()
    process.join(END_SECONDS)
    if process.exitcode is None:
        process.terminate()
        process.join(END_SECONDS)
        process.kill()
    process.join()
    process.close()
