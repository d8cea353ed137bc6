"""Locate samples in the shards of a dataset by their keys."""

from pathlib import Path

import numpy as np

from pipeline.lineage.facts import MemberLocation, SampleLocation
from shardwright.format.index import Index, read_index
from shardwright.format.layout import plan_layout
from shardwright.format.manifest import MANIFEST_NAME, Manifest, Split, read_manifest
from shardwright.storage.sample_offsets import plan_offsets


class DatasetKeys:
    """The keys of a dataset; the index of each split is read and verified once, when it is needed."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self._root = root
        self.manifest = manifest
        self._indexes: dict[str, Index] = {}

    @classmethod
    def open(cls, root: Path) -> "DatasetKeys | None":
        """Return the dataset in `root`, or None if there is none.

        Raises:
            FormatError, DamageError: its manifest is damaged.
        """
        return cls(root, read_manifest(root)) if (root / MANIFEST_NAME).is_file() else None

    def locate(self, key: str, first: str | None = None) -> SampleLocation | None:
        """Return where the sample `key` is, or None if the dataset does not have it.

        Args:
            key: of the sample.
            first: the split to search before the others.

        Raises:
            DamageError: an index is damaged.
        """
        for name in sorted(self.manifest.splits, key=lambda name: name != first):
            split = self.manifest.splits[name]
            if name not in self._indexes:
                path = self._root / name / split.index.name
                self._indexes[name] = read_index(path, self.manifest.fields, split)
            rows = np.flatnonzero(self._indexes[name]["key"] == key.encode("ascii", "replace"))
            if len(rows):
                return _locate(self.manifest, name, split, self._indexes[name], int(rows[0]))
        return None


def _locate(manifest: Manifest, name: str, split: Split, index: Index, row: int) -> SampleLocation:
    """Return the location of the sample at this row of the split's index."""
    counts = [shard.samples for shard in split.shards]
    ends = np.cumsum(counts)
    shard = split.shards[at := int(np.searchsorted(ends, row, "right"))]
    number = row - int(ends[at] - counts[at])
    sample_offsets = plan_offsets(manifest.fields, split.shards, np.zeros(len(counts), np.int64), index)
    starts, offsets, sizes = sample_offsets.locate(np.array([row]))
    layout, start = plan_layout(manifest.fields, shard.meta_bytes), int(starts[0])
    located = ((int(np.ravel(at)[0]), int(np.ravel(size)[0])) for at, size in zip(offsets, sizes, strict=True))
    *fields, (meta_at, _) = located
    found = [*fields, (meta_at, shard.meta_bytes)]
    members = [
        MemberLocation(suffix, start + at, size) for suffix, (at, size) in zip(layout.suffixes, found, strict=True)
    ]
    return SampleLocation(name, shard.name, number, shard.samples, members)
