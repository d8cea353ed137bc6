"""Check what was read of the members of a split, and say where a damaged one is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import DamageError
from shardwright.format.index import decode_key
from shardwright.format.manifest import ShardRecord
from shardwright.storage.checked_gather import CheckedRows
from shardwright.storage.sample_offsets import SampleOffsets


class MemberChecks:
    """What the index says of the members of a split; rows must be of shards whose index was read.

    Args:
        name: of the split, for messages.
        shards: its shards.
        offsets: where its members are.
        index: a row a sample, with its `key` and the `crc32` of its members.
    """

    def __init__(
        self, name: str, shards: Sequence[ShardRecord], offsets: SampleOffsets, index: NDArray[np.void]
    ) -> None:
        self._name, self._shards, self._offsets, self._index = name, shards, offsets, index

    def check(self, row: int, member: int, crc32: int) -> None:
        """Compare the crc32 of a member's content with the index.

        Raises:
            DamageError: it is another.
        """
        expected = int(self._index["crc32"][row, member])
        if crc32 != expected:
            raise self.describe_damage(row, member, f"its crc32 is {crc32:08x}, the index says {expected:08x}")

    def refuse(self, rows: NDArray[np.int64], member: int, found: CheckedRows) -> None:
        """Check members one by one.

        Raises:
            DamageError: one is damaged; it is of the first.
        """
        for row, head, crc32 in zip(rows.tolist(), found.heads, found.crc32.tolist(), strict=True):
            self.check(row, member, crc32)
            if head.tobytes() != self._offsets.layout.heads[member]:
                raise self.describe_damage(row, member, "its NPY header does not match the field in the manifest")

    def describe_damage(self, row: int, member: int, what: str) -> DamageError:
        """Return the error that says what is wrong with a member, and where."""
        shard, key = self._shards[int(self._offsets.find_shards(row))].name, decode_key(self._index["key"][row])
        offset = self._offsets.find_offset(row, member)
        suffix = self._offsets.layout.suffixes[member]
        return DamageError(
            f"{self._name}/{shard}: sample {key!r}, {suffix} at byte {offset}: {what}",
            shard=shard,
            sample=key,
            field=suffix.partition(".")[0],
            offset=offset,
        )
