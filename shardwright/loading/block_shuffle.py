"""Shuffle an epoch by blocks, so that the disk is still read sequentially.

Samples lie on disk in blocks. The blocks are permuted; each run of `blocks_per_window` of them is a window; within a
window the samples are permuted. So an epoch is one window after another, and a loader holds one or two of them in
memory at a time.

The order is not uniformly random, as `shardwright.datasets.permutation` is. Samples of a block are always in one
window, the rest of the window is chosen block by block, and a window ends before the next begins: of the (count)!
orders most cannot occur, and a batch from a window of few blocks resembles its neighbours on disk. With 64 blocks or
more a window, and samples written in random or hash order as the pipeline writes them, this does not matter; a set that
was written class by class needs many small blocks in a window, or the global order.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.permutation import permute


@dataclass(frozen=True, eq=False)
class BlockOrder:
    """Compute the row and the window at each position of an epoch: pure arithmetic, nothing stored.

    Windows are numbered in the order of their positions, from 0. It takes 32 bytes a block, and some 100 ns a block
    for the first call.

    Attributes:
        starts: the row that each block starts at, int64 (blocks,), ascending from 0.
        count: samples in the epoch.
        blocks_per_window: at least 1; the last window has the rest.
        seed, epoch: any ints.
        shuffle: False keeps the rows in index order, divided into the same number of windows.

    Raises:
        ValueError: the starts do not ascend from 0 to below `count`, or `blocks_per_window` is below 1.
    """

    starts: NDArray[np.int64]
    count: int
    blocks_per_window: int
    seed: int
    epoch: int
    shuffle: bool

    def __post_init__(self) -> None:
        bounds = np.append(self.starts, self.count)
        if bounds[0] != 0 or (np.diff(bounds) <= 0).any():
            raise ValueError(f"block starts are {self.starts}; they must ascend from 0 to below {self.count} samples")
        if self.blocks_per_window < 1:
            raise ValueError(f"blocks_per_window is {self.blocks_per_window}; it must be at least 1")

    @property
    def windows(self) -> int:
        """Windows in the epoch."""
        return -(-len(self.starts) // self.blocks_per_window)

    def find_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows at these positions: over all positions, each row exactly once.

        Args:
            positions: int64 (any,), each in 0 … count-1, in any order.

        Returns:
            int64, the shape of `positions`.
        """
        if not self.shuffle:
            return positions.astype(np.int64)
        windows = self.find_windows(positions)
        unmixed = positions.astype(np.int64)  # positions before the samples of a window are permuted
        order = np.argsort(windows, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(windows[order])) + 1):
            if len(group):
                window = int(windows[group[0]])
                start, stop = self.window_positions(window)
                key = self._derive_key(f"window {window}")
                unmixed[group] = start + permute(positions[group] - start, stop - start, key, self.epoch)
        nth = np.searchsorted(self._ends, unmixed, side="right")
        blocks = self._blocks[nth]
        rows: NDArray[np.int64] = self.starts[blocks] + unmixed - (self._ends[nth] - self._sizes[blocks])
        return rows

    def find_windows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the window that each position is in: int64, the shape of `positions`."""
        windows: NDArray[np.int64] = np.searchsorted(self._window_stops, positions, side="right")
        return windows

    def window_positions(self, window: int) -> tuple[int, int]:
        """Return the first position of a window, and the one after its last."""
        return int(self._window_stops[window - 1]) if window else 0, int(self._window_stops[window])

    def list_rows(self, window: int) -> NDArray[np.int64]:
        """Return the rows of a window, int64, ascending."""
        first = window * self.blocks_per_window
        blocks = np.sort(self._blocks[first : first + self.blocks_per_window])
        sizes = self._sizes[blocks]
        before = np.cumsum(sizes) - sizes
        return np.repeat(self.starts[blocks] - before, sizes) + np.arange(sizes.sum())

    @cached_property
    def _blocks(self) -> NDArray[np.int64]:
        """The blocks in the order of the epoch."""
        numbers = np.arange(len(self.starts))
        return permute(numbers, len(numbers), self._derive_key("blocks"), self.epoch) if self.shuffle else numbers

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        """Samples a block, by block number."""
        return np.diff(np.append(self.starts, self.count))

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """The position after each block, in the order of the epoch."""
        return np.cumsum(self._sizes[self._blocks])

    @cached_property
    def _window_stops(self) -> NDArray[np.int64]:
        """The position after each window."""
        lasts = np.arange(1, self.windows + 1) * self.blocks_per_window - 1
        return self._ends[np.minimum(lasts, len(self.starts) - 1)]

    def _derive_key(self, purpose: str) -> int:
        """Return a separate 64-bit seed for one permutation of this epoch."""
        text = f"{self.seed} {self.epoch} {len(self.starts)} {self.blocks_per_window} {purpose}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
