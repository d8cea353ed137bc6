"""Hand batches from worker processes to this one through shared memory.

The memory is one file without a name, mapped by this process and its workers, so that nothing is left behind however
they end. It is divided into slots. This process chooses the slot that a worker writes a batch into: one that nobody
holds, which the reference count of its array shows, as in `shardwright.loading.buffer_pool`. Pages of the file take
memory from when they are first written, so slots may be many and large.
"""

import mmap
import os
import pickle
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.collate import is_tensor
from shardwright.datasets.read_context import Batch
from shardwright.loading.buffer_pool import UNHELD

ALIGNMENT = 64
SMALL_BYTES = 16 << 10
"""Smaller arrays go through the pipe with the rest of the batch."""
SLOT_BYTES = 1 << 30
"""Of addresses, not of memory; what does not fit into a slot goes through the pipe."""


@contextmanager
def open_memory(size: int) -> Iterator[int]:
    """Yield the descriptor of a file in memory that has no name; it is closed afterwards, maps of it stay."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("shardwright-batches", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, size)
        yield descriptor
    finally:
        os.close(descriptor)


class SharedSlots:
    """The slots as arrays; it is pickled only for a process that is being started, while the descriptor is open.

    Args:
        descriptor: of the file, at least count × size bytes.
        count: slots.
        size: bytes of a slot, a multiple of `mmap.ALLOCATIONGRANULARITY`.
    """

    def __init__(self, descriptor: int, count: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        memory = mmap.mmap(descriptor, count * size)
        self._slots = [np.frombuffer(memory, np.uint8, size, number * size) for number in range(count)]

    def acquire(self) -> tuple[int, NDArray[np.uint8]] | None:
        """Return the number and a view of a slot that nobody holds, or None; it is held as long as the view is."""
        for number in range(len(self._slots)):
            if sys.getrefcount(self._slots[number]) == UNHELD:
                return number, self._slots[number].view()
        return None

    def open_writer(self, number: int | None) -> "SlotWriter":
        """Return a writer for a slot that was acquired for this batch; None is one without memory."""
        return SlotWriter(np.empty(0, np.uint8) if number is None else self._slots[number])

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, (DupFd(self._descriptor), len(self._slots), self._size)


def _attach(duplicate: Any, count: int, size: int) -> SharedSlots:
    descriptor = duplicate.detach()
    try:
        return SharedSlots(descriptor, count, size)
    finally:
        os.close(descriptor)


class SlotWriter:
    """Place the arrays of one batch into a slot, one after another.

    Args:
        memory: uint8 (bytes,), the slot.
    """

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self._memory = memory
        self._start = memory.ctypes.data
        self._used = 0

    def allocate(self, rows: int, size: int) -> NDArray[np.uint8] | None:
        """Return uint8 (rows, size) in the slot; None for a small array, or if no room is left.

        See `ReadContext.allocate`: what is read into it has arrived, and is not copied again.
        """
        if rows * size < SMALL_BYTES or self._used + rows * size > len(self._memory):
            return None
        start = self._used
        self._used += rows * size + -(rows * size) % ALIGNMENT
        return self._memory[start : start + rows * size].reshape(rows, size)

    def place(self, buffer: pickle.PickleBuffer) -> tuple[int, int] | None:
        """Return where in the slot these bytes are, as offset and length, copied there unless they are; or None."""
        content = np.frombuffer(buffer.raw(), np.uint8)
        offset = content.ctypes.data - self._start
        if offset >= 0 and offset + len(content) <= len(self._memory):
            return offset, len(content)
        room = self.allocate(1, len(content))
        if room is None:
            return None
        room[0] = content
        return room.ctypes.data - self._start, len(content)


@dataclass(frozen=True)
class Parcel:
    """A batch for another process: the pickled batch, and where in the slot the bytes of its arrays are."""

    content: bytes
    spans: tuple[tuple[int, int], ...]


def pack_batch(batch: Batch, writer: SlotWriter) -> Parcel:
    """Pickle a batch with the bytes of its arrays and tensors left in the slot, also of those in lists (PEP 574).

    Raises:
        Exception: a value cannot be pickled.
    """
    spans: list[tuple[int, int]] = []

    def keep_in_pickle(buffer: pickle.PickleBuffer) -> bool:
        span = writer.place(buffer)
        if span is not None:
            spans.append(span)
        return span is None

    file = BytesIO()
    _BatchPickler(file, 5, buffer_callback=keep_in_pickle).dump(
        {
            name: np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values
            for name, values in batch.items()
        }
    )
    return Parcel(file.getvalue(), tuple(spans))


def unpack_batch(parcel: Parcel, memory: NDArray[np.uint8] | None) -> Batch:
    """Return the batch; its arrays are the memory of the slot, and hold it.

    Raises:
        Exception: a value cannot be unpickled.
    """
    slot = np.empty(0, np.uint8) if memory is None else memory
    batch: Batch = pickle.loads(parcel.content, buffers=[slot[start : start + size] for start, size in parcel.spans])
    return batch


class _BatchPickler(pickle.Pickler):
    """Pickle plain tensors by their bytes, like arrays; PyTorch would copy them into the pickle."""

    def reducer_override(self, value: Any) -> Any:
        if not is_tensor(value) or value.requires_grad or value.is_quantized or value.device.type != "cpu":
            return NotImplemented
        import torch

        if type(value) is not torch.Tensor or value.layout != torch.strided:
            return NotImplemented
        content = value.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy()
        return _make_tensor, (content, value.dtype, tuple(value.shape))


def _make_tensor(content: NDArray[np.uint8], dtype: Any, shape: tuple[int, ...]) -> Any:
    import torch

    return torch.from_numpy(content).view(dtype).reshape(shape)
