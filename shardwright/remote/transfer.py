"""One try to bring one file: bounded in size and time, hashed as it arrives, and to be broken off at any moment."""

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
"""Bytes a second: a connection that brings less for long is as good as broken."""
POLL_SECONDS = 0.02
GRACE_SECONDS = 5.0
"""Until a transfer that was broken off must have ended."""


class StalledError(Exception):
    """A try that brings nothing, or next to nothing."""


class TooLongError(Exception):
    """A server that sends more than the file can have."""


@dataclass(frozen=True)
class TransferLimits:
    """What one try may take.

    Attributes:
        bytes: of the file at most.
        stall: see `Remote.stall`.
        until: by `time.monotonic`.
        pause: see `Pause`.
    """

    bytes: int
    stall: float
    until: float
    pause: Pause


@dataclass(frozen=True)
class TransferResult:
    """What a try brought: bytes, and their sha256."""

    bytes: int
    sha256: str


class ProgressMeter:
    """How much has arrived, and whether that is enough and not too much."""

    def __init__(self, bounds: TransferLimits) -> None:
        self.bytes = 0
        self._bounds = bounds
        self._marked = 0, time.monotonic()

    def add(self, count: int) -> None:
        """Count bytes that arrived.

        Raises:
            TooLongError: they are more than the file can have.
        """
        self.bytes += count
        self._refuse(self.bytes)

    def check(self, size: int) -> None:
        """See that it goes on, from the bytes that were counted and the size of the file that is being written.

        Raises:
            TooLongError: see `add`.
            StalledError: it does not go on.
            TimeoutError: the time is up.
        """
        self._refuse(size)
        # Some filesystems make the file in its full size at once, some do not count: the sum grows with either.
        now, seen, stall = time.monotonic(), self.bytes + size, self._bounds.stall
        if now > self._bounds.until:
            raise TimeoutError
        if now - self._marked[1] > stall:
            if seen - self._marked[0] < SLOWEST * stall:
                raise StalledError(f"{seen - self._marked[0]} bytes in {stall:g} s")
            self._marked = seen, now

    def _refuse(self, size: int) -> None:
        if size > self._bounds.bytes:
            raise TooLongError(f"more than {self._bounds.bytes} bytes")


class LoopJob:
    """A coroutine on the event loop of another thread, which ends for certain once it is cancelled."""

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
        """Whether it has ended."""
        return self._done.wait(seconds)

    def finish(self) -> None:
        """Raise what it raised.

        Raises:
            ConnectionError: somebody else has cancelled it.
        """
        if self._tasks[0].cancelled():
            raise ConnectionError(errno.ECONNABORTED, "broken off")
        self._tasks[0].result()

    def cancel(self) -> None:
        """End it, and wait for that."""
        self._loop.call_soon_threadsafe(lambda: self._tasks[0].cancel())  # in order: it has been started by then
        self._done.wait(GRACE_SECONDS)
        if self._done.is_set() and not self._tasks[0].cancelled():
            self._tasks[0].exception()  # looked at, or asyncio complains


def transfer(
    system: Any, source: str, target: tuple[Path, int], bounds: TransferLimits, **options: Any
) -> TransferResult:
    """Bring a file to a path that is open for reading and writing; what was in it is gone.

    Args:
        system: a filesystem of fsspec.
        source: the file's name there.
        target: the path and its descriptor.
        bounds: see `TransferLimits`.
        options: for the filesystem's way to fetch.

    Raises:
        StalledError, TooLongError, TimeoutError: see `ProgressMeter`.
        Exception: what the filesystem raises, or `bounds.pause`.
    """
    os.ftruncate(target[1], 0)
    if system.async_impl:
        return _transfer_beside(system, source, target, bounds, **options)
    return _transfer_here(system, source, target[1], bounds)


def _transfer_here(system: Any, source: str, descriptor: int, bounds: TransferLimits) -> TransferResult:
    """For filesystems without a loop; one that hangs in a read is not broken off."""
    meter, found = ProgressMeter(bounds), hashlib.sha256()
    os.lseek(descriptor, 0, os.SEEK_SET)
    with system.open(source, "rb") as file:
        while chunk := file.read(CHUNK):
            meter.add(len(chunk))
            meter.check(0)
            bounds.pause(0)
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]
            found.update(chunk)
    return TransferResult(meter.bytes, found.hexdigest())


def _transfer_beside(
    system: Any, source: str, target: tuple[Path, int], bounds: TransferLimits, **options: Any
) -> TransferResult:
    """For filesystems on fsspec's loop: it writes to the file, and what has arrived is hashed in this thread."""
    path, descriptor = target
    meter, tail = ProgressMeter(bounds), StreamHasher(descriptor)
    callback = _make_callback(meter)
    job = LoopJob(system.loop, lambda: system._get_file(source, str(path), callback=callback, **options))
    try:
        while not job.wait(POLL_SECONDS):
            bounds.pause(0)
            size = os.fstat(descriptor).st_size
            meter.check(size)
            tail.advance(meter.bytes, size)
    except BaseException:
        job.cancel()
        raise
    job.finish()
    size = os.fstat(descriptor).st_size
    meter.check(size)
    return TransferResult(size, tail.finish(bounds.pause))


class StreamHasher:
    """Hashes a file while another writes it, as long as that goes from its start to its end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._straight = True

    def advance(self, arrived: int, size: int) -> None:
        """Hash what is there of a file that has this size, when so many bytes have arrived."""
        # Longer than what arrived: made in its full size first, to be filled in pieces and in any order.
        self._straight &= size <= arrived + CHUNK
        while self._straight and (chunk := os.pread(self._descriptor, CHUNK, self._hashed)):
            self._hash.update(chunk)
            self._hashed += len(chunk)

    def finish(self, pause: Pause) -> str:
        """The sha256 of the whole file, 64 hex digits."""
        if not self._straight:
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
