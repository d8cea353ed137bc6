"""Which samples make which batch: arithmetic on positions, the same in every process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import ShardwrightError

Uneven = Literal["pad", "drop", "error"]
PLANNED_POSITIONS = 16_384
"""Positions that are permuted at a time: one call costs some 100 microseconds however few they are."""


@dataclass(frozen=True)
class BatchPlan:
    """One batch to come, all int64 or bool of shape (batch,).

    Attributes:
        positions: in the epoch.
        rows: the samples' numbers.
        valid: False where a sample is a repeat that only fills up.
    """

    positions: NDArray[np.int64]
    rows: NDArray[np.int64]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class RankShares:
    """How the positions of an epoch are dealt to ranks and cut into batches.

    Rank r of w takes the positions p with p ≡ r modulo w. A share is cut into batches of `batch_size`; the last one is
    smaller where it does not fill up, and is left out with `drop_last`.

    Args:
        count: samples in an epoch.
        uneven: where the ranks do not divide the samples: "pad" repeats the last positions, and marks them; "drop"
            leaves the last ones out; "error" refuses.

    Raises:
        ValueError: a number is out of range, or `uneven` is "error" and the ranks do not divide the samples.
    """

    count: int
    batch_size: int
    rank: int = 0
    world_size: int = 1
    uneven: Uneven = "pad"
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1 or not 0 <= self.rank < self.world_size:
            raise ValueError(
                f"batch_size {self.batch_size} must be at least 1, and rank {self.rank} one of the "
                f"{self.world_size} of world_size"
            )
        if self.uneven not in ("pad", "drop", "error"):
            raise ValueError(f'uneven {self.uneven!r} must be "pad", "drop" or "error"')
        if self.uneven == "error" and self.count % self.world_size:
            raise ValueError(
                f"{self.count} samples cannot be dealt evenly to {self.world_size} ranks; "
                'uneven="pad" repeats some, uneven="drop" leaves some out'
            )

    @property
    def size(self) -> int:
        """Positions of a rank, the same for every rank."""
        even, rest = divmod(self.count, self.world_size)
        return even + (rest > 0 and self.uneven == "pad" and not self.drop_last)

    @property
    def global_batch(self) -> int:
        """Positions of a full batch of all ranks."""
        return self.batch_size * self.world_size

    @property
    def steps(self) -> int:
        """Batches in an epoch, the same for every rank."""
        return self.size // self.batch_size if self.drop_last else -(-self.size // self.batch_size)

    def list_positions(self, start: int, stop: int) -> NDArray[np.int64]:
        """The positions of this rank from place `start` to `stop` of its share; those beyond the epoch are repeats."""
        return self.rank + self.world_size * np.arange(start, min(stop, self.size), dtype=np.int64)

    def fold(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions, with those beyond the epoch turned into the last ones, counted backwards."""
        beyond = (positions - self.count) % max(1, self.count)
        return np.where(positions < self.count, positions, self.count - 1 - beyond)

    def plan(self, draw: Callable[[NDArray[np.int64]], NDArray[np.int64]], step: int = 0) -> Iterator[BatchPlan]:
        """The batches of an epoch from this step on; `draw` gives the samples at positions."""
        size, end = self.batch_size, min(self.size, self.steps * self.batch_size)
        block = max(1, PLANNED_POSITIONS // size) * size
        for start in range(step * size, end, block):
            dealt = self.list_positions(start, min(start + block, end))
            positions = self.fold(dealt)
            rows, valid = draw(positions), dealt < self.count
            if len(rows) != len(positions):
                raise ShardwrightError(f"{len(rows)} samples were drawn for {len(positions)} positions")
            for at in range(0, len(rows), size):
                part = slice(at, at + size)
                yield BatchPlan(positions[part], rows[part], valid[part].copy())
