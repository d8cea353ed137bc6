"""Which sample goes into which shard: decided by the hash of its key alone, so that a new sample touches one shard.

The shard's number is the first bits of the hash, and samples are ordered by the hash inside. The number of shards is a
power of two: when it doubles, each shard splits in two and no sample moves from one to another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.extract.aligned_samples import SampleColumns
from pipeline.extract.params import MAX_SHARDS, ExtractParams
from shardwright.format.field import Field
from shardwright.format.layout import plan_layout

META_BYTES = 1024
"""Assumed for a sample's meta when shards are counted. An average (stamps: 700 to 1,000 bytes): the true one would
tie the number of shards, and so every shard, to each caption."""

JPEG_SHARE = 8
"""Of a picture's pixels, one byte in so many is assumed for its JPEG file, for the same reason. Stamps of 224 × 224 at
quality 90 take one in 14; shards are to keep to their size with pictures of more detail too."""

PREFIX_BITS = 64
"""Of a hash, that are looked at for the shard's number: `MAX_SHARDS` needs 19."""


@dataclass(frozen=True, eq=False)
class PlannedShard:
    """A shard and the row numbers of its samples in order. Numbers may be missing in a split: a shard without samples
    is not written."""

    split: str
    number: int
    rows: NDArray[Any]

    @property
    def name(self) -> str:
        """The name of its file, such as `train-000003.tar`."""
        return f"{self.split}-{self.number:06d}.tar"


def plan_shards(
    samples: SampleColumns, usable: NDArray[np.bool_], fields: Mapping[str, Field], params: ExtractParams
) -> list[PlannedShard]:
    """All shards of the usable samples, by split and number."""
    sample_bytes = estimate_sample_bytes(fields)
    planned = []
    for split, name in sorted(enumerate(samples.split_names), key=lambda numbered: numbered[1]):
        rows = np.flatnonzero(usable & (samples.splits == split)).astype(np.int32)
        if not len(rows):
            continue
        rows = rows[np.argsort(samples.hashes[rows])]
        count = params.shards or count_shards(len(rows), sample_bytes, params.shard_bytes)
        numbers = find_shards(samples.hashes[rows], count)
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        planned += [
            PlannedShard(name, int(numbers[start]), part)
            for start, part in zip(starts, np.split(rows, starts[1:]), strict=True)
        ]
    return planned


def estimate_sample_bytes(fields: Mapping[str, Field]) -> int:
    """Bytes of a sample in its shard, tar headers and padding included; where members vary, as assumed."""
    layout = plan_layout(fields, META_BYTES)
    return layout.fit([field.nbytes // JPEG_SHARE for field in fields.values() if field.varies]).stride


def count_shards(samples: int, sample_bytes: int, shard_bytes: int) -> int:
    """The smallest power of two that keeps the mean shard at or under `shard_bytes`; no more than there are samples."""
    count = 1
    while count < min(samples, MAX_SHARDS) and samples * sample_bytes > count * shard_bytes:
        count *= 2
    return min(count, MAX_SHARDS)


def find_shards(hashes: NDArray[np.bytes_], count: int) -> NDArray[np.int64]:
    """The number of each shard among `count`, a power of two: as many first bits of the hash as count them."""
    bits = count.bit_length() - 1
    if bits == 0:
        return np.zeros(len(hashes), np.int64)
    prefixes = np.ascontiguousarray(hashes.view(np.uint8).reshape(-1, 32)[:, :8]).view(">u8")[:, 0]
    return (prefixes.astype(np.uint64) >> np.uint64(PREFIX_BITS - bits)).astype(np.int64)
