"""Hold the index of a split in memory, the part of each shard from when one of its samples is first used."""

import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import DamageError
from shardwright.format.index import Index

ReadIndexes = Callable[[Sequence[int]], Iterable[tuple[int, Index]]]
"""Reads and checks the indexes of the shards with these numbers; returns each with its number, in any order."""


def close_nothing() -> None:
    """Do nothing: there is no file to close."""


class IndexRows:
    """The rows of a split's index, those of each shard once they are loaded; thread-safe without a lock.

    Two threads that need the same shard may both read it: they write the same bytes, and a shard counts as loaded when
    all its rows are there.

    Args:
        rows: of all samples in order. Zeros from `reserve_rows` where `read` is given, else complete.
        counts: samples of each shard, int64 (shards,).
        read: reads the indexes of shards that are not loaded; None where all rows are there.
        close: closes the files that `read` reads.

    Attributes:
        rows: see above; they may be used once `load` has returned.
    """

    def __init__(
        self,
        rows: Index,
        counts: NDArray[np.int64],
        read: ReadIndexes | None = None,
        close: Callable[[], None] = close_nothing,
    ) -> None:
        self.rows = rows
        self.close = close
        self._stops = np.cumsum(counts)
        self._loaded = counts == 0 if read else np.ones(len(counts), np.bool_)
        self._complete = bool(self._loaded.all())
        self._read = read

    def load(self, shards: NDArray[np.int64]) -> None:
        """Load the rows of the shards with these numbers, int64 (any,), which may repeat.

        Raises:
            DamageError: an index is damaged; the others may not be loaded.
            OSError: an index cannot be read, or fetched.
        """
        if self._complete or self._loaded[shards].all():
            return
        for number, index in self._read_pending(np.unique(shards[~self._loaded[shards]])):
            self.rows[self._stops[number] - len(index) : self._stops[number]] = index
            self._loaded[number] = True
        self._complete = bool(self._loaded.all())

    def load_all(self) -> Index:
        """Load and return all rows; raises what `load` does."""
        self.load(np.arange(len(self._loaded)))
        return self.rows

    def find_intact(self, shards: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Load the rows of shards as far as possible; return which of them are loaded: bool, the shape of `shards`.

        Raises:
            OSError: see `load`.
        """
        with suppress(DamageError):
            self.load(shards)
        for number in np.unique(shards[~self._loaded[shards]]):
            with suppress(DamageError):
                self.load(np.array([number]))
        return self._loaded[shards]

    def iterate(self) -> Iterator[Index]:
        """Yield the rows of each shard in order; those that are not loaded are read one index at a time, and not kept.

        Raises:
            DamageError, OSError: see `load`.
        """
        for number, loaded in enumerate(self._loaded.tolist()):
            first, stop = self._stops[number - 1] if number else 0, self._stops[number]
            if loaded:
                yield self.rows[first:stop]
            else:
                yield from (index for _, index in self._read_pending(np.array([number])))

    def _read_pending(self, numbers: NDArray[np.int64]) -> Iterable[tuple[int, Index]]:
        return self._read(numbers.tolist()) if self._read else ()


def reserve_rows(dtype: np.dtype[Any], samples: int) -> Index:
    """Return rows of zeros that take memory only once they are written to, and that forked processes share."""
    return np.frombuffer(mmap.mmap(-1, max(1, samples * dtype.itemsize)), dtype, samples)
