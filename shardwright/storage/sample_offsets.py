"""Where samples stand in the shards of a split: by arithmetic where all take the same room, else by the index."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.format.field import Field
from shardwright.format.index import Index
from shardwright.format.layout import plan_layout
from shardwright.format.manifest import ShardRecord

Members = Sequence[int] | NDArray[np.int64]
"""A number a member: the same for all samples, or int64 (members, samples)."""


class SampleOffsets(ABC):
    """Where the samples of a split stand; `plan_offsets` chooses the kind.

    Args:
        fields: of the samples.
        shards: of the split, in order.
        starts: the address that each shard starts at, int64 (shards,).

    Attributes:
        layout: of a sample, as far as it is the same for all.
    """

    def __init__(self, fields: Mapping[str, Field], shards: Sequence[ShardRecord], starts: NDArray[np.int64]) -> None:
        self.layout = plan_layout(fields, 0)  # the meta is last: all offsets hold in every shard
        self._starts = starts
        self._counts = np.array([shard.samples for shard in shards], np.int64)
        self._firsts = np.cumsum(self._counts) - self._counts
        self._strides = np.array([plan_layout(fields, shard.meta_bytes).stride for shard in shards], np.int64)

    def find_shards(self, rows: Any) -> Any:
        """The number of the shard that each sample is in."""
        return np.searchsorted(self._firsts, rows, side="right") - 1

    def find_offset(self, row: int, member: int) -> int:
        """Where the content of a member of one sample starts in its shard."""
        starts, offsets, _ = self.locate(np.array([row]))
        return int((starts + offsets[member])[0]) - int(self._starts[self.find_shards(row)])

    @abstractmethod
    def locate(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Members, Members]:
        """The addresses where these samples start, int64 (rows,); how far from there the contents of their members
        stand, and the sizes of these in bytes, without that of the meta."""

    @abstractmethod
    def measure(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bytes that each of these samples takes, headers and paddings included: int64 (rows,)."""

    @abstractmethod
    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """Where blocks of some `size` bytes, or one sample, start: int64 (blocks,), row numbers."""


class StridedOffsets(SampleOffsets):
    """Samples that all take the same room in a shard; see `SampleOffsets`."""

    def locate(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Members, Members]:
        """See `SampleOffsets.locate`."""
        shards = self.find_shards(rows)
        starts = self._starts[shards] + (rows - self._firsts[shards]) * self._strides[shards]
        return starts, self.layout.offsets, self.layout.sizes

    def measure(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `SampleOffsets.measure`."""
        strides: NDArray[np.int64] = self._strides[self.find_shards(rows)]
        return strides

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """See `SampleOffsets.cut_blocks`; of nearly equal numbers of samples."""
        starts = [np.zeros(0, np.int64)]
        for first, count, stride in zip(self._firsts, self._counts, self._strides, strict=True):
            blocks = -(-int(count) // max(1, size // int(stride)))
            starts.append(first + np.arange(blocks) * count // max(1, blocks))
        return np.concatenate(starts)


class IndexedOffsets(SampleOffsets):
    """Samples with members of sizes of their own, which the index has; see `SampleOffsets`.

    Args:
        index: of the split, once `read_index` has seen that its places are those of the shards.
    """

    def __init__(
        self, fields: Mapping[str, Field], shards: Sequence[ShardRecord], starts: NDArray[np.int64], index: Index
    ) -> None:
        super().__init__(fields, shards, starts)
        self._offsets, self._sizes = index["offset"], index["size"]

    def locate(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Members, Members]:
        """See `SampleOffsets.locate`."""
        starts = self._starts[self.find_shards(rows)] + self._offsets[rows].astype(np.int64)
        return starts, *self.layout.place(self._sizes[rows])

    def measure(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `SampleOffsets.measure`."""
        meta: NDArray[np.int64] = self._strides[self.find_shards(rows)] - self.layout.stride
        return self.layout.measure(self._sizes[rows]) + meta

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """See `SampleOffsets.cut_blocks`; of the samples that begin in the same `size` bytes of a shard."""
        starts = [np.zeros(0, np.int64)]
        for first, count in zip(self._firsts.tolist(), self._counts.tolist(), strict=True):
            parts = (self._offsets[first : first + count] // max(1, size)).astype(np.int64)
            starts.append(first + np.flatnonzero(np.diff(parts, prepend=-1)))
        return np.concatenate(starts)


def plan_offsets(
    fields: Mapping[str, Field], shards: Sequence[ShardRecord], starts: NDArray[np.int64], index: Index
) -> SampleOffsets:
    """The places of the samples in these shards."""
    if any(field.varies for field in fields.values()):
        return IndexedOffsets(fields, shards, starts, index)
    return StridedOffsets(fields, shards, starts)
