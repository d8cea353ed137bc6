"""Locate samples in the shards of a dataset by their keys."""

import hashlib
from pathlib import Path

import numpy as np

from pipeline.lineage.facts import MemberLocation, SampleLocation
from shardwright.format.index import Index, open_indexes
from shardwright.format.layout import plan_layout
from shardwright.format.manifest import MANIFEST_NAME, Manifest, ShardRecord, read_manifest
from shardwright.storage.sample_offsets import plan_offsets


class DatasetKeys:
    """The keys of a dataset; the index of a shard is read and verified when it is needed."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self._root = root
        self.manifest = manifest

    @classmethod
    def open(cls, root: Path) -> "DatasetKeys | None":
        """Return the dataset in `root`, or None if there is none.

        Raises:
            FormatError, DamageError: its manifest is damaged.
        """
        return cls(root, read_manifest(root)) if (root / MANIFEST_NAME).is_file() else None

    def locate(self, key: str, first: str | None = None) -> SampleLocation | None:
        """Return where the sample `key` is, or None if the dataset does not have it.

        Shards are in the order of the hashes of their keys, so those near the key's own place are searched first.

        Args:
            key: of the sample.
            first: the split to search before the others.

        Raises:
            DamageError: an index is damaged.
        """
        place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
        for name in sorted(self.manifest.splits, key=lambda name: name != first):
            split = self.manifest.splits[name]
            read, count = open_indexes(self._root / name, self.manifest.fields, split), len(split.shards)
            for number in sorted(range(count), key=lambda number: abs(number + 0.5 - place * count)):
                index = read(number)
                rows = np.flatnonzero(index["key"] == key.encode("ascii", "replace"))
                if len(rows):
                    return _locate(self.manifest, name, split.shards[number], index, int(rows[0]))
        return None


def _locate(manifest: Manifest, split: str, shard: ShardRecord, index: Index, row: int) -> SampleLocation:
    """Return the location of the sample at this row of the shard's index."""
    sample_offsets = plan_offsets(manifest.fields, [shard], np.zeros(1, np.int64), index)
    starts, offsets, sizes = sample_offsets.locate(np.array([row]))
    layout, start = plan_layout(manifest.fields, shard.meta_bytes), int(starts[0])
    located = ((int(np.ravel(at)[0]), int(np.ravel(size)[0])) for at, size in zip(offsets, sizes, strict=True))
    *fields, (meta_at, _) = located
    found = [*fields, (meta_at, shard.meta_bytes)]
    members = [
        MemberLocation(suffix, start + at, size) for suffix, (at, size) in zip(layout.suffixes, found, strict=True)
    ]
    return SampleLocation(split, shard.name, row, shard.samples, members)
