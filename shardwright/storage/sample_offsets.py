"""Locate samples in the shards of a split: by arithmetic where all have the same size, else by the index."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.format import tar
from shardwright.format.field import Field
from shardwright.format.index import Index
from shardwright.format.layout import plan_layout
from shardwright.format.manifest import ShardRecord

Members = Sequence[int] | NDArray[np.int64]
"""A number for each member: the same for all samples, or int64 (members, samples)."""


class SampleOffsets(ABC):
    """The offsets of the samples of a split; `plan_offsets` chooses the subclass.

    Args:
        fields: of the samples.
        shards: of the split, in order.
        starts: the address of each shard's first byte, int64 (shards,).

    Attributes:
        layout: of a sample, as far as it is the same for all.
    """

    def __init__(self, fields: Mapping[str, Field], shards: Sequence[ShardRecord], starts: NDArray[np.int64]) -> None:
        self.layout = plan_layout(fields, 0)  # the meta is last: all offsets hold in every shard
        self._starts = starts
        self._counts = np.array([shard.samples for shard in shards], np.int64)
        self._firsts = np.cumsum(self._counts) - self._counts
        self._strides = np.array([self.layout.find_stride(shard.meta_bytes) for shard in shards], np.int64)
        self._bytes = np.array([shard.bytes - len(tar.END) for shard in shards], np.int64)

    def find_shards(self, rows: Any) -> Any:
        """Return the number of the shard that each sample is in."""
        return np.searchsorted(self._firsts, rows, side="right") - 1

    def find_offset(self, row: int, member: int) -> int:
        """Return the offset in its shard of the content of a sample's member."""
        starts, offsets, _ = self.locate(np.array([row]))
        return int((starts + offsets[member])[0]) - int(self._starts[self.find_shards(row)])

    @abstractmethod
    def locate(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Members, Members]:
        """Return the addresses of samples, int64 (rows,), and offset and size of their members' contents.

        Offsets count from the start of the sample; sizes are in bytes, 0 for the meta.
        """

    @abstractmethod
    def compute_strides(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bytes of each sample, headers and padding included: int64 (rows,)."""

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """Return the first row of each block of some `size` bytes, at least one sample: int64 (blocks,).

        The blocks of a shard have nearly equal numbers of samples: where these vary in size, blocks have `size` bytes
        in the mean, so that no index is read for them.
        """
        starts = [np.zeros(0, np.int64)]
        for first, count, total in zip(self._firsts, self._counts.tolist(), self._bytes.tolist(), strict=True):
            blocks = -(-count // max(1, size * count // max(1, total)))
            starts.append(first + np.arange(blocks) * count // max(1, blocks))
        return np.concatenate(starts)


class StridedOffsets(SampleOffsets):
    """Offsets of samples that all have the same size in a shard; see `SampleOffsets`."""

    def locate(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Members, Members]:
        """See `SampleOffsets.locate`."""
        shards = self.find_shards(rows)
        starts = self._starts[shards] + (rows - self._firsts[shards]) * self._strides[shards]
        return starts, self.layout.offsets, self.layout.sizes

    def compute_strides(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `SampleOffsets.compute_strides`."""
        strides: NDArray[np.int64] = self._strides[self.find_shards(rows)]
        return strides


class IndexedOffsets(SampleOffsets):
    """Offsets of samples with members that vary in size, from the index; see `SampleOffsets`.

    Args:
        index: of the split, with checked offsets; the rows of a sample are used when it is located.
    """

    def __init__(
        self, fields: Mapping[str, Field], shards: Sequence[ShardRecord], starts: NDArray[np.int64], index: Index
    ) -> None:
        super().__init__(fields, shards, starts)
        self._offsets, self._varying = index["offset"], index["size"]

    def locate(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Members, Members]:
        """See `SampleOffsets.locate`."""
        starts = self._starts[self.find_shards(rows)] + self._offsets[rows].astype(np.int64)
        return starts, *self.layout.compute_offsets(self._varying[rows])

    def compute_strides(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `SampleOffsets.compute_strides`."""
        meta: NDArray[np.int64] = self._strides[self.find_shards(rows)] - self.layout.stride
        return self.layout.compute_strides(self._varying[rows]) + meta


class WholeIndexOffsets(IndexedOffsets):
    """The same for a split of version 2, whose index is read at opening; its blocks are those that it always had."""

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """See `SampleOffsets.cut_blocks`; a block has the samples that start in the same `size` bytes of a shard."""
        starts = [np.zeros(0, np.int64)]
        for first, count in zip(self._firsts.tolist(), self._counts.tolist(), strict=True):
            blocks = (self._offsets[first : first + count] // max(1, size)).astype(np.int64)
            starts.append(first + np.flatnonzero(np.diff(blocks, prepend=-1)))
        return np.concatenate(starts)


def plan_offsets(
    fields: Mapping[str, Field], shards: Sequence[ShardRecord], starts: NDArray[np.int64], index: Index
) -> SampleOffsets:
    """Return the offsets of the samples in these shards."""
    if not any(field.varies for field in fields.values()):
        return StridedOffsets(fields, shards, starts)
    whole = any(shard.index_sha256 is None for shard in shards)
    return (WholeIndexOffsets if whole else IndexedOffsets)(fields, shards, starts, index)
