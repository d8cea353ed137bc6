"""Reuse the memory of windows: fresh memory costs a fault a page, a fifth of a window's time."""

import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

from shardwright.storage.read_plan import PAGE

GRAIN = 1 << 20
"""Windows take memory in multiples of this, so that the memory of one fits the next."""
SPARE = 2
"""Released windows whose memory is kept for reuse."""


class WindowBuffer:
    """Page-aligned memory of a window, uint8 (bytes,); reused by another window once nothing refers to this object."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array


class WindowMemory:
    """A pool of memory for windows; thread-safe."""

    def __init__(self) -> None:
        self._spare: deque[NDArray[np.uint8]] = deque(maxlen=SPARE)  # needs no lock, and drops what exceeds its length

    def take(self, size: int) -> WindowBuffer:
        """Return memory of at least `size` bytes, its content undefined."""
        memory = WindowBuffer(self._find(size + -size % GRAIN))
        weakref.finalize(memory, self._spare.append, memory.array).atexit = False
        return memory

    def clear(self) -> None:
        """Release the spare memory, and keep none from now on."""
        self._spare.clear()
        self._spare = deque(maxlen=0)

    def _find(self, size: int) -> NDArray[np.uint8]:
        for _ in range(SPARE):
            try:
                array = self._spare.popleft()
            except IndexError:
                break
            if size <= len(array) <= 2 * size:
                return array
        fresh = np.empty(size + PAGE, np.uint8)
        head = -fresh.ctypes.data % PAGE
        return fresh[head : head + size]
