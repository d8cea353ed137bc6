"""Shards that are opened when they are read, so that a set may have more of them than a process has descriptors."""

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
"""Files of a set that are kept open: an eighth of the 1,024 descriptors that most systems give a process. Opening one
costs 5 microseconds (measured on ext4), a twentieth of what it takes to copy a picture of 224 × 224 and to check it."""
SHARE = 8
"""Where a process has fewer descriptors, one in so many of them."""
DAMAGED = (errno.EIO, errno.ESTALE)
"""A disk that cannot read a block; a network file system whose file is another one by now."""
ADVICE = hasattr(os, "posix_fadvise")
"""Whether the operating system takes advice about what will be read: not macOS."""
STEP = 128 << 10
"""Bytes that the operating system is told of by one call. It leaves out what is more than the readahead of the disk,
and this is the usual one."""


class Descriptors:
    """The files of a set by number, opened when they are read; threads may use it at once.

    They are opened by name, so that a file may be another one than before: what is read is to be checked.

    Args:
        paths: the files, in the order of their addresses.
        sizes: in bytes, as the manifest has them.
        starts: the address that each file starts at, int64 (files,).
    """

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int], starts: NDArray[np.int64]) -> None:
        self.starts = starts
        self._paths = list(paths)
        self._sizes = list(sizes)
        # A file has one slot, which it shares with others, instead of a list of what was used last: to take from a slot
        # and to put into it needs no lock, which a process might be forked with while another thread holds it.
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        count = MOST_OPEN if limit == resource.RLIM_INFINITY else max(1, min(MOST_OPEN, limit // SHARE))
        self._slots: list[Descriptor | None] | None = [None] * count

    @cached_property
    def exceed_memory(self) -> bool:
        """Whether the files together are larger than the memory that this process may use."""
        return sum(self._sizes) > find_memory_limit()

    def find_files(self, addresses: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the file that each address is in, int64 in the shape of `addresses`."""
        numbers: NDArray[np.int64] = np.searchsorted(self.starts, addresses, side="right") - 1
        return numbers

    def open(self, number: int) -> "Descriptor":
        """The file, open for as long as the result is held.

        Raises:
            DamageError: it is missing, or no file.
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
                slots[:] = [None] * len(slots)  # this process has no descriptor left: ours go first
                descriptor, _ = open_file(path)
            slots[number % len(slots)] = found = Descriptor(number, descriptor, path, size)
        return found

    @contextmanager
    def lease(self, number: int) -> "Iterator[Descriptor]":
        """The file, open until the context ends: see `open`."""
        yield self.open(number)

    def read_direct(self, number: int, memory: memoryview, offset: int) -> int:
        """Read past the operating system's memory, straight from the disk; gives the bytes that came.

        Fewer than `memory` has, and 0, where the file ends, and where disk or file system refuse it: `open` then tells
        what is wrong, if anything is.

        Args:
            number: of the file.
            memory: whole pages of it.
            offset: a multiple of a page.
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
        """Close what nobody reads at this moment, and the rest after that; opening is an error from now on."""
        self._slots = None


class Descriptor:
    """A file that is open for reading; closed by `close`, or when it is held no more.

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
        if ADVICE:  # else the system reads on behind each read, up to some MB, and nobody wants that
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def read_into(self, memory: memoryview, offset: int) -> None:
        """Fill `memory` with the bytes from `offset` on; other threads run meanwhile.

        Raises:
            DamageError: the file ends before that, or the disk cannot read it; the message names file and offset.
            OSError: anything else, with the file's name.
        """
        done = 0
        while done < len(memory):  # one call gives 2 GiB at most
            at = offset + done
            try:
                count = os.preadv(self._descriptor, (memory[done:] if done else memory,), at)
            except OSError as error:
                if error.errno not in DAMAGED:
                    raise OSError(error.errno, error.strerror, str(self._path)) from error
                raise self._blame(at, f"cannot be read at byte {at}: {error.strerror}") from error
            if not count:
                raise self._blame(at, f"ends before byte {at}, the manifest says it has {self._size}")
            done += count

    def close(self) -> None:
        """Close it, whoever holds it."""
        self._finalizer()

    def identify(self) -> tuple[int, int, int]:
        """See `identify`."""
        return identify(os.fstat(self._descriptor))

    def announce(self, offset: int, size: int) -> None:
        """Have the operating system begin to read these bytes."""
        if ADVICE:
            for at in range(offset, offset + size, STEP):
                os.posix_fadvise(self._descriptor, at, min(STEP, offset + size - at), os.POSIX_FADV_WILLNEED)

    def forget(self, offset: int, size: int) -> None:
        """Have the operating system drop its copy of these bytes, if nobody has them mapped."""
        if ADVICE:
            os.posix_fadvise(self._descriptor, offset, size, os.POSIX_FADV_DONTNEED)

    def _blame(self, offset: int, what: str) -> DamageError:
        return DamageError(f"{self._path}: {what}", shard=self._path.name, offset=offset)


def open_file(path: Path) -> tuple[int, os.stat_result]:
    """A descriptor to read a file with, and what the operating system says of it.

    Raises:
        DamageError: it is missing, or no file; the message names it.
        OSError: it cannot be opened; the error has its name.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe in the place of a shard is not waited for
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamageError(f"{path}: missing", shard=path.name) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise DamageError(f"{path}: not a file", shard=path.name)
    return descriptor, found


def open_whole_file(path: Path, size: int) -> tuple[int, os.stat_result]:
    """See `open_file`; of a file that is to have this size.

    Raises:
        DamageError: it has another size, as well; the message has both.
    """
    descriptor, found = open_file(path)
    if found.st_size != size:
        os.close(descriptor)
        raise DamageError(f"{path}: {found.st_size} bytes, the manifest says {size}", shard=path.name)
    return descriptor, found


def identify(found: os.stat_result) -> tuple[int, int, int]:
    """What tells a file from another one, and from itself before somebody wrote to it: device, inode, mtime in ns."""
    return found.st_dev, found.st_ino, found.st_mtime_ns
