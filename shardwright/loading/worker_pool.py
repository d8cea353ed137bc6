"""Read batches in worker processes, for transforms that hold Python's lock."""

import multiprocessing
import pickle
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from os import _exit
from typing import Any, TypeVar

import numpy as np

from shardwright.errors import ShardwrightError
from shardwright.loading.batch_reader import BatchReader, ReadBatch, ReadTask

Item = TypeVar("Item")
START_SECONDS = 120.0
"""Until the first worker answers: importing PyTorch and what else a script imports takes seconds, or more if busy."""
END_SECONDS = 5.0
"""For running tasks when the pool is closed; then the workers are killed."""
HINT = "States that were saved before remain valid"


class WorkerPool:
    """Worker processes that each open the data once and then read batches.

    They are spawned, not forked, so that locks held by threads of this process do no harm there. They end with this
    object, and with this process however it ends. Each batch is copied back through a pipe, so workers pay off where a
    transform takes longer than that: some 2 ms for 10 MB.

    Args:
        reader: reads the batches; it is pickled once for each worker.
        count: workers.
        timeout: seconds that a batch may take before the workers are killed; None waits forever.

    Attributes:
        lost: whether a worker died or was killed; the pool can read no more then.

    Raises:
        TypeError: the reader cannot be pickled, as when a transform is not defined at the top of a module.
    """

    def __init__(self, reader: BatchReader, count: int, timeout: float | None) -> None:
        self.lost = False
        self._count = count
        self._timeout = timeout
        self._left: deque[Future[ReadBatch]] = deque()  # submitted by an iteration that was abandoned
        self._workers: dict[int, BaseProcess] = {}  # the pool starts them one by one, and forgets those that died
        context = multiprocessing.get_context("spawn")
        pickled: Any = _PickledReader(reader)  # unpickled as a reader or an exception
        self._pool = ProcessPoolExecutor(count, context, _start, (pickled,))
        try:
            self._ready = self._pool.submit(_answer)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"{reader.data!r} cannot be sent to processes: {error}; define its transforms at the top of a module, "
                "see `with_transform`"
            ) from error
        self._manager: Any = self._pool._executor_manager_thread  # the pool forgets it when it ends
        self.close = weakref.finalize(self, _end, self._pool, self._workers)

    def read_ahead(self, tasks: Iterable[ReadTask]) -> Generator[tuple[ReadTask, ReadBatch], None, None]:
        """Yield each task with its batch, in order, submitting two tasks a worker ahead.

        Raises:
            ShardwrightError: a worker was killed from outside, or took longer than `timeout`.
        """
        pending: deque[tuple[ReadTask, Future[ReadBatch]]] = deque()
        try:
            for task in tasks:
                pending.append((task, self._submit(task)))
                if len(pending) > 2 * self._count:
                    yield self._take(*pending.popleft())
            while pending:
                yield self._take(*pending.popleft())
        except KeyboardInterrupt:
            self._kill()  # the interpreter would wait at exit for their tasks
            raise
        finally:
            # Not cancelled: a pool that loses a process fails on a cancelled future, and waits forever (Python 3.11).
            self._left.extend(future for _, future in pending)

    def _submit(self, task: ReadTask) -> "Future[ReadBatch]":
        try:
            future = self._pool.submit(_read, task)
        except BrokenProcessPool as error:
            broken: Future[ReadBatch] = Future()  # futures submitted before it come first, and hold the cause
            broken.set_exception(error)
            return broken
        self._workers.update(self._pool._processes or {})
        return future

    def _take(self, task: ReadTask, future: "Future[ReadBatch]") -> tuple[ReadTask, ReadBatch]:
        if self._timeout is not None:
            self._watch(self._ready, START_SECONDS)
            while self._left:
                self._watch(self._left.popleft(), self._timeout)
            self._watch(future, self._timeout)  # it is being read: all before it are complete
        try:
            return task, future.result()
        except BrokenProcessPool as error:
            raise self._explain_loss(error) from error

    def _watch(self, future: "Future[Any]", seconds: float) -> None:
        """Wait for a result, or kill the workers."""
        if wait([future], seconds).done:
            return
        pids = [pid for pid, worker in self._workers.items() if worker.is_alive()]
        self._kill()
        raise ShardwrightError(
            f"worker processes {pids} returned no batch within {seconds:g} s and were killed; raise timeout if a batch "
            f"may take longer. {HINT}"
        )

    def _kill(self) -> None:
        self.lost = True
        for worker in self._workers.values():
            worker.kill()

    def _explain_loss(self, error: BrokenProcessPool) -> ShardwrightError:
        self.lost = True
        if error.__cause__ is not None:  # an exception as text
            reason = str(error.__cause__).strip("\n'").splitlines()[-1]
            return ShardwrightError(f"the result of a worker process cannot be unpickled: {reason}. {HINT}")
        self._manager.join(END_SECONDS)  # it ends the other workers, so that all have an exit code
        ends = "; ".join(_describe_end(worker) for worker in self._workers.values())
        return ShardwrightError(f"one of the {self._count} worker processes was lost: {ends}. {HINT}")


class _PickledReader:
    """A reader for a worker: an exception while it is unpickled takes its place, where it would end the process."""

    def __init__(self, reader: BatchReader) -> None:
        self._reader = reader

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, (bytes(ForkingPickler.dumps(self._reader)),)


def _unpack(content: bytes) -> BatchReader | Exception:
    try:
        reader: BatchReader = pickle.loads(content)
        return reader
    except Exception as error:
        return error


def _describe_end(worker: BaseProcess) -> str:
    """Describe how a process ended."""
    code = worker.exitcode
    if code is None or code == -signal.SIGTERM:
        return f"{worker.pid} was terminated because of that"
    if code < 0:
        name = signal.Signals(-code).name
        return f"{worker.pid} was killed by {name}: from outside, for lack of memory, or by a crash in a transform"
    return (
        f"{worker.pid} ended with exit code {code}, the reason is on stderr; if it could not start, the script may "
        'lack `if __name__ == "__main__":`'
    )


def _end(pool: ProcessPoolExecutor, workers: Mapping[int, BaseProcess]) -> None:
    """Let the workers finish their tasks, then kill those that are left."""
    manager: Any = pool._executor_manager_thread
    if manager is threading.current_thread():
        return  # the garbage collector runs in any thread; the pool ends when it is collected
    pool.shutdown(wait=False, cancel_futures=True)
    deadline = time.monotonic() + END_SECONDS
    running: list[Any] = [worker.sentinel for worker in workers.values()]
    while running and (ended := connection.wait(running, max(0.0, deadline - time.monotonic()))):
        running = [sentinel for sentinel in running if sentinel not in ended]
    for worker in workers.values():
        if worker.sentinel in running:
            worker.kill()
    if manager is not None:
        manager.join()


_readers: list[BatchReader | Exception] = []
"""In a worker process: its one reader, or the exception of unpickling it."""


def _start(reader: BatchReader | Exception) -> None:
    """Initialize a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _readers.append(reader)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    _exit(1)


def _answer() -> None:
    """Return nothing: that the call returns shows that a worker has started."""


def _read(task: ReadTask) -> ReadBatch:
    reader = _readers[0]
    try:
        if isinstance(reader, Exception):
            raise reader
        delivery = reader.read(task)
    except Exception as error:
        raise _make_portable(error) from error
    return ReadBatch({name: _to_array(values) for name, values in delivery.batch.items()}, delivery.skips)


def _make_portable(error: Exception) -> Exception:
    """Return the error itself if it can be pickled, else a `ShardwrightError` with its message and notes."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        portable = ShardwrightError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            portable.add_note(note)
        return portable
    return error


def _to_array(values: Item) -> "Item | np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """Return a tensor as an array of the same memory: arrays are pickled, tensors would be shared through handles."""
    if type(values).__module__ == "torch" and hasattr(values, "numpy"):
        try:
            return np.asarray(values.numpy())
        except (TypeError, RuntimeError):  # a dtype that NumPy lacks; a tensor with a gradient
            return values
    return values
