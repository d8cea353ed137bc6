"""Keep the samples of a source in memory once they were read."""

import copy
from collections.abc import Mapping
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Indices, ReadContext, resolve_rows
from shardwright.format.field import Field


class CachedSource(SampleSource):
    """Keep decoded samples until it is closed; each sample is read and checked once.

    Memory is filled as samples are read, and ends up holding all fields and all decoded values without a fixed shape.
    Several threads may read at once.

    Args:
        base: the source to read.
    """

    def __init__(self, base: SampleSource) -> None:
        self._base = base
        self.split = base.split
        self._arrays: dict[str, NDArray[Any]] = {}
        self._lists: dict[str, list[Any]] = {}
        self._names: tuple[str, ...] = ()
        self._filled = np.zeros(base.count_rows(), np.bool_)

    @property
    def fields(self) -> Mapping[str, Field]:
        """See `SampleSource.fields`."""
        return self._base.fields

    @property
    def names(self) -> tuple[str, ...] | None:
        """See `SampleSource.names`."""
        return self._base.names

    @property
    def classes(self) -> tuple[str, ...] | None:
        """See `SampleSource.classes`."""
        return self._base.classes

    @property
    def hash(self) -> str:
        """The hash of the base."""
        return self._base.hash

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """See `SampleSource.keys`."""
        return self._base.keys

    def __len__(self) -> int:
        return len(self._base)

    def count_rows(self) -> int:
        """See `SampleSource.count_rows`."""
        return self._base.count_rows()

    def shuffle_rows(self, positions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """See `SampleSource.shuffle_rows`."""
        return self._base.shuffle_rows(positions, seed, epoch)

    def list_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `SampleSource.list_rows`."""
        return self._base.list_rows(positions)

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """See `SampleSource.gather`."""
        rows = resolve_rows(indices, self.count_rows(), self.split)
        missing = np.unique(rows[~self._filled[rows]])
        if len(missing):
            self._store(missing, self._base.gather(missing, ReadContext(seed=context.seed, epoch=context.epoch)))
        requested = self._names if context.fields is None else ("key", *context.fields)
        return {
            name: self._arrays[name][rows]
            if name in self._arrays
            else copy_values([self._lists[name][row] for row in rows.tolist()])
            for name in self._names
            if name in requested
        }

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """See `SampleSource.meta`; read from the base each time."""
        return self._base.meta(index)

    def find_key(self, index: SupportsIndex) -> str:
        """See `SampleSource.find_key`."""
        return self._base.find_key(index)

    def find_shard(self, index: SupportsIndex) -> str | None:
        """See `SampleSource.find_shard`."""
        return self._base.find_shard(index)

    def close(self) -> None:
        """Close the base and free the memory."""
        self._base.close()
        self._arrays, self._lists, self._filled[:] = {}, {}, False

    def __repr__(self) -> str:
        return f"Cached({self._base!r})"

    def _store(self, rows: NDArray[np.int64], batch: Batch) -> None:
        """Store samples. Threads that read the same one write the same values."""
        for name, values in batch.items():
            if isinstance(values, np.ndarray):
                if name not in self._arrays:
                    self._arrays.setdefault(name, np.empty((len(self._filled), *values.shape[1:]), values.dtype))
                self._arrays[name][rows] = values
            else:
                cached = self._lists.setdefault(name, [None] * len(self._filled))
                for row, value in zip(rows.tolist(), values, strict=True):
                    cached[row] = value
        self._names = tuple(batch)
        self._filled[rows] = True


def copy_values(values: list[Any]) -> list[Any]:
    """Return copies, so that changes to a batch do not reach the cache."""
    return [value if isinstance(value, str | bytes) else copy.deepcopy(value) for value in values]
