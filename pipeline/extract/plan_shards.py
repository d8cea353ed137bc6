"""Assign samples to shards by the hash of their key alone, so that a new sample changes one shard.

The shard number is the first bits of the hash, and samples are ordered by hash within a shard. The number of shards is
a power of two: when it doubles, each shard splits in two and no sample moves between the others.
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
"""Assumed size of a sample's meta when shards are counted. An average (stamps: 700 to 1,000 bytes): the true size
would make the number of shards, and so every shard, depend on each caption."""

JPEG_SHARE = 8
"""Assumed compression of JPEG fields: bytes of pixels per byte of file, an average for the same reason. Stamps of
224 × 224 at quality 90 reach 14; images with more detail reach less, and shards should stay below their limit."""

PREFIX_BITS = 64
"""Leading bits of a hash that may form the shard number; `MAX_SHARDS` needs 19."""


@dataclass(frozen=True, eq=False)
class PlannedShard:
    """A shard and the row numbers of its samples in order. Shard numbers may have gaps: a shard without samples is not
    written."""

    split: str
    number: int
    rows: NDArray[Any]

    @property
    def name(self) -> str:
        """The file name, such as `train-000003.tar`."""
        return f"{self.split}-{self.number:06d}.tar"


def plan_shards(
    samples: SampleColumns, usable: NDArray[np.bool_], fields: Mapping[str, Field], params: ExtractParams
) -> list[PlannedShard]:
    """Plan the shards of the usable samples, by split and number."""
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
    """Return bytes of a sample in its shard with tar headers and padding; JPEG members at their assumed size."""
    layout = plan_layout(fields, META_BYTES)
    return layout.fit([field.nbytes // JPEG_SHARE for field in fields.values() if field.varies]).stride


def count_shards(samples: int, sample_bytes: int, shard_bytes: int) -> int:
    """Return the smallest power of two that keeps the mean shard within `shard_bytes`; at most the sample count."""
    count = 1
    while count < min(samples, MAX_SHARDS) and samples * sample_bytes > count * shard_bytes:
        count *= 2
    return min(count, MAX_SHARDS)


def find_shards(hashes: NDArray[np.bytes_], count: int) -> NDArray[np.int64]:
    """Return the shard number of each hash: its first log2(`count`) bits, where `count` is a power of two."""
    bits = count.bit_length() - 1
    if bits == 0:
        return np.zeros(len(hashes), np.int64)
    prefixes = np.ascontiguousarray(hashes.view(np.uint8).reshape(-1, 32)[:, :8]).view(">u8")[:, 0]
    return (prefixes.astype(np.uint64) >> np.uint64(PREFIX_BITS - bits)).astype(np.int64)
