"""Reads one planned batch: around what is damaged if that is wanted, and into tensors."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import Batch, ReadContext, SampleSource
from shardwright.errors import DamageError, ShardwrightError
from shardwright.format.index import decode_key
from shardwright.loading.batch_plan import BatchPlan
from shardwright.storage.file_set import FileSet

OnError = Literal["raise", "skip"]
LOGGER = logging.getLogger("shardwright")


@dataclass(frozen=True)
class Skip:
    """A sample that was left out because it is damaged.

    Attributes:
        epoch: in which.
        row: the sample's number.
        sample, shard, field, offset: where the damage is, as far as it is known, see `DamageError`.
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
    """A batch as read, and what was skipped for it."""

    batch: Batch
    skips: tuple[Skip, ...] = ()


@dataclass(frozen=True)
class ReadTask:
    """A batch to read: its epoch, its plan, and the windows that its bytes are in, where it is read through windows."""

    epoch: int
    plan: BatchPlan
    windows: tuple["Future[FileSet]", ...] = ()


@dataclass(frozen=True)
class BatchReader:
    """Reads batches; it may be sent to another process.

    Attributes:
        data: what is read.
        reading: how.
        on_error: whether a damaged sample is an error, or left out and recorded.
    """

    data: SampleSource
    reading: ReadContext
    on_error: OnError

    def read(self, task: ReadTask) -> ReadBatch:
        """The batch, with `valid`.

        Raises:
            DamageError: a sample is damaged and is not to be skipped, or all others are damaged as well.
            ShardwrightError: the source gave fewer samples, or more, than were asked for.
        """
        reading, plan = replace(self.reading, epoch=task.epoch), task.plan
        if task.windows:
            from shardwright.storage.windows import join_windows

            reading = replace(reading, files=join_windows([window.result() for window in task.windows]))
        try:
            return ReadBatch(self._gather(plan.rows, reading) | {"valid": plan.valid})
        except DamageError:
            if self.on_error == "raise":
                raise
            return self._read_around(plan, reading)

    def _read_around(self, plan: BatchPlan, reading: ReadContext) -> ReadBatch:
        """The batch with other samples, marked as repeats, in the places of those that are damaged."""
        wanted = dict.fromkeys(plan.rows.tolist())  # each once: a repeat that fills up may stand beside its sample
        errors = {row: error for row in wanted if (error := self._try_sample(row, reading)) is not None}
        sound = next((row for row in wanted if row not in errors), None)
        filler = self._find_sound(int(plan.rows[0]), reading) if sound is None else sound
        damaged = np.isin(plan.rows, list(errors))
        rows, valid = np.where(damaged, filler, plan.rows), plan.valid & ~damaged
        inside = replace(reading, files=None) if sound is None else reading  # a neighbour may stand outside the window
        skips = [self._record_skip(reading.epoch, row, error) for row, error in errors.items()]
        return ReadBatch(self._gather(rows, inside) | {"valid": valid}, tuple(skips))

    def _gather(self, rows: NDArray[np.int64], reading: ReadContext) -> Batch:
        batch = self.data.gather(rows, reading)
        if len(batch["key"]) != len(rows):
            raise ShardwrightError(f"{self.data!r} gave {len(batch['key'])} samples, {len(rows)} were asked for")
        return batch

    def _try_sample(self, row: int, reading: ReadContext) -> DamageError | None:
        try:
            self.data.gather([row], reading)
        except DamageError as error:
            return error
        return None

    def _find_sound(self, row: int, reading: ReadContext) -> int:
        """The next sample from `row` on that is not damaged.

        Raises:
            DamageError: there is none near; it is that of the last one looked at, and says so.
        """
        rows = self.data.count_rows()
        count = min(rows, MAX_SEARCH)
        errors = (self._try_sample((row + step) % rows, replace(reading, files=None)) for step in range(count))
        for step, error in enumerate(errors):
            if error is None:
                return (row + step) % rows
        assert error is not None  # `row` itself at least is damaged
        raise DamageError(
            f"all {count} samples from number {row} on are damaged, none can stand in; the last: {error}",
            shard=error.shard,
            sample=error.sample,
            field=error.field,
            offset=error.offset,
        ) from error

    def _record_skip(self, epoch: int, row: int, error: DamageError) -> Skip:
        sample = error.sample
        if sample is None:  # a file that is cut or gone knows nothing of samples
            sample = decode_key(self.data.keys[row])
        return Skip(epoch, row, sample, error.shard, error.field, error.offset, str(error))


MAX_SEARCH = 1000
"""Samples that are looked at for one to stand in for a damaged batch."""


def to_tensors(delivery: ReadBatch) -> ReadBatch:
    """The batch with its arrays of numbers as tensors that share their memory; all else as it is."""
    return replace(delivery, batch={name: _to_tensor(values) for name, values in delivery.batch.items()})


def _to_tensor(values: Any) -> Any:
    import torch

    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biufc":
        return values
    try:
        return torch.from_numpy(values)
    except TypeError:  # a dtype that PyTorch has not, such as long double
        return values


def log_skips(skips: Sequence[Skip]) -> None:
    """Say what was skipped to whoever listens to the logger `shardwright`."""
    for skip in skips:
        LOGGER.warning("skipped a damaged sample: %s", skip.what)
