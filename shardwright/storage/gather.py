"""Gather rows from one block of memory: the only copy between a shard and a batch."""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from numpy.typing import NDArray

from shardwright.storage.file_set import ALIGNMENT


def gather_rows(
    memory: NDArray[np.uint8], offsets: NDArray[np.int64], size: int, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return a copy of `size` bytes from each offset in `memory`: uint8 (rows, size), in `out` where that is given.

    Releases the GIL. With `out` this is by PyTorch; where it is not imported, as in worker processes, row by row.

    Args:
        memory: uint8 (bytes,), contiguous.
        offsets: int64 (rows,), any order; multiples of 64.
        size: bytes a row, at least 1.
        out: uint8 (rows, size), C-ordered; becomes the result.
    """
    # The rows of the view overlap; those that are not gathered are never read. NumPy's indexing is as fast as memcpy,
    # and so is a view of void items of `size` bytes, but that one holds the GIL: a thread that waits for the disk would
    # block the others (5.5 ms a batch, measured, against 0.1). NumPy's indexing always allocates its result, and
    # `np.take` with `out` would first copy the whole view.
    rows = max(0, (len(memory) - size) // ALIGNMENT + 1)  # 0 without files
    if out is None or not len(out):
        view = np.ndarray((rows, size), np.uint8, memory, 0, (ALIGNMENT, 1))
        gathered: NDArray[np.uint8] = view[offsets // ALIGNMENT]
        return gathered
    if "torch" not in sys.modules:
        for row, offset in zip(out, offsets.tolist(), strict=True):
            row[:] = memory[offset : offset + size]
        return out
    import torch

    tensor = torch.from_numpy(memory).as_strided((rows, size), (ALIGNMENT, 1))
    with use_one_thread():
        torch.index_select(tensor, 0, torch.from_numpy(offsets // ALIGNMENT), out=torch.from_numpy(out))
    return out


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Keep PyTorch's operations of this thread in this thread.

    PyTorch would divide each row among as many threads as there are cores, which wait for each other by spinning: on a
    machine with other work that was 5 to 50 times slower, measured. `torch.set_num_threads` would change the whole
    process.
    """
    import torch

    before = torch.get_num_threads()  # also initializes this thread, which has its own number from then on
    set_threads = _find_openmp()
    set_threads(1)
    try:
        yield
    finally:
        set_threads(before)


@cache
def _find_openmp() -> Callable[[int], None]:
    """Return the function that sets OpenMP's threads for the calling thread; one that does nothing without OpenMP."""
    import torch

    try:
        found: Callable[[int], None] = ctypes.CDLL(torch._C.__file__).omp_set_num_threads
    except (AttributeError, OSError):
        return lambda count: None
    return found
