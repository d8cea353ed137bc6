"""Run worker processes: one prepared process opens the data once, and is forked for each worker.

What a script and its transforms import, and the indexes of the data, are loaded once for all workers. Nothing here
imports PyTorch: it is imported where a transform or the script does.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import FrameType
from typing import NoReturn

from shardwright.errors import ShardwrightError
from shardwright.loading.batch_reader import BatchReader, ReadBatch, ReadTask
from shardwright.loading.shared_slots import Parcel, SharedSlots, pack_batch

END_SECONDS = 5.0
"""For the batch that a worker reads when its connection ends; then it ends all the same."""


@dataclass(frozen=True)
class SlotTask:
    """A batch to read, and the slot that its arrays are written into, or None."""

    task: ReadTask
    slot: int | None


@dataclass(frozen=True)
class SentBatch:
    """A batch from a worker, and what else its `ReadBatch` has."""

    parcel: Parcel
    delivery: ReadBatch


@dataclass(frozen=True)
class WorkerEnd:
    """The end of a worker process.

    Attributes:
        pid: of the worker.
        code: its exit code; the negative number of the signal that killed it.
    """

    pid: int
    code: int


def run_workers(
    reports: Connection, connections: Sequence[Connection], slots: SharedSlots, reader: BatchReader | Exception
) -> None:
    """Fork a worker for each connection, report their process ids, and then the end of each until none is left.

    The workers are killed when this process is terminated, and when the one that started it ends.

    Args:
        reports: a list of process ids is sent, then `WorkerEnd`.
        connections: of the workers: `SlotTask` in, and in their order `SentBatch` or an exception out.
        slots: where batches are written.
        reader: reads the batches; or the exception of unpickling it, which each worker raises.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent ends its workers
    pids: list[int] = []

    def kill_workers(number: int, frame: FrameType | None) -> None:
        for pid in pids:  # none of them was waited for, so the numbers are still theirs
            os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, kill_workers)
    for connection in connections:
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for other in (reports, *connections):
                if other is not connection:
                    other.close()
            _work(connection, slots, reader)
        pids.append(pid)
    for connection in connections:
        connection.close()
    threading.Thread(target=_terminate_with_parent, daemon=True).start()
    with suppress(BrokenPipeError):  # the parent has ended
        reports.send(list(pids))
    while pids:
        pid, status = os.wait()
        if pid in pids:  # a transform's module may have started processes
            pids.remove(pid)
            with suppress(BrokenPipeError):
                reports.send(WorkerEnd(pid, os.waitstatus_to_exitcode(status)))


def _terminate_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _work(connection: Connection, slots: SharedSlots, reader: BatchReader | Exception) -> NoReturn:
    """Read the batches that the connection asks for, until it ends; then end this process."""
    code = 0
    try:
        tasks: SimpleQueue[SlotTask | None] = SimpleQueue()
        threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
        while (task := tasks.get()) is not None:
            connection.send(_read(task, slots, reader))
    except BrokenPipeError:  # the parent has ended, or wants no more
        pass
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _receive(connection: Connection, tasks: "SimpleQueue[SlotTask | None]") -> None:
    """Take tasks at once, so that whoever sends them never waits; end the process if the connection has ended."""
    with suppress(EOFError, ConnectionError):
        while True:
            tasks.put(connection.recv())
    tasks.put(None)
    time.sleep(END_SECONDS)
    os._exit(1)


def _read(task: SlotTask, slots: SharedSlots, reader: BatchReader | Exception) -> SentBatch | Exception:
    try:
        if isinstance(reader, Exception):
            raise reader
        writer = slots.open_writer(task.slot)
        delivery = replace(reader, context=replace(reader.context, allocate=writer.allocate)).read(task.task)
        return SentBatch(pack_batch(delivery.batch, writer), replace(delivery, batch={}))
    except Exception as error:
        return _make_portable(error)


def _make_portable(error: Exception) -> Exception:
    """Return the error itself if it can be pickled, else a `ShardwrightError` with its message; with its traceback and
    notes as notes."""
    portable: Exception = error
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        portable = ShardwrightError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            portable.add_note(note)
    portable.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)).rstrip())
    return portable


def unpickle_reader(content: bytes) -> BatchReader | Exception:
    """Return the reader, or the exception of unpickling it, which would end the process instead."""
    try:
        reader: BatchReader = pickle.loads(content)
    except Exception as error:
        return error
    return reader
