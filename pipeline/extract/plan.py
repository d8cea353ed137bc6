"""Which sample goes into which shard: decided by the hash of its key alone, so that a new sample touches one shard.

The shard's number is the first bits of the hash, and samples are ordered by the hash inside. The number of shards is a
power of two: when it doubles, each shard splits in two and no sample moves from one to another.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.extract.fields import FieldPlan
from pipeline.extract.params import MAX_SHARDS, ExtractParams
from pipeline.extract.samples import AlignedSample
from shardwright.field import Field
from shardwright.layout import plan_layout

META_BYTES = 1024
"""Assumed for a sample's meta when shards are counted. An average (stamps: 700 to 1,000 bytes): the true one would
tie the number of shards, and so every shard, to each caption."""


@dataclass(frozen=True)
class PlannedShard:
    """A shard and its samples in order. Numbers may be missing in a split: a shard without samples is not written."""

    split: str
    number: int
    samples: tuple[AlignedSample, ...]

    @property
    def name(self) -> str:
        """The name of its file, such as `train-000003.tar`."""
        return f"{self.split}-{self.number:06d}.tar"


def plan_shards(samples: Sequence[AlignedSample], plan: FieldPlan, params: ExtractParams) -> list[PlannedShard]:
    """All shards, by split and number."""
    splits: dict[str, list[AlignedSample]] = {}
    for sample in samples:
        splits.setdefault(sample.split, []).append(sample)
    sample_bytes = estimate_sample_bytes(plan.fields)
    planned = []
    for split, members in sorted(splits.items()):
        count = params.shards or count_shards(len(members), sample_bytes, params.shard_bytes)
        shards: dict[int, list[AlignedSample]] = {}
        for sample in sorted(members, key=lambda sample: hash_key(sample.key)):
            shards.setdefault(find_shard(sample.key, count), []).append(sample)
        planned += [PlannedShard(split, number, tuple(shards[number])) for number in sorted(shards)]
    return planned


def estimate_sample_bytes(fields: Mapping[str, Field]) -> int:
    """Bytes of a sample in its shard, tar headers and padding included."""
    return plan_layout(fields, META_BYTES).stride


def count_shards(samples: int, sample_bytes: int, shard_bytes: int) -> int:
    """The smallest power of two that keeps the mean shard at or under `shard_bytes`; no more than there are samples."""
    count = 1
    while count < min(samples, MAX_SHARDS) and samples * sample_bytes > count * shard_bytes:
        count *= 2
    return min(count, MAX_SHARDS)


def hash_key(key: str) -> bytes:
    """What orders samples: the sha256 of the key."""
    return hashlib.sha256(key.encode()).digest()


def find_shard(key: str, count: int) -> int:
    """The number of the key's shard among `count`, a power of two: as many first bits of its hash as count them."""
    bits = count.bit_length() - 1
    return int.from_bytes(hash_key(key)) >> (256 - bits)
