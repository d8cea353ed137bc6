"""Open the shards of a set when they are read, so that there may be more of them than a process has descriptors."""

import errno
import os
import resource
import stat
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import DamageError
from shardwright.storage.memory_limit import find_memory_limit

MOST_OPEN = 128
"""Files of a set that stay open: an eighth of the 1,024 descriptors that most systems give a process. Opening one costs
5 microseconds (measured on ext4), a twentieth of copying an image of 224 × 224 and checking it."""
SHARE = 8
"""Where a process has fewer descriptors, one in so many of them is used."""
DAMAGED = (errno.EIO, errno.ESTALE)
"""A disk that cannot read a block; a network file system that has replaced the file."""
ADVICE = hasattr(os, "posix_fadvise")
"""Whether the operating system has `posix_fadvise`: not macOS."""
STEP = 128 << 10
"""Bytes announced by one call: the operating system ignores what exceeds the disk's readahead, usually this size."""


class Descriptors:
    """The files of a set by number, opened when they are read; thread-safe.

    They are opened by name each time, so that a file may have been replaced: callers check what they read.

    Args:
        paths: of the files, in the order of their addresses.
        sizes: of the files in bytes, from the manifest.
        starts: the address of each file's first byte, int64 (files,).
    """

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int], starts: NDArray[np.int64]) -> None:
        self.starts = starts
        self._paths = list(paths)
        self._sizes = list(sizes)
        # Each file has one slot, shared with others, instead of a list of recent use: reading and writing a slot needs
        # no lock, which a fork might copy while another thread holds it.
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        count = MOST_OPEN if limit == resource.RLIM_INFINITY else max(1, min(MOST_OPEN, limit // SHARE))
        self._slots: list[Descriptor | None] | None = [None] * count

    @cached_property
    def exceed_memory(self) -> bool:
        """Whether all files together are larger than the memory that this process may use."""
        return sum(self._sizes) > find_memory_limit()

    def find_files(self, addresses: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the file that each address is in, int64 in the shape of `addresses`."""
        numbers: NDArray[np.int64] = np.searchsorted(self.starts, addresses, side="right") - 1
        return numbers

    def open(self, number: int) -> "Descriptor":
        """Return the file, which stays open as long as the result is held.

        Raises:
            DamageError: it is missing, or not a regular file.
            OSError: it cannot be opened; the error has its name.
            ValueError: the dataset is closed.
        """
        slots = self._slots
        if slots is None:
            raise ValueError("the dataset is closed")
        found = slots[number % len(slots)]
        if found is None or found.number != number:
            path, size = self._paths[number], self._sizes[number]
            try:
                descriptor, _ = open_file(path)
            except OSError as error:
                if error.errno != errno.EMFILE:
                    raise
                self.release_idle()  # this process has no descriptor left: close ours
                descriptor, _ = open_file(path)
            slots[number % len(slots)] = found = Descriptor(number, descriptor, path, size)
        return found

    def release_idle(self) -> None:
        """Close the files that are not being read at this moment."""
        if self._slots is not None:
            self._slots[:] = [None] * len(self._slots)

    @contextmanager
    def lease(self, number: int) -> "Iterator[Descriptor]":
        """Yield the file, which stays open until the context ends; see `open`."""
        yield self.open(number)

    def read_direct(self, number: int, memory: memoryview, offset: int) -> int:
        """Read directly from the disk, bypassing the page cache; return the number of bytes read.

        It is less than `memory` has, or 0, at the end of the file and where disk or file system do not support direct
        reads; `open` and `read_into` then raise the error, if there is one.

        Args:
            number: of the file.
            memory: filled; whole pages.
            offset: in the file, a multiple of a page.
        """
        try:
            descriptor = os.open(self._paths[number], os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT)
        except (OSError, AttributeError):  # macOS does not have it
            return 0
        try:
            return os.preadv(descriptor, (memory,), offset)
        except OSError:
            return 0
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the files, those that are being read once they are released; opening one is an error from now on."""
        self._slots = None


class Descriptor:
    """A file that is open for reading, until `close` is called or the last reference to it is gone.

    Attributes:
        number: of the file in its set.
    """

    def __init__(self, number: int, descriptor: int, path: Path, size: int) -> None:
        self.number = number
        self._descriptor = descriptor
        self._path = path
        self._size = size
        self._finalizer = weakref.finalize(self, os.close, descriptor)
        self._finalizer.atexit = False
        if ADVICE:  # without, the system reads up to some MB ahead of each read, in vain
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def read_into(self, memory: memoryview, offset: int) -> None:
        """Fill `memory` with the bytes from `offset`. Releases the GIL.

        Raises:
            DamageError: the file ends too early, or the disk cannot read it; the message names file and offset.
            OSError: any other error, with the file's name.
        """
        done = 0
        while done < len(memory):  # one call reads 2 GiB at most
            at = offset + done
            try:
                count = os.preadv(self._descriptor, (memory[done:] if done else memory,), at)
            except OSError as error:
                if error.errno not in DAMAGED:
                    raise OSError(error.errno, error.strerror, str(self._path)) from error
                raise self._blame(at, f"cannot be read at byte {at}: {error.strerror}") from error
            if not count:
                raise self._blame(at, f"ends before byte {at}, the manifest says {self._size} bytes")
            done += count

    def close(self) -> None:
        """Close it, even if others hold it."""
        self._finalizer()

    def identify(self) -> tuple[int, int, int]:
        """Return the file's identity, see `identify`."""
        return identify(os.fstat(self._descriptor))

    def announce(self, offset: int, size: int) -> None:
        """Have the operating system start to read these bytes."""
        if ADVICE:
            for at in range(offset, offset + size, STEP):
                os.posix_fadvise(self._descriptor, at, min(STEP, offset + size - at), os.POSIX_FADV_WILLNEED)

    def forget(self, offset: int, size: int) -> None:
        """Drop these bytes from the page cache, unless they are mapped."""
        if ADVICE:
            os.posix_fadvise(self._descriptor, offset, size, os.POSIX_FADV_DONTNEED)

    def _blame(self, offset: int, what: str) -> DamageError:
        return DamageError(f"{self._path}: {what}", shard=self._path.name, offset=offset)


def open_file(path: Path) -> tuple[int, os.stat_result]:
    """Open a regular file for reading; return the descriptor and its status.

    Raises:
        DamageError: it is missing, or not a regular file; the message names it.
        OSError: it cannot be opened; the error has its name.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe must not block
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamageError(f"{path}: missing", shard=path.name) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise DamageError(f"{path}: not a file", shard=path.name)
    return descriptor, found


def open_whole_file(path: Path, size: int) -> tuple[int, os.stat_result]:
    """Open a file as `open_file` does, and check its size.

    Raises:
        DamageError: see `open_file`; or the size differs, and the message has both.
    """
    descriptor, found = open_file(path)
    if found.st_size != size:
        os.close(descriptor)
        raise DamageError(f"{path}: {found.st_size} bytes, the manifest says {size}", shard=path.name)
    return descriptor, found


def identify(found: os.stat_result) -> tuple[int, int, int]:
    """Return device, inode and mtime in ns, which differ for another file and after a write to the same one."""
    return found.st_dev, found.st_ino, found.st_mtime_ns
