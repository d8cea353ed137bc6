"""Batches on an accelerator: copied there beside the work, or kept there."""

import os
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from shardwright.datasets.base import Batch, SampleSource
from shardwright.datasets.cached import copy_values
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
    """A batch under way to the device; `arrived` is a CUDA event, or None where the copy is done."""

    delivery: ReadBatch
    arrived: Any = None


class DeviceTransfer:
    """Copies batches to a device: on a stream of its own from page-locked memory with CUDA, plainly otherwise.

    Args:
        device: as PyTorch names it, such as "cuda", "cuda:1", "cpu".
    """

    def __init__(self, device: "str | torch.device") -> None:
        import torch

        self.device = torch.device(device)
        self._stream: Any = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._sources: deque[tuple[Any, Batch]] = deque()  # not to be written again before their event
        self._lock = threading.Lock()

    @property
    def pinned(self) -> bool:
        """Whether the copies want page-locked memory."""
        return self._stream is not None

    def send(self, delivery: ReadBatch) -> PendingTransfer:
        """Begin to copy the tensors of a batch; called by the thread that read it."""
        if self._stream is None:
            return PendingTransfer(ReadBatch(self._copy(delivery.batch), delivery.skips))
        import torch

        with torch.cuda.stream(self._stream):
            batch = self._copy(delivery.batch)
            arrived = self._stream.record_event()
        with self._lock:
            self._sources.append((arrived, delivery.batch))
            while self._sources and self._sources[0][0].query():
                self._sources.popleft()
        return PendingTransfer(ReadBatch(batch, delivery.skips), arrived)

    def receive(self, sent: PendingTransfer) -> ReadBatch:
        """The batch, in the order of the caller's own stream: nothing is waited for but by the device."""
        if sent.arrived is not None:
            import torch

            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(sent.arrived)
            for values in sent.delivery.batch.values():
                if isinstance(values, torch.Tensor):
                    values.record_stream(stream)
        return sent.delivery

    def _copy(self, batch: Batch) -> Batch:
        import torch

        return {
            name: values.to(self.device, non_blocking=True) if isinstance(values, torch.Tensor) else values
            for name, values in batch.items()
        }


class DeviceCache:
    """Samples that stay on a device once they came there; a batch of them is one `index_select` a field.

    Args:
        device: where.
        rows: samples there are.
    """

    def __init__(self, device: "torch.device", rows: int) -> None:
        self._device = device
        self._tensors: dict[str, torch.Tensor] = {}
        self._lists: dict[str, list[Any]] = {}
        self._names: tuple[str, ...] = ()
        self._filled = np.zeros(rows, np.bool_)

    def holds(self, plan: BatchPlan) -> bool:
        """Whether all samples of a batch are there; what is there stays."""
        return bool(self._filled[plan.rows].all())

    def take(self, plan: BatchPlan) -> Batch:
        """The batch, in fresh memory."""
        import torch

        rows = torch.from_numpy(plan.rows).to(self._device)
        batch: Batch = {
            name: self._tensors[name].index_select(0, rows)
            if name in self._tensors
            else copy_values([self._lists[name][row] for row in plan.rows.tolist()])
            for name in self._names
        }
        return batch | {"valid": torch.from_numpy(plan.valid).to(self._device)}

    def keep(self, plan: BatchPlan, batch: Batch) -> None:
        """Store a batch that was read whole, without a skip."""
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
                kept = self._lists.setdefault(name, [None] * len(self._filled))
                for row, value in zip(plan.rows.tolist(), copy_values(values), strict=True):
                    kept[row] = value
        self._names = tuple(name for name in batch if name != "valid")
        self._filled[plan.rows] = True


def fits_device(data: SampleSource, device: "torch.device") -> bool:
    """Whether the samples take no more than half of the memory that is free there."""
    import torch

    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return count_bytes(data) <= free // 2


def fits_memory(data: SampleSource) -> bool:
    """Whether the samples take no more than half of the memory that is free here; what has no size does not fit."""
    if data.names is None or not set(data.names) <= data.fields.keys():
        return False
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not said here
        return False
    return count_bytes(data) <= min(free, find_memory_limit()) // 2


def count_bytes(data: SampleSource) -> int:
    """Bytes that the fields of all samples take."""
    return data.count_rows() * sum(field.nbytes for field in data.fields.values())
