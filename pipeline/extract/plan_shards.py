"""Assign samples to shards by the hash of their key alone, so that a new sample changes one shard.

The shard number is the first bits of the hash, and samples are ordered by hash within a shard: as they are in the table
of samples, where a shard is a range of rows. The number of shards is a power of two: when it doubles, each shard splits
in two and no sample moves between the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from pipeline.errors import InputError
from pipeline.extract.params import MAX_SHARDS, ExtractParams
from pipeline.tables.database import Database
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


@dataclass(frozen=True)
class PlannedShard:
    """A shard of the samples with the numbers `first` to `last`, of which `samples` are usable.

    Shard numbers may have gaps: a shard without samples is not written.
    """

    split: str
    number: int
    first: int
    last: int
    samples: int

    @property
    def name(self) -> str:
        """The file name, such as `train-000003.tar`."""
        return f"{self.split}-{self.number:06d}.tar"


def plan_shards(database: Database, fields: Mapping[str, Field], params: ExtractParams) -> list[PlannedShard]:
    """Plan the shards of the table `usable` of samples, by split and number.

    Raises:
        InputError: the samples are not in the order of their hashes.
    """
    sample_bytes = estimate_sample_bytes(fields)
    planned: list[PlannedShard] = []
    for split, samples in database.fetch("SELECT split, count(*) FROM usable GROUP BY split ORDER BY split"):
        count = params.shards or count_shards(samples, sample_bytes, params.shard_bytes)
        rows = database.fetch(
            """
            SELECT number, min(sample), max(sample), count(*)
            FROM (
                SELECT sample,
                    CASE $bits WHEN 0 THEN 0 ELSE ('0x' || left(sha256(key), 16))::UBIGINT >> ($prefix - $bits) END
                        AS number
                FROM usable WHERE split = $split
            )
            GROUP BY number ORDER BY number
            """,
            {"split": split, "bits": count.bit_length() - 1, "prefix": PREFIX_BITS},
        )
        planned += [PlannedShard(split, *row) for row in rows]
    for shard, following in pairwise(planned):
        if shard.last >= following.first:
            raise InputError(f"the samples of {shard.name} and {following.name} overlap: run `dvc repro` again")
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
