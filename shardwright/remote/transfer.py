"""Transfer one file in one try, limited in size and time, hashed as it arrives, and cancellable at any time."""

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardwright.remote.disk_cache import CHUNK, Pause, hash_open

SLOWEST = 1024
"""Bytes a second: a slower connection counts as broken."""
POLL_SECONDS = 0.02
GRACE_SECONDS = 5.0
"""How long to wait for a cancelled transfer to end."""


class StalledError(Exception):
    """A try that receives less than `SLOWEST`."""


class TooLongError(Exception):
    """A server that sends more bytes than the file may have."""


@dataclass(frozen=True)
class TransferLimits:
    """The limits of one try.

    Attributes:
        bytes: the most that the file may have.
        stall: seconds, see `Remote.stall`.
        until: the deadline, in seconds of `time.monotonic`.
        pause: see `Pause`.
    """

    bytes: int
    stall: float
    until: float
    pause: Pause


@dataclass(frozen=True)
class TransferResult:
    """The number of bytes that a try received, and their sha256."""

    bytes: int
    sha256: str


class ProgressMeter:
    """Counts the bytes received, and checks them against the limits."""

    def __init__(self, limits: TransferLimits) -> None:
        self.bytes = 0
        self._limits = limits
        self._checkpoint = 0, time.monotonic()

    def add(self, count: int) -> None:
        """Count received bytes.

        Raises:
            TooLongError: they are more than the file may have.
        """
        self.bytes += count
        self._check_size(self.bytes)

    def check(self, size: int) -> None:
        """Check progress by the bytes that were counted and the size of the file that is being written.

        Raises:
            TooLongError: see `add`.
            StalledError: less than `SLOWEST` was received for `stall` seconds.
            TimeoutError: the deadline has passed.
        """
        self._check_size(size)
        # Some file systems create the file in its full size at once, some do not count: the sum grows with either.
        now, seen, stall = time.monotonic(), self.bytes + size, self._limits.stall
        if now > self._limits.until:
            raise TimeoutError
        if now - self._checkpoint[1] > stall:
            if seen - self._checkpoint[0] < SLOWEST * stall:
                raise StalledError(f"{seen - self._checkpoint[0]} bytes in {stall:g} s")
            self._checkpoint = seen, now

    def _check_size(self, size: int) -> None:
        if size > self._limits.bytes:
            raise TooLongError(f"more than {self._limits.bytes} bytes")


class LoopJob:
    """A coroutine on the event loop of another thread; `cancel` waits for its end."""

    def __init__(self, loop: Any, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._loop = loop
        self._make = make
        self._tasks: list[Any] = []
        self._done = threading.Event()
        loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        task = self._loop.create_task(self._make())
        task.add_done_callback(lambda _: self._done.set())
        self._tasks.append(task)

    def wait(self, seconds: float) -> bool:
        """Wait for its end for so many seconds; return whether it has ended."""
        return self._done.wait(seconds)

    def finish(self) -> None:
        """Raise the error that ended it, if any.

        Raises:
            ConnectionError: it was cancelled by other code.
        """
        if self._tasks[0].cancelled():
            raise ConnectionError(errno.ECONNABORTED, "cancelled")
        self._tasks[0].result()

    def cancel(self) -> None:
        """Cancel it and wait for its end."""
        self._loop.call_soon_threadsafe(lambda: self._tasks[0].cancel())  # calls run in order: it has started by then
        self._done.wait(GRACE_SECONDS)
        if self._done.is_set() and not self._tasks[0].cancelled():
            self._tasks[0].exception()  # retrieved, or asyncio logs it


def transfer(
    system: Any, source: str, target: tuple[Path, int], limits: TransferLimits, **options: Any
) -> TransferResult:
    """Transfer a file to a path that is open for reading and writing; its content is replaced.

    Args:
        system: a file system of fsspec.
        source: the file's name in it.
        target: the path and its descriptor.
        limits: of the transfer.
        options: for the file system's `_get_file`.

    Raises:
        StalledError, TooLongError, TimeoutError: see `ProgressMeter`.
        Exception: any error of the file system, or of `limits.pause`.
    """
    os.ftruncate(target[1], 0)
    if system.async_impl:
        return _transfer_in_loop(system, source, target, limits, **options)
    return _transfer_in_thread(system, source, target[1], limits)


def _transfer_in_thread(system: Any, source: str, descriptor: int, limits: TransferLimits) -> TransferResult:
    """Transfer from a file system without an event loop, in this thread; a read that hangs is not cancelled."""
    meter, found = ProgressMeter(limits), hashlib.sha256()
    os.lseek(descriptor, 0, os.SEEK_SET)
    with system.open(source, "rb") as file:
        while chunk := file.read(CHUNK):
            meter.add(len(chunk))
            meter.check(0)
            limits.pause(0)
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]
            found.update(chunk)
    return TransferResult(meter.bytes, found.hexdigest())


def _transfer_in_loop(
    system: Any, source: str, target: tuple[Path, int], limits: TransferLimits, **options: Any
) -> TransferResult:
    """Transfer from a file system on fsspec's event loop, which writes the file; hash it in this thread meanwhile."""
    path, descriptor = target
    meter, tail = ProgressMeter(limits), StreamHasher(descriptor)
    callback = _make_callback(meter)
    job = LoopJob(system.loop, lambda: system._get_file(source, str(path), callback=callback, **options))
    try:
        while not job.wait(POLL_SECONDS):
            limits.pause(0)
            size = os.fstat(descriptor).st_size
            meter.check(size)
            tail.advance(meter.bytes, size)
    except BaseException:
        job.cancel()
        raise
    job.finish()
    size = os.fstat(descriptor).st_size
    meter.check(size)
    return TransferResult(size, tail.finish(limits.pause))


class StreamHasher:
    """Hashes a file while another thread writes it, as long as it is written from start to end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._sequential = True

    def advance(self, received: int, size: int) -> None:
        """Hash the bytes that were written since the last call, given all bytes received and the size of the file."""
        # A file longer than that was created in its full size, and may be filled in any order.
        self._sequential &= size <= received + CHUNK
        while self._sequential and (chunk := os.pread(self._descriptor, CHUNK, self._hashed)):
            self._hash.update(chunk)
            self._hashed += len(chunk)

    def finish(self, pause: Pause) -> str:
        """Return the sha256 of the whole file, 64 hex digits."""
        if not self._sequential:
            return hash_open(self._descriptor, pause)
        while chunk := os.pread(self._descriptor, CHUNK, self._hashed):
            self._hash.update(chunk)
            self._hashed += len(chunk)
            pause(0)
        return self._hash.hexdigest()


def _make_callback(meter: ProgressMeter) -> Any:
    from fsspec.callbacks import Callback

    class Count(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            meter.add(inc)

        def absolute_update(self, value: int) -> None:
            meter.add(value - meter.bytes)

    return Count()
