"""Memory that windows use one after another: fresh memory costs a fault every page, a fifth of a window's time."""

import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

from shardwright.storage.read_plan import PAGE

GRAIN = 1 << 20
"""Windows take memory in multiples of this, so that the memory of one does for the next."""
SPARE = 2
"""Windows whose memory is kept for those to come."""


class WindowBuffer:
    """Memory of a window: uint8 (bytes,), from a whole page on. When nobody holds this any more it serves another."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array


class WindowMemory:
    """Gives memory to windows and keeps that of the last ones; threads may use it at once."""

    def __init__(self) -> None:
        self._spare: deque[NDArray[np.uint8]] = deque(maxlen=SPARE)  # needs no lock, and what is too much falls out

    def take(self, size: int) -> WindowBuffer:
        """Memory of `size` bytes or more, its content undefined."""
        wanted = size + -size % GRAIN
        memory = WindowBuffer(self._find(wanted))
        weakref.finalize(memory, self._spare.append, memory.array).atexit = False
        return memory

    def clear(self) -> None:
        """Let go of what is kept, and keep nothing from now on."""
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
