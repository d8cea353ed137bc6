"""Read one planned batch, skip damaged samples if requested, and convert arrays to tensors."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.ragged import RaggedArray
from shardwright.datasets.read_context import Batch, ReadContext
from shardwright.errors import DamageError, ShardwrightError
from shardwright.loading.batch_plan import BatchPlan
from shardwright.storage.file_set import FileSet

OnError = Literal["raise", "skip"]
LOGGER = logging.getLogger("shardwright")
MAX_SEARCH = 1000
"""Samples that are tried as a replacement where all samples of a batch are damaged."""


@dataclass(frozen=True)
class Skip:
    """A sample that was skipped because it is damaged.

    Attributes:
        epoch: the epoch it was skipped in.
        row: the sample's row number.
        sample, shard, field, offset: where the damage is, as far as known, see `DamageError`.
        what: the error's message.
    """

    epoch: int
    row: int
    sample: str | None
    shard: str | None
    field: str | None
    offset: int | None
    what: str


@dataclass(frozen=True)
class ReadBatch:
    """A batch as read.

    Attributes:
        batch: with `valid`.
        samples: how many are valid: a batch on a device would have to be waited for to count them.
        skips: the damaged samples that were skipped for it.
        omitted: samples that transforms left out.
        seconds: that reading it took.
    """

    batch: Batch
    samples: int
    skips: tuple[Skip, ...] = ()
    omitted: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class ReadTask:
    """A batch to read: its epoch, its plan, and the windows that hold its bytes, if it is read through windows."""

    epoch: int
    plan: BatchPlan
    windows: tuple["Future[FileSet]", ...] = ()


@dataclass(frozen=True)
class BatchReader:
    """Read batches; picklable, so that it can be sent to worker processes.

    Attributes:
        data: the source to read.
        context: passed to the source with each read, with the epoch of the task.
        on_error: whether a damaged sample raises, or is skipped and recorded.
    """

    data: SampleSource
    context: ReadContext
    on_error: OnError

    def read(self, task: ReadTask) -> ReadBatch:
        """Return the batch, with `valid`.

        Raises:
            DamageError: a sample is damaged and must not be skipped, or no intact sample was found to replace it.
            ShardwrightError: the source returned fewer or more samples than requested.
        """
        start = time.perf_counter()
        context, plan = replace(self.context, epoch=task.epoch), task.plan
        if task.windows:
            from shardwright.storage.windows import join_windows

            context = replace(context, files=join_windows([window.result() for window in task.windows]))
        try:
            delivery = self._gather(plan.rows, plan.valid, context)
        except DamageError:
            if self.on_error == "raise":
                raise
            delivery = self._read_intact(plan, context)
        return replace(delivery, seconds=time.perf_counter() - start)

    def _read_intact(self, plan: BatchPlan, context: ReadContext) -> ReadBatch:
        """Return the batch with each damaged sample replaced by an intact one, with `valid` False."""
        requested = dict.fromkeys(plan.rows.tolist())  # each once: a repeat as padding may be beside its sample
        errors = {row: error for row in requested if (error := self._try_sample(row, context)) is not None}
        intact = next((row for row in requested if row not in errors), None)
        filler = self._find_intact(int(plan.rows[0]), context) if intact is None else intact
        damaged = np.isin(plan.rows, list(errors))
        rows, valid = np.where(damaged, filler, plan.rows), plan.valid & ~damaged
        inside = replace(context, files=None) if intact is None else context  # a neighbour may be outside the window
        skips = [self._record_skip(context.epoch, row, error) for row, error in errors.items()]
        return replace(self._gather(rows, valid, inside), skips=tuple(skips))

    def _gather(self, rows: NDArray[np.int64], valid: NDArray[np.bool_], context: ReadContext) -> ReadBatch:
        omitted: set[int] = set()
        batch = self.data.gather(rows, replace(context, omit=omitted.add))
        if len(batch["key"]) != len(rows):
            raise ShardwrightError(f"{self.data!r} returned {len(batch['key'])} samples; {len(rows)} were requested")
        valid = valid & ~np.isin(np.arange(len(rows)), list(omitted)) if omitted else valid
        return ReadBatch(batch | {"valid": valid}, int(valid.sum()), omitted=len(omitted))

    def _try_sample(self, row: int, context: ReadContext) -> DamageError | None:
        try:
            self.data.gather([row], replace(context, omit=lambda position: None))
        except DamageError as error:
            return error
        return None

    def _find_intact(self, row: int, context: ReadContext) -> int:
        """Return the row of the first sample from `row` on that is not damaged.

        Raises:
            DamageError: none of the next `MAX_SEARCH` is intact; it locates the last one that was tried.
        """
        rows = self.data.count_rows()
        count = min(rows, MAX_SEARCH)
        errors = (self._try_sample((row + step) % rows, replace(context, files=None)) for step in range(count))
        for step, error in enumerate(errors):
            if error is None:
                return (row + step) % rows
        assert error is not None  # `row` itself at least is damaged
        raise DamageError(
            f"all {count} samples from row {row} on are damaged, so none can replace it; the last: {error}",
            shard=error.shard,
            sample=error.sample,
            field=error.field,
            offset=error.offset,
        ) from error

    def _record_skip(self, epoch: int, row: int, error: DamageError) -> Skip:
        sample = error.sample
        if sample is None:  # the error of a shard that is cut or missing names no sample
            with suppress(DamageError):  # of the index, which has the key
                sample = self.data.find_key(row)
        return Skip(epoch, row, sample, error.shard, error.field, error.offset, str(error))


def to_tensors(delivery: ReadBatch) -> ReadBatch:
    """Return the batch with its numeric arrays as tensors that share their memory; other values are unchanged."""
    return replace(delivery, batch={name: _to_tensor(values) for name, values in delivery.batch.items()})


def _to_tensor(values: Any) -> Any:
    import torch

    if isinstance(values, RaggedArray):
        return values.map(_to_tensor)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biufc":
        return values
    try:
        return torch.from_numpy(values)
    except TypeError:  # a dtype that PyTorch lacks, such as long double
        return values


def log_skips(skips: Sequence[Skip]) -> None:
    """Log each skipped sample as a warning of the logger `shardwright`."""
    for skip in skips:
        LOGGER.warning("skipped a damaged sample: %s", skip.what)
