"""Compute the offsets of a sample's members in its shard.

They are the same in every sample of a shard, except where members vary in size: these need the sizes of each sample.
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
    """The members of a sample in order, the fields and then the meta; offsets in bytes from the sample's start.

    Attributes:
        suffixes: of the members' names, after `<key>.`.
        heads: the first bytes of the members' contents: the NPY header of an array, nothing for the others.
        image_shapes: the shape that a member decodes to, for members that are JPEG files; None for the others.
        sizes: of the members' contents, in bytes.
        offsets: of the members' contents; the tar header fills the 512 bytes before.
        stride: bytes from the start of a sample to the start of the next.
        varying: the members whose size differs between samples. `sizes` has 0 for them, and offsets and stride are
            lower bounds; `fit` gives the layout of one sample.
    """

    suffixes: tuple[str, ...]
    heads: tuple[bytes, ...]
    image_shapes: tuple[tuple[int, ...] | None, ...]
    sizes: tuple[int, ...]
    offsets: tuple[int, ...]
    stride: int
    varying: tuple[int, ...] = ()

    def count_shard_bytes(self, samples: int) -> int:
        """Return the size of a shard of so many samples; a lower bound where members vary."""
        return samples * self.stride + len(tar.END)

    def find_stride(self, meta_bytes: int) -> int:
        """Return the stride in a shard whose metas have `meta_bytes` each, from a layout that was planned with 0."""
        return self.stride + meta_bytes + tar.count_padding(meta_bytes)

    def fit(self, sizes: Sequence[int]) -> "Layout":
        """Return the layout of a sample whose `varying` members have these sizes."""
        if not self.varying:
            return self
        fitted = list(self.sizes)
        for member, size in zip(self.varying, sizes, strict=True):
            fitted[member] = size
        offsets, stride = _stack_members(fitted)
        return replace(self, sizes=tuple(fitted), offsets=offsets, stride=stride)

    def compute_strides(self, sizes: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return the stride of each sample, int64 (samples,), from the sizes of its `varying` members.

        Args:
            sizes: uint32 (samples, varying).
        """
        strides: NDArray[np.int64] = self.stride + _round_up(sizes.astype(np.int64)).sum(axis=1)
        return strides

    def compute_offsets(self, sizes: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return offsets and sizes of all members, each int64 (members, samples), from those of the `varying` ones.

        Args:
            sizes: uint32 (samples, varying).
        """
        whole = np.repeat(np.array(self.sizes, np.int64)[:, None], len(sizes), axis=1)
        whole[list(self.varying)] = sizes.T
        taken = tar.BLOCK + _round_up(whole)
        return np.cumsum(taken, axis=0) - taken + tar.BLOCK, whole


def plan_layout(fields: Mapping[str, Field], meta_bytes: int) -> Layout:
    """Return the layout of a shard whose meta members have `meta_bytes` each."""
    specs = list(fields.values())
    sizes = [0 if field.varies else len(field.header) + field.nbytes for field in specs] + [meta_bytes]
    offsets, stride = _stack_members(sizes)
    return Layout(
        suffixes=(*(f"{name}.{field.suffix}" for name, field in fields.items()), f"{META}.json"),
        heads=(*(field.header for field in specs), b""),
        image_shapes=(*(field.shape if field.varies else None for field in specs), None),
        sizes=tuple(sizes),
        offsets=offsets,
        stride=stride,
        varying=tuple(member for member, field in enumerate(specs) if field.varies),
    )


def _stack_members(sizes: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Return the offsets of contents of these sizes in a sample, and the sample's stride."""
    offsets, position = [], 0
    for size in sizes:
        offsets.append(position + tar.BLOCK)
        position += tar.BLOCK + size + tar.count_padding(size)
    return tuple(offsets), position


def _round_up(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Round sizes up to multiples of a block."""
    return sizes + -sizes % tar.BLOCK
