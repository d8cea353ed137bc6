"""Copy batches to an accelerator while the training step runs, or cache samples there."""

import os
import threading
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from shardwright.datasets.base import SampleSource
from shardwright.datasets.cached import copy_values
from shardwright.datasets.ragged import RaggedArray
from shardwright.datasets.read_context import Batch
from shardwright.loading.batch_plan import BatchPlan
from shardwright.loading.batch_reader import ReadBatch
from shardwright.storage.memory_limit import find_memory_limit

if TYPE_CHECKING:
    import torch


def check_torch() -> None:
    """Import PyTorch, which batches of tensors need and which is an optional dependency.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how to install it.
    """
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModuleNotFoundError(
            "Loader needs PyTorch, which is not installed: pip install 'shardwright[torch]'", name="torch"
        ) from error


@dataclass(frozen=True)
class PendingTransfer:
    """A batch that is being copied to the device; `arrived` is a CUDA event, or None if the copy is complete."""

    delivery: ReadBatch
    arrived: Any = None


class DeviceTransfer:
    """Copy batches to a device: with CUDA on a separate stream, from page-locked memory.

    Args:
        device: PyTorch's name of it, such as "cuda", "cuda:1", "cpu".
    """

    def __init__(self, device: "str | torch.device") -> None:
        import torch

        self.device = torch.device(device)
        self._stream: Any = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._sources: deque[tuple[Any, Batch]] = deque()  # held, so not reused, until their event
        self._lock = threading.Lock()

    @property
    def pinned(self) -> bool:
        """Whether batches should be read into page-locked memory."""
        return self._stream is not None

    def select(self) -> AbstractContextManager[Any]:
        """Make the device the current one of this thread within the block, for operations that decode on it."""
        import torch

        return nullcontext() if self._stream is None else torch.cuda.device(self._stream.device)

    def send(self, delivery: ReadBatch) -> PendingTransfer:
        """Start to copy the tensors of a batch; called by the thread that read it."""
        if self._stream is None:
            return PendingTransfer(replace(delivery, batch=self._copy(delivery.batch)))
        import torch

        with torch.cuda.stream(self._stream):
            batch = self._copy(delivery.batch)
            arrived = self._stream.record_event()
        with self._lock:
            self._sources.append((arrived, delivery.batch))
            while self._sources and self._sources[0][0].query():
                self._sources.popleft()
        return PendingTransfer(replace(delivery, batch=batch), arrived)

    def receive(self, sent: PendingTransfer) -> ReadBatch:
        """Return the batch; the caller's CUDA stream waits for the copy, this thread does not."""
        if sent.arrived is not None:
            import torch

            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(sent.arrived)
            for values in sent.delivery.batch.values():
                for part in (values.values, values.offsets) if isinstance(values, RaggedArray) else (values,):
                    if isinstance(part, torch.Tensor):
                        part.record_stream(stream)
        return sent.delivery

    def _copy(self, batch: Batch) -> Batch:
        import torch

        def copy(values: Any) -> Any:
            if isinstance(values, RaggedArray):
                return values.map(copy)
            return values.to(self.device, non_blocking=True) if isinstance(values, torch.Tensor) else values

        return {name: copy(values) for name, values in batch.items()}


class DeviceCache:
    """Cache samples on a device; a batch of cached samples is one `index_select` a field.

    Args:
        device: where they are cached.
        rows: samples of the source.
    """

    def __init__(self, device: "torch.device", rows: int) -> None:
        self._device = device
        self._tensors: dict[str, torch.Tensor] = {}
        self._lists: dict[str, list[Any]] = {}
        self._names: tuple[str, ...] = ()
        self._filled = np.zeros(rows, np.bool_)

    def has_batch(self, plan: BatchPlan) -> bool:
        """Return whether all samples of a batch are cached; none is ever removed."""
        return bool(self._filled[plan.rows].all())

    def load_batch(self, plan: BatchPlan) -> Batch:
        """Return the batch, in fresh memory."""
        import torch

        rows = torch.from_numpy(plan.rows).to(self._device)
        batch: Batch = {
            name: self._tensors[name].index_select(0, rows)
            if name in self._tensors
            else copy_values([self._lists[name][row] for row in plan.rows.tolist()])
            for name in self._names
        }
        return batch | {"valid": torch.from_numpy(plan.valid).to(self._device)}

    def store_batch(self, plan: BatchPlan, batch: Batch) -> None:
        """Store a batch that was read without a skip."""
        import torch

        rows = torch.from_numpy(plan.rows).to(self._device)
        for name, values in batch.items():
            if name == "valid":
                continue
            if isinstance(values, torch.Tensor):
                if name not in self._tensors:
                    self._tensors[name] = values.new_empty((len(self._filled), *values.shape[1:]))
                self._tensors[name].index_copy_(0, rows, values)
            else:
                cached = self._lists.setdefault(name, [None] * len(self._filled))
                for row, value in zip(plan.rows.tolist(), copy_values(values), strict=True):
                    cached[row] = value
        self._names = tuple(name for name in batch if name != "valid")
        self._filled[plan.rows] = True


def fits_device(data: SampleSource, device: "torch.device") -> bool:
    """Return whether the samples take at most half of the device's free memory."""
    import torch

    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return count_bytes(data) <= free // 2


def fits_memory(data: SampleSource) -> bool:
    """Return whether the samples take at most half of the free memory; a source without fixed shapes does not fit."""
    if data.names is None or not set(data.names) <= data.fields.keys():
        return False
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not known on this system
        return False
    return count_bytes(data) <= min(free, find_memory_limit()) // 2


def count_bytes(data: SampleSource) -> int:
    """Return the bytes that the fields of all samples take as arrays."""
    return data.count_rows() * sum(field.nbytes for field in data.fields.values())
