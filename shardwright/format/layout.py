"""Where the members of a sample stand in its shard: pure arithmetic, the same for every sample of a shard.

But where members have sizes of their own: there it takes these sizes, a sample at a time or of many at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shardwright.format import tar
from shardwright.format.field import Field

META = "meta"


@dataclass(frozen=True)
class Layout:
    """A sample's members in order, the fields and then the meta; offsets in bytes from the sample's start.

    Attributes:
        suffixes: what follows `<key>.` in the members' names.
        heads: what the members' contents begin with: the NPY header of an array, nothing for the others.
        pictures: for the members that are JPEG files, the shape that they decode to; None for the others.
        sizes: of the members' contents.
        offsets: of the members' contents; the tar header stands in the 512 bytes before.
        stride: from the start of a sample to the start of the next.
        varying: which members have a size of their own in each sample. `sizes` has 0 for them, and offsets and stride
            are the least there are, until they are told: see `fit`.
    """

    suffixes: tuple[str, ...]
    heads: tuple[bytes, ...]
    pictures: tuple[tuple[int, ...] | None, ...]
    sizes: tuple[int, ...]
    offsets: tuple[int, ...]
    stride: int
    varying: tuple[int, ...] = ()

    def count_shard_bytes(self, samples: int) -> int:
        """The size of a shard of so many samples; the least, where members vary."""
        return samples * self.stride + len(tar.END)

    def fit(self, sizes: Sequence[int]) -> "Layout":
        """The layout of the one sample whose `varying` members have these sizes."""
        if not self.varying:
            return self
        fitted = list(self.sizes)
        for member, size in zip(self.varying, sizes, strict=True):
            fitted[member] = size
        offsets, stride = _stack_members(fitted)
        return replace(self, sizes=tuple(fitted), offsets=offsets, stride=stride)

    def measure(self, sizes: NDArray[np.uint32]) -> NDArray[np.int64]:
        """The strides of samples whose `varying` members have these sizes, (samples, varying): int64 (samples,)."""
        strides: NDArray[np.int64] = self.stride + _fill_blocks(sizes.astype(np.int64)).sum(axis=1)
        return strides

    def place(self, sizes: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The offsets and the sizes of all members in samples whose `varying` members have these sizes.

        Both int64 (members, samples).
        """
        whole = np.repeat(np.array(self.sizes, np.int64)[:, None], len(sizes), axis=1)
        whole[list(self.varying)] = sizes.T
        taken = tar.BLOCK + _fill_blocks(whole)
        return np.cumsum(taken, axis=0) - taken + tar.BLOCK, whole


def plan_layout(fields: Mapping[str, Field], meta_bytes: int) -> Layout:
    """The layout of a shard whose meta members have `meta_bytes` each."""
    specs = list(fields.values())
    sizes = [0 if field.varies else len(field.header) + field.nbytes for field in specs] + [meta_bytes]
    offsets, stride = _stack_members(sizes)
    return Layout(
        suffixes=(*(f"{name}.{field.suffix}" for name, field in fields.items()), f"{META}.json"),
        heads=(*(field.header for field in specs), b""),
        pictures=(*(field.shape if field.varies else None for field in specs), None),
        sizes=tuple(sizes),
        offsets=offsets,
        stride=stride,
        varying=tuple(member for member, field in enumerate(specs) if field.varies),
    )


def _stack_members(sizes: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """The offsets of contents of these sizes in a sample, and its stride."""
    offsets, position = [], 0
    for size in sizes:
        offsets.append(position + tar.BLOCK)
        position += tar.BLOCK + size + tar.count_padding(size)
    return tuple(offsets), position


def _fill_blocks(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sizes up to the next multiple of a block."""
    return sizes + -sizes % tar.BLOCK
