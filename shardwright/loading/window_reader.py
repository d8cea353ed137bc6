"""Read the windows of a block-shuffled epoch ahead of the batches that need them."""

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.loading.batch_plan import BatchPlan, RankShares
from shardwright.loading.batch_reader import ReadTask
from shardwright.loading.block_shuffle import BlockOrder
from shardwright.storage.file_set import FileSet


@dataclass(frozen=True)
class Blocks:
    """How an epoch is divided into blocks and read.

    Attributes:
        size: bytes of a block, which is contiguous on disk and read at once. Part of the order.
        per_window: blocks whose samples are shuffled together. Part of the order.
        ahead: windows that are read ahead of the one in use; each takes size × per_window bytes of memory.
        threads: threads that read windows.

    Raises:
        ValueError: a number is below 1.
    """

    size: int = 2 << 20
    per_window: int = 32
    ahead: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        for name, number in vars(self).items():
            if number < 1:
                raise ValueError(f"blocks.{name} is {number}; it must be at least 1")


DEFAULT_BLOCKS = Blocks()


class WindowReader:
    """Read each window once, `ahead` windows early, and release it after the last batch that needs it.

    Args:
        data: the source to read.
        order: of the epoch.
        shares: the share of this rank: other samples of a window are not read.
        pool: executor that reads windows; None reads a window when its first batch is planned.
        ahead: windows that are started beyond those in use.
    """

    def __init__(
        self, data: SampleSource, order: BlockOrder, shares: RankShares, pool: Executor | None = None, ahead: int = 1
    ) -> None:
        self._data = data
        self._order = order
        self._shares = shares
        self._pool = pool
        self._ahead = ahead if pool else 0
        self._windows: dict[int, Future[FileSet]] = {}

    def attach(self, plans: Iterator[BatchPlan], epoch: int) -> Iterator[ReadTask]:
        """Yield the plans, each with the windows that hold its samples; the plans must be in the order of the epoch."""
        for plan in plans:
            needed = np.unique(self._order.find_windows(plan.positions)).tolist()
            last = min(needed[-1] + self._ahead, self._order.windows - 1)
            for number in (*needed, *range(needed[-1] + 1, last + 1)):
                if number not in self._windows:
                    self._windows[number] = self._start(number)
            yield ReadTask(epoch, plan, tuple(self._windows[number] for number in needed))
            for number in [number for number in self._windows if number < needed[-1]]:
                del self._windows[number]  # batches that are being read hold theirs

    def _start(self, number: int) -> "Future[FileSet]":
        if self._pool:
            return self._pool.submit(self._open, number)
        opened: Future[FileSet] = Future()
        opened.set_result(self._open(number))
        return opened

    def _open(self, number: int) -> FileSet:
        start, stop = self._order.window_positions(number)
        positions = self._list_positions(start, stop)
        return self._data.open_window(np.sort(self._order.find_rows(positions)))

    def _list_positions(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the positions of this rank from `start` to `stop`, and those that it repeats as padding."""
        shares = self._shares
        positions = np.arange(start, stop, dtype=np.int64)
        padding = shares.list_positions(max(0, -(-(shares.count - shares.rank) // shares.world_size)), shares.size)
        repeats = shares.fold(padding)
        share = positions[positions % shares.world_size == shares.rank]
        return np.union1d(share, repeats[(repeats >= start) & (repeats < stop)])
