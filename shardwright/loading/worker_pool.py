"""Batches read in other processes, for transforms that hold Python's lock."""

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
"""For the first process to be there: importing PyTorch and what else a script imports takes seconds, more when busy."""
END_SECONDS = 5.0
"""For the tasks under way at the end; then the processes are killed."""
HINT = "A state that was saved before is good to go on from"


class WorkerPool:
    """Processes that each open the data once and read batches from then on.

    They are started, not forked: what threads hold in this process does no harm there. They end with this object, and
    with this process however it ends. What a batch costs on its way back is a copy through a pipe, so they are worth
    it where a transform takes longer than that: some 2 ms for 10 MB.

    Args:
        reader: what each of them reads with; it is pickled once a process.
        count: how many.
        timeout: seconds that a batch may take before the processes are ended; None waits for ever.

    Attributes:
        lost: whether a process was ended by force; no more can be read then.

    Raises:
        TypeError: the reader cannot be pickled, as where a transform is no function at the top of a module.
    """

    def __init__(self, reader: BatchReader, count: int, timeout: float | None) -> None:
        self.lost = False
        self._count = count
        self._timeout = timeout
        self._left: deque[Future[ReadBatch]] = deque()  # begun by an iteration that was left
        self._workers: dict[int, BaseProcess] = {}  # the pool starts them one by one, and forgets those that are lost
        context = multiprocessing.get_context("spawn")
        parcel: Any = _PickledReader(reader)  # something else when it arrives
        self._pool = ProcessPoolExecutor(count, context, _start, (parcel,))
        try:
            self._ready = self._pool.submit(_answer)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(f"{reader.data!r} cannot be sent to processes, see `with_transform`: {error}") from error
        self._manager: Any = self._pool._executor_manager_thread  # the pool forgets it when it ends
        self.close = weakref.finalize(self, _end, self._pool, self._workers)

    def read_ahead(self, tasks: Iterable[ReadTask]) -> Generator[tuple[ReadTask, ReadBatch], None, None]:
        """Each task with what came of it, in order, two tasks a process ahead.

        Raises:
            ShardwrightError: a process was ended from outside, or took longer than `timeout`.
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
            self._kill()  # the interpreter would wait at its end for what they are at
            raise
        finally:
            # Not cancelled: a pool that then loses a process trips over what was, and waits for ever (Python 3.11).
            self._left.extend(future for _, future in pending)

    def _submit(self, task: ReadTask) -> "Future[ReadBatch]":
        try:
            future = self._pool.submit(_read, task)
        except BrokenProcessPool as error:
            broken: Future[ReadBatch] = Future()  # those that were begun before come first, and know why it broke
            broken.set_exception(error)
            return broken
        self._workers.update(self._pool._processes or {})
        return future

    def _take(self, task: ReadTask, future: "Future[ReadBatch]") -> tuple[ReadTask, ReadBatch]:
        if self._timeout is not None:
            self._watch(self._ready, START_SECONDS)
            while self._left:
                self._watch(self._left.popleft(), self._timeout)
            self._watch(future, self._timeout)  # it is being read: those before it are done
        try:
            return task, future.result()
        except BrokenProcessPool as error:
            raise self._explain_loss(error) from error

    def _watch(self, future: "Future[Any]", seconds: float) -> None:
        """Wait for a result, or end the processes."""
        if wait([future], seconds).done:
            return
        pids = [pid for pid, worker in self._workers.items() if worker.is_alive()]
        self._kill()
        raise ShardwrightError(
            f"no batch came from the reading processes {pids} in {seconds:g} s; they were ended. {HINT}"
        )

    def _kill(self) -> None:
        self.lost = True
        for worker in self._workers.values():
            worker.kill()

    def _explain_loss(self, error: BrokenProcessPool) -> ShardwrightError:
        self.lost = True
        if error.__cause__ is not None:  # the text of an exception
            reason = str(error.__cause__).strip("\n'").splitlines()[-1]
            return ShardwrightError(f"what a reading process sent cannot be read here: {reason}. {HINT}")
        self._manager.join(END_SECONDS)  # it ends the others, and then all have an exit code
        said = "; ".join(_describe_end(worker) for worker in self._workers.values())
        return ShardwrightError(f"one of the {self._count} reading processes was lost: {said}. {HINT}")


class _PickledReader:
    """A reader on its way: what goes wrong when it is unpacked is its content then, not the end of the process."""

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
    """How a process ended, in words."""
    code = worker.exitcode
    if code is None or code == -signal.SIGTERM:
        return f"{worker.pid} was ended after that"
    if code < 0:
        name = signal.Signals(-code).name
        return f"{worker.pid} was ended by {name}, from outside, for want of memory or by a fault in a transform"
    return (
        f"{worker.pid} ended with exit code {code} and said why on stderr; where it could not begin, the script may "
        'lack `if __name__ == "__main__":`'
    )


def _end(pool: ProcessPoolExecutor, workers: Mapping[int, BaseProcess]) -> None:
    """Let the processes end what they are at, then make them end."""
    manager: Any = pool._executor_manager_thread
    if manager is threading.current_thread():
        return  # the garbage collector runs in any thread; the pool ends by itself when it is collected
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


_kept: list[BatchReader | Exception] = []
"""In a reading process, its reader, or why it has none."""


def _start(reader: BatchReader | Exception) -> None:
    """Make ready a process that has just started."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _kept.append(reader)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    _exit(1)


def _answer() -> None:
    """Nothing: that it came back is the answer."""


def _read(task: ReadTask) -> ReadBatch:
    reader = _kept[0]
    try:
        if isinstance(reader, Exception):
            raise reader
        delivery = reader.read(task)
    except Exception as error:
        raise _make_portable(error) from error
    return ReadBatch({name: _to_array(values) for name, values in delivery.batch.items()}, delivery.skips)


def _make_portable(error: Exception) -> Exception:
    """The error itself where another process can have it, else one with its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        portable = ShardwrightError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            portable.add_note(note)
        return portable
    return error


def _to_array(values: Item) -> "Item | np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """A tensor that a transform made as an array of the same memory: those are pickled, not shared through handles."""
    if type(values).__module__ == "torch" and hasattr(values, "numpy"):
        try:
            return np.asarray(values.numpy())
        except (TypeError, RuntimeError):  # a dtype that NumPy has not; a tensor with a gradient
            return values
    return values
