"""Map many files into one range of addresses, so that one call gathers rows from all of them.

Python's `mmap` keeps a file descriptor a map, a set may have more shards than a process has descriptors, and rows of
many maps take a call each. So the operating system's own `mmap` is called: one range is reserved, each file is mapped
into its part of it, and the descriptors are closed. POSIX only; Linux allows 65,530 maps a process
(`vm.max_map_count`).

A file that is truncated while it is mapped ends the process by SIGBUS when the missing part is read. Sizes are
therefore checked on opening, and shards are replaced by renaming, never overwritten.
"""

import ctypes
import mmap
import os
import weakref
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.storage.descriptors import ADVICE, STEP, Descriptors, open_whole_file
from shardwright.storage.file_set import FileSet
from shardwright.storage.gather import gather_rows
from shardwright.storage.window_memory import WindowMemory
from shardwright.storage.windows import load_window

MAP_FIXED = 0x10  # the same on Linux, macOS and the BSDs; Python does not export it
PROT_NONE = 0


class MappedFiles:
    """Files that are mapped read-only, one after another; a `FileSet`.

    Raises:
        DamageError: a file is missing or has another size; the message names it.
    """

    checked_once = True

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int]) -> None:
        page = mmap.ALLOCATIONGRANULARITY
        room = np.array([size + -size % page for size in sizes], np.int64)
        self.starts: NDArray[np.int64] = np.cumsum(room) - room
        total = int(room.sum()) or page
        base = _map(None, total, PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)
        buffer = (ctypes.c_ubyte * total).from_address(base)
        # Unmapped when the last array over it is gone: a thread that is still gathering keeps it alive.
        weakref.finalize(buffer, _load_libc().munmap, base, total)
        self._mapped: NDArray[np.uint8] | None = np.ndarray((total,), np.uint8, memoryview(buffer))
        self._descriptors = Descriptors(paths, sizes, self.starts)
        self._memory = WindowMemory()
        for path, size, start in zip(paths, sizes, self.starts.tolist(), strict=True):
            _map_file(path, size, base + start)
        # Without MADV_RANDOM each row that is not in memory waits for some MB around it to be read: 150 samples/s,
        # measured, against 4,000 for rows that are announced by the batch.
        self._base = base if self._descriptors.exceed_memory and ADVICE else None
        if self._base is not None:
            _load_libc().madvise(base, total, mmap.MADV_RANDOM)

    def read(self, start: int, size: int) -> bytes:
        """See `FileSet.read`; where the file was truncated the process ends by a signal."""
        return self._find_mapped()[start : start + size].tobytes()

    def gather(self, starts: NDArray[np.int64], size: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """See `FileSet.gather`; `out` is for callers that have PyTorch."""
        mapped = self._find_mapped()
        if self._base is not None:
            _announce(self._base, starts, np.full(len(starts), size))
        return gather_rows(mapped, starts, size, out)

    def read_ranges(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """See `FileSet.read_ranges`; returns views of the map, which keep it open."""
        mapped = self._find_mapped().view()
        mapped.flags.writeable = False  # a write would end the process
        if self._base is not None:
            _announce(self._base, starts, sizes)
        return [mapped[start : start + size] for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)]

    def load(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> FileSet:
        """See `FileSet.load`; read with system calls, not through the map."""
        return load_window(self._descriptors, starts, sizes, self._memory)

    def release_idle(self) -> None:
        """See `Descriptors.release_idle`."""
        self._descriptors.release_idle()

    def close(self) -> None:
        """See `FileSet.close`."""
        self._mapped = None
        self._descriptors.close()
        self._memory.clear()

    def _find_mapped(self) -> NDArray[np.uint8]:
        """Return the whole range, uint8 (bytes,)."""
        if self._mapped is None:
            raise ValueError("the dataset is closed")
        return self._mapped


@cache
def _load_libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


def _map(address: int | None, size: int, protection: int, flags: int, descriptor: int) -> int:
    found = _load_libc().mmap(address, size, protection, flags, descriptor, 0)
    if found == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot map {size} bytes: {os.strerror(number)}")
    return int(found)


def _map_file(path: Path, size: int, address: int) -> None:
    descriptor, _ = open_whole_file(path, size)
    try:
        _map(address, size, mmap.PROT_READ, mmap.MAP_SHARED | MAP_FIXED, descriptor)
    finally:
        os.close(descriptor)


def _announce(base: int, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
    """Have the operating system start to read ranges of a map."""
    page, advise = mmap.PAGESIZE, _load_libc().madvise
    for start, size in zip((base + starts).tolist(), sizes.tolist(), strict=True):
        for at in range(start - start % page, start + size, STEP):
            advise(at, min(STEP, start + size - at), mmap.MADV_WILLNEED)
