"""Memory for batches that is used again once nobody holds it.

Fresh memory costs a fault of the operating system a page, 10 to 25 % of a warm gather, and what one thread allocates
and another frees goes back to the system every time. A buffer's reference count says whether a batch, a tensor or a
view of one is still about: only what nobody holds is written again.
"""

import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALL_BYTES = 1 << 20
"""What is smaller, the allocator serves from memory that it has at hand."""


class BufferPool:
    """Keeps buffers of the sizes that were asked for; to be used by several threads.

    Args:
        limit: buffers kept of each size; what is wanted beyond is fresh memory that the caller owns alone.
        pinned: whether the memory is page-locked, so that a CUDA device copies from it beside other work.
    """

    def __init__(self, limit: int, pinned: bool = False) -> None:
        self._limit = limit
        self._pinned = pinned
        self._kept: dict[tuple[int, int], list[NDArray[np.uint8]]] = {}
        self._lock = threading.Lock()

    def allocate(self, rows: int, size: int) -> NDArray[np.uint8] | None:
        """uint8 (rows, size), C-ordered, its content undefined, that nobody else holds; None where fresh is as good."""
        if rows * size < SMALL_BYTES and not self._pinned:
            return None
        with self._lock:
            kept = self._kept.setdefault((rows, size), [])
            for number in range(len(kept)):
                if sys.getrefcount(kept[number]) == UNHELD:
                    return kept[number].view()
            buffer = self._make(rows, size)
            if len(kept) < self._limit:
                kept.append(buffer)
        return buffer.view()

    def _make(self, rows: int, size: int) -> NDArray[np.uint8]:
        if not self._pinned:
            return np.empty((rows, size), np.uint8)
        import torch

        made: NDArray[np.uint8] = torch.empty((rows, size), dtype=torch.uint8, pin_memory=True).numpy()
        return made


def _count_unheld() -> int:
    """What `sys.getrefcount` says of an array that stands in a list and nowhere else."""
    kept: list[Any] = [np.empty(1, np.uint8)]
    return sys.getrefcount(kept[0])


UNHELD = _count_unheld()
