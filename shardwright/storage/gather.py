"""Rows out of one block of memory: the one copy between a shard and a batch."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from numpy.typing import NDArray

from shardwright.storage.file_set import ALIGNMENT


def pick_rows(
    memory: NDArray[np.uint8], places: NDArray[np.int64], size: int, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """A copy of `size` bytes from each place in `memory`: uint8 (rows, size), in `out` where that is given.

    It releases the GIL. With `out` it needs PyTorch.

    Args:
        memory: uint8 (bytes,), contiguous.
        places: int64 (rows,), any order; multiples of 64.
        size: bytes a row, at least 1.
        out: uint8 (rows, size), C-ordered; it becomes the result.
    """
    # The rows of the view overlap; what is not picked is never looked at. NumPy's pick is as fast as memcpy, and
    # unlike a view of void items of `size` bytes, which is as fast, it releases the GIL: a thread that waits for
    # the disk keeps no other waiting (5.5 ms a batch, measured, against 0.1). But it always takes fresh memory,
    # and `np.take` would first copy the whole view.
    rows = max(0, (len(memory) - size) // ALIGNMENT + 1)  # none where there is no file
    if out is None or not len(out):
        view = np.ndarray((rows, size), np.uint8, memory, 0, (ALIGNMENT, 1))
        picked: NDArray[np.uint8] = view[places // ALIGNMENT]
        return picked
    import torch

    tensor = torch.from_numpy(memory).as_strided((rows, size), (ALIGNMENT, 1))
    with _use_one_thread():
        torch.index_select(tensor, 0, torch.from_numpy(places // ALIGNMENT), out=torch.from_numpy(out))
    return out


@contextmanager
def _use_one_thread() -> Iterator[None]:
    """Make what PyTorch does in this thread meanwhile run in this thread alone.

    It would cut each row in pieces for as many helpers as there are cores, and they wait for each other busily: on a
    machine that has other work too that was 5 to 50 times slower, measured. `torch.set_num_threads` would say it to
    the whole process.
    """
    import torch

    before = torch.get_num_threads()  # also sets this thread up; from then on it goes by its own number
    set_threads = _find_openmp()
    set_threads(1)
    try:
        yield
    finally:
        set_threads(before)


@cache
def _find_openmp() -> Callable[[int], None]:
    """What sets the number of threads of OpenMP in the calling thread; nothing, where PyTorch has no OpenMP."""
    import torch

    try:
        found: Callable[[int], None] = ctypes.CDLL(torch._C.__file__).omp_set_num_threads
    except (AttributeError, OSError):
        return lambda count: None
    return found
