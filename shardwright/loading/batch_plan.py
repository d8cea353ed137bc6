"""Plan which samples make up each batch: arithmetic on positions, the same in every process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import ShardwrightError

Uneven = Literal["pad", "drop", "error"]
PLANNED_POSITIONS = 16_384
"""Positions that are permuted at a time: a call costs some 100 microseconds however few they are."""


@dataclass(frozen=True)
class BatchPlan:
    """One batch to be read; all arrays have the shape (batch,).

    Attributes:
        positions: int64, in the epoch.
        rows: int64, row numbers of the samples.
        valid: bool, False where a sample is repeated as padding.
    """

    positions: NDArray[np.int64]
    rows: NDArray[np.int64]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class RankShares:
    """Assign the positions of an epoch to ranks, and divide the share of this rank into batches.

    Rank r of w takes the positions p with p ≡ r modulo w. Its share is divided into batches of `batch_size`; the last
    one is smaller where it is not full, and is omitted with `drop_last`. With `steps_multiple` the number of batches is
    a multiple of it: "pad" adds repeats, and makes the last batch full; "drop" and `drop_last` omit batches.

    Args:
        count: samples in an epoch.
        uneven: what to do where world_size does not divide the samples: "pad" repeats the last positions and marks
            them; "drop" omits the last ones; "error" raises.
        steps_multiple: of which the batches of an epoch must be a multiple.
        steps_per_epoch: batches after which an epoch ends; None is all.

    Raises:
        ValueError: a number is out of range, or `uneven` is "error" and world_size does not divide the samples, or
            steps_multiple the batches; or steps_per_epoch is no multiple of it, or more than there are.
    """

    count: int
    batch_size: int
    rank: int = 0
    world_size: int = 1
    uneven: Uneven = "pad"
    drop_last: bool = False
    steps_multiple: int = 1
    steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; it must be at least 1")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank is {self.rank}; it must be at least 0 and below world_size ({self.world_size})")
        if self.uneven not in ("pad", "drop", "error"):
            raise ValueError(f'uneven is {self.uneven!r}; it must be "pad", "drop" or "error"')
        if self.uneven == "error" and self.count % self.world_size:
            raise ValueError(
                f"{self.count} samples cannot be divided evenly among {self.world_size} ranks; "
                'uneven="pad" repeats some, uneven="drop" omits some'
            )
        if self.steps_multiple < 1:
            raise ValueError(f"steps_multiple is {self.steps_multiple}; it must be at least 1")
        if self.uneven == "error" and not self.drop_last and self._share_steps % self.steps_multiple:
            raise ValueError(
                f"{self._share_steps} batches are not a multiple of steps_multiple ({self.steps_multiple}); "
                'uneven="pad" repeats some samples, uneven="drop" omits some batches'
            )
        limit = self.steps_per_epoch
        if limit is not None and (limit < 1 or limit % self.steps_multiple or limit > self._all_steps):
            raise ValueError(
                f"steps_per_epoch is {limit}; it must be a multiple of steps_multiple ({self.steps_multiple}) from 1 "
                f"to {self._all_steps}, the batches that the samples give each rank; None is all of them"
            )

    @property
    def size(self) -> int:
        """Positions of a rank, the same for every rank."""
        if self.steps > self._share_steps:
            return self.steps * self.batch_size
        return min(self._share, self.steps * self.batch_size) if self.steps_multiple > 1 else self._share

    @property
    def _share(self) -> int:
        """Positions of a rank before batches are made a multiple."""
        even, rest = divmod(self.count, self.world_size)
        return even + (rest > 0 and self.uneven == "pad" and not self.drop_last)

    @property
    def _share_steps(self) -> int:
        """Batches of that share."""
        return self._share // self.batch_size if self.drop_last else -(-self._share // self.batch_size)

    @property
    def global_batch(self) -> int:
        """Positions of a full batch, over all ranks."""
        return self.batch_size * self.world_size

    @property
    def steps(self) -> int:
        """Batches in an epoch, the same for every rank."""
        return self._all_steps if self.steps_per_epoch is None else self.steps_per_epoch

    @property
    def _all_steps(self) -> int:
        """Batches that the samples give each rank."""
        pads = self.uneven == "pad" and not self.drop_last
        multiples = -(-self._share_steps // self.steps_multiple) if pads else self._share_steps // self.steps_multiple
        return multiples * self.steps_multiple

    def explain_no_steps(self, unit: str) -> str:
        """Return why an epoch has no batch, and what to do; `unit` is what `count` counts."""
        numbers = f"{self.count} {unit}, of which a step of all {self.world_size} ranks takes {self.global_batch}"
        omits = [f"steps_multiple={self.steps_multiple}"] * (self.steps_multiple > 1)
        omits = ["drop_last"] * self.drop_last + ['uneven="drop"'] * (self.uneven == "drop") + omits
        if not self.count:
            return f"there are 0 {unit}; look at the split, and at what filters leave"
        return f"{numbers}, and less is left out by {', '.join(omits)}; make batches smaller, or change that"

    def list_positions(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the positions `start` to `stop` of this rank's share; those beyond the epoch are padding."""
        return self.rank + self.world_size * np.arange(start, min(stop, self.size), dtype=np.int64)

    def fold(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Replace positions beyond the epoch by its last ones, counted backwards."""
        beyond = (positions - self.count) % max(1, self.count)
        return np.where(positions < self.count, positions, self.count - 1 - beyond)

    def plan(self, find_rows: Callable[[NDArray[np.int64]], NDArray[np.int64]], step: int = 0) -> Iterator[BatchPlan]:
        """Yield the batches of an epoch from `step` on; `find_rows` returns the rows at positions of the epoch."""
        size, end = self.batch_size, min(self.size, self.steps * self.batch_size)
        block = max(1, PLANNED_POSITIONS // size) * size
        for start in range(step * size, end, block):
            padded = self.list_positions(start, min(start + block, end))
            positions = self.fold(padded)
            rows, valid = find_rows(positions), padded < self.count
            if len(rows) != len(positions):
                raise ShardwrightError(f"the source returned {len(rows)} rows for {len(positions)} positions")
            for at in range(0, len(rows), size):
                part = slice(at, at + size)
                yield BatchPlan(positions[part], rows[part], valid[part].copy())
