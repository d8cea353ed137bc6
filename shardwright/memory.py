"""Many files in one range of addresses, so that one gather reaches all of them.

Python's `mmap` keeps a file descriptor a map, and a set has more shards than a process has descriptors; and
rows of many maps take a call each. So the operating system's own `mmap` is called: one range is reserved, each
file is mapped into its place in it, and the descriptors are closed. POSIX only; Linux allows 65,530 maps a
process (`vm.max_map_count`).

A file that is truncated while it is mapped ends the process by SIGBUS when the missing part is read. Sizes are
therefore checked on opening, and shards are replaced by renaming, never written over.
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

from shardwright.errors import DamageError

MAP_FIXED = 0x10  # the same on Linux, macOS and the BSDs; Python does not export it
PROT_NONE = 0
ALIGNMENT = 64
"""Contents in a shard start at multiples of this: a tar block is 512 bytes, the NPY header 128 or more."""


class MappedFiles:
    """Files, mapped read-only one after another.

    Attributes:
        starts: where each file starts in the range, int64 (files,), bytes.

    Raises:
        DamageError: a file is missing or has another size; the message names it.
    """

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int]) -> None:
        page = mmap.ALLOCATIONGRANULARITY
        room = np.array([size + -size % page for size in sizes], np.int64)
        self.starts: NDArray[np.int64] = np.cumsum(room) - room
        total = int(room.sum()) or page
        self._total = total
        base = _map(None, total, PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)
        buffer = (ctypes.c_ubyte * total).from_address(base)
        # Unmapped when the last array over it is gone: a thread that still gathers keeps it alive.
        weakref.finalize(buffer, _load_libc().munmap, base, total)
        self._buffer: Any = buffer
        for path, size, start in zip(paths, sizes, self.starts.tolist(), strict=True):
            _map_file(path, size, base + start)

    def read(self, start: int, size: int) -> bytes:
        """A copy of `size` bytes from `start`."""
        return self._view(start, 1, size).tobytes()

    def gather(self, starts: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """A copy of `size` bytes from each of `starts`, multiples of 64: uint8 (rows, size), fresh memory."""
        # The rows of the view overlap; NumPy copies those that are picked and never looks at the rest. That is
        # as fast as memcpy, and unlike a view of void items of `size` bytes, which is as fast, it releases the
        # GIL: a thread that waits for the disk keeps no other waiting (5.5 ms a batch, measured, against 0.1).
        rows = max(0, (self._total - size) // ALIGNMENT + 1)  # none where there is no file
        return self._view(0, rows, size)[starts // ALIGNMENT]

    def close(self) -> None:
        """Let go of the files; reading them is an error from now on."""
        self._buffer = None

    def _view(self, start: int, rows: int, size: int) -> NDArray[np.uint8]:
        """A row at every multiple of 64 from `start` on: uint8 (rows, size)."""
        if self._buffer is None:
            raise ValueError("the dataset is closed")
        return np.ndarray((rows, size), np.uint8, self._buffer, start, (ALIGNMENT, 1))


@cache
def _load_libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


def _map(address: int | None, size: int, protection: int, flags: int, descriptor: int) -> int:
    found = _load_libc().mmap(address, size, protection, flags, descriptor, 0)
    if found == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot map {size} bytes: {os.strerror(number)}")
    return int(found)


def _map_file(path: Path, size: int, address: int) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe in the place of a shard is not waited for
    except FileNotFoundError as error:
        raise DamageError(f"{path}: missing", shard=path.name) from error
    try:
        found = os.fstat(descriptor).st_size
        if found != size:
            raise DamageError(f"{path}: {found} bytes, the manifest says {size}", shard=path.name)
        _map(address, size, mmap.PROT_READ, mmap.MAP_SHARED | MAP_FIXED, descriptor)
    finally:
        os.close(descriptor)
