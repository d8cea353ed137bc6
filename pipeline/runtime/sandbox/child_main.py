"""Run tasks in forked processes, and fork those: the program of the fork server and of its children.

The fork server is started anew (never forked from a process with threads), has one thread and runs no task, so forking
it is safe. It takes 5 to 15 ms, where starting Python and loading the libraries takes a second: that is the price of
replacing a dead process. The fork server ends with the process that started it, and the kernel ends its children then.
"""

import gc
import importlib
import os
import pickle
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from pipeline.errors import PipelineError
from pipeline.runtime.sandbox.heartbeat import NO_ITEM, UNTOUCHED, Divisible, Heartbeat, use_heartbeat
from pipeline.runtime.sandbox.memory_usage import MemoryMeter
from pipeline.runtime.sandbox.parent_death import end_with_parent
from pipeline.runtime.stopwatch import OTHER, clock, take_times
from pipeline.tables.drops import Rejection

Request = tuple[bytes, str, str | None, Mapping[int, Rejection], int | None]
"""The pickled function and task; the folder to work in; the hash that the function's source must have, if any; the
lost items; and the only item to work on, if it is run alone: then only whether it ends matters, not the result."""

RESULT, REFUSED, FAILED, NO_MEMORY = "result", "refused", "failed", "no memory"
"""Kinds of reply: the pickled result and the seconds that it took by part; a `PipelineError` with its cause; a
description of any other error with the error itself; an allocation was refused. What cannot be pickled is left out."""

Reply = tuple[str, bytes, tuple[str, ...]]
"""The kind of reply, its content, and the modules that the task loaded."""


def serve(handle: int) -> NoReturn:
    """Fork, end and wait for processes as the other end of the socket `handle` orders, until it is closed."""
    # Ctrl-C reaches every process of a terminal; the one that started this one decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = Connection(handle)
    with suppress(EOFError, ConnectionError):  # also when a stage has ended while its libraries were loaded here
        while True:
            orders.send(_obey(orders, *orders.recv()))
    os._exit(0)


def _obey(orders: Connection, order: str, argument: Any) -> object:
    """Carry an order out and return the answer."""
    match order:
        case "fork":
            return _fork(orders)
        case "end":
            return _end(argument)
        case "load":
            _load(argument)
        case "prepare":
            with suppress(Exception):  # a task that needs it raises the same, and reports it
                pickle.loads(argument)()
            _freeze()
    return _count_threads()


def _fork(orders: Connection) -> int | OSError:
    """Fork a process, which takes over the two files that come with the order: its connection, and its heartbeat.

    Returns its number, or the system's error if it allows no more processes.
    """
    with socket.socket(fileno=os.dup(orders.fileno())) as channel:
        _, handles, _, _ = socket.recv_fds(channel, 1, 2)
    parent = os.getpid()
    process: int | OSError
    try:
        process = os.fork()
    except OSError as error:
        process = error
    if process == 0:
        try:
            orders.close()
            _work(parent, Connection(handles[0]), Heartbeat(handles[1], MemoryMeter()))
        finally:  # whatever was raised: the child must run nothing of the fork server's
            os._exit(1)
    for handle in handles:
        os.close(handle)
    return process


def _end(process: int) -> tuple[int, int]:
    """Kill a process that has not been waited for; return its wait status and the most bytes it used."""
    os.kill(process, signal.SIGKILL)
    _, status, usage = os.wait4(process, 0)
    return status, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _load(modules: Sequence[str]) -> None:
    """Import what the children would import one by one; what cannot be imported by that name is left to them."""
    for name in modules:
        if name not in sys.modules:
            with suppress(Exception):
                importlib.import_module(name)
    _freeze()


def _freeze() -> None:
    """Keep the first garbage collection in each child from copying all that it shares with this process."""
    gc.collect()
    gc.freeze()


def _count_threads() -> int:
    """Return the number of threads of this process, including those of libraries on Linux; elsewhere Python's alone."""
    with suppress(FileNotFoundError):
        return len(list(Path("/proc/self/task").iterdir()))
    import threading

    return threading.active_count()


def _work(parent: int, connection: Connection, heartbeat: Heartbeat) -> None:
    """Run tasks until the connection is closed."""
    end_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        return
    _prefer_to_be_killed()
    use_heartbeat(heartbeat)
    known = set(sys.modules)
    while True:
        try:
            request: Request = connection.recv()
        except (EOFError, ConnectionError):
            return
        kind, content = _run(request, heartbeat)
        if kind != NO_MEMORY:  # there the item matters
            heartbeat.start(NO_ITEM)
        loaded = [name for name in sys.modules if name not in known] if len(sys.modules) > len(known) else []
        known.update(loaded)
        reply: Reply = (kind, content, tuple(loaded))
        connection.send(reply)
        sys.stdout.flush()


def _prefer_to_be_killed() -> None:
    """Write no core file of 100 MB after a crash; and if memory runs out, let the kernel kill this process first."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _run(request: Request, heartbeat: Heartbeat) -> tuple[str, bytes]:
    try:
        payload, folder, source, lost, alone = request
        _enter(folder)
        function, task = pickle.loads(payload)
        _check_source(function, source)
        if isinstance(task, Divisible) and (items := task.count_items()):
            heartbeat.start(items if alone is None else 1)
            others = {} if alone is None else {item: UNTOUCHED for item in range(items) if item != alone}
            task = task.lose_items({**others, **lost}) if others or lost else task
        take_times()  # drop those of a task that failed
        with clock(OTHER):
            result = function(task)
        timed = (result, take_times())
        return RESULT, b"" if alone is not None else pickle.dumps(timed, protocol=pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        return NO_MEMORY, b""
    except PipelineError as error:
        return REFUSED, pickle.dumps((error, _keep_error(error.__cause__)))
    except BaseException as error:
        return FAILED, pickle.dumps((describe_error(error), _keep_error(error)))


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError:
        raise PipelineError(
            f"a worker on {socket.gethostname()} cannot enter {folder}: "
            "data, cache and code must be under the same path on every machine"
        ) from None


def _check_source(function: Callable[[Any], Any], source: str | None) -> None:
    if source is not None and _hash_source(function.__module__) != source:
        raise PipelineError(
            f"a worker on {socket.gethostname()} has another version of {function.__module__} or of what it imports: "
            "bring its checkout to the driver's state"
        )


@cache
def _hash_source(module: str) -> str:
    from pipeline.incremental.module_sources import hash_source

    return hash_source(module)


def describe_error(error: BaseException) -> str:
    """Return `ValueError: not a number of mine (/…/near.py:31); at sample a-1`."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}" + "".join(f"; {note}" for note in getattr(error, "__notes__", ()))


def _keep_error(error: BaseException | None) -> BaseException | None:
    """Return the error if it can be pickled and loaded again, else None."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return None
    return error
