"""Reuse the memory of batches that nobody holds any more.

Fresh memory costs a page fault of the operating system for each page, 10 to 25 % of a warm gather, and memory that one
thread allocates and another frees returns to the system every time. The reference count of a buffer shows whether a
batch, a tensor or a view of one still uses it: only buffers that nobody holds are written again.
"""

import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALL_BYTES = 1 << 20
"""Smaller buffers are served by the allocator from memory that the process already has."""


class BufferPool:
    """Pool of buffers by size, for use by several threads.

    Sizes are rounded up by at most an eighth, so that batches whose size varies share few of them.

    Args:
        limit: buffers pooled of each size; beyond it, fresh memory is returned that the caller alone owns.
        pinned: whether the memory is page-locked, so that a CUDA device copies from it while other work runs.
    """

    def __init__(self, limit: int, pinned: bool = False) -> None:
        self._limit = limit
        self._pinned = pinned
        self._buffers: dict[int, list[NDArray[np.uint8]]] = {}
        self._lock = threading.Lock()

    def allocate(self, rows: int, size: int) -> NDArray[np.uint8] | None:
        """Return uint8 (rows, size), C-ordered, undefined content, that nobody else holds; None if it is too small to
        be worth pooling."""
        if rows * size < SMALL_BYTES and not self._pinned:
            return None
        rounded = _round_up(rows * size)
        with self._lock:
            pooled = self._buffers.setdefault(rounded, [])
            for number in range(len(pooled)):
                if sys.getrefcount(pooled[number]) == UNHELD:
                    return pooled[number][: rows * size].reshape(rows, size)
            buffer = self._make_buffer(rounded)
            if len(pooled) < self._limit:
                pooled.append(buffer)
        return buffer[: rows * size].reshape(rows, size)

    def _make_buffer(self, size: int) -> NDArray[np.uint8]:
        if not self._pinned:
            return np.empty(size, np.uint8)
        import torch

        buffer: NDArray[np.uint8] = torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy()
        return buffer


def _round_up(size: int) -> int:
    """Return the size, or the next one that has no more than four significant bits."""
    step = 1 << max(0, size.bit_length() - 4)
    return -(-size // step) * step


def _count_unheld() -> int:
    """Return the `sys.getrefcount` of an array that only a list refers to."""
    only: list[Any] = [np.empty(1, np.uint8)]
    return sys.getrefcount(only[0])


UNHELD = _count_unheld()
