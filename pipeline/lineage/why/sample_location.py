"""Where a sample is in the shards, from the manifest and the indexes alone."""

from pathlib import Path

import numpy as np

from pipeline.lineage.facts import MemberLocation, SampleLocation
from shardwright.format.index import Index, read_index
from shardwright.format.layout import plan_layout
from shardwright.format.manifest import MANIFEST_NAME, Manifest, Split, read_manifest
from shardwright.storage.sample_offsets import plan_offsets


def read_dataset(root: Path) -> Manifest | None:
    """The manifest of the dataset in `root`, or None if there is none.

    Raises:
        FormatError, DamageError: it is not what was written.
    """
    return read_manifest(root) if (root / MANIFEST_NAME).is_file() else None


def find_place(root: Path, manifest: Manifest, key: str) -> SampleLocation | None:
    """Where the sample `key` is, or None if the dataset has none.

    Raises:
        DamageError: an index is not what was written.
    """
    for name, split in manifest.splits.items():
        index = read_index(root / name / split.index.name, manifest.fields, split)
        rows = np.flatnonzero(index["key"] == key.encode("ascii", "replace"))
        if len(rows):
            return _locate(manifest, name, split, index, int(rows[0]))
    return None


def _locate(manifest: Manifest, name: str, split: Split, index: Index, row: int) -> SampleLocation:
    """The place of the sample of this row of the split's index."""
    counts = [shard.samples for shard in split.shards]
    ends = np.cumsum(counts)
    shard = split.shards[at := int(np.searchsorted(ends, row, "right"))]
    number = row - int(ends[at] - counts[at])
    places = plan_offsets(manifest.fields, split.shards, np.zeros(len(counts), np.int64), index)
    starts, offsets, sizes = places.locate(np.array([row]))
    layout, start = plan_layout(manifest.fields, shard.meta_bytes), int(starts[0])
    located = ((int(np.ravel(at)[0]), int(np.ravel(size)[0])) for at, size in zip(offsets, sizes, strict=True))
    *fields, (meta_at, _) = located
    found = [*fields, (meta_at, shard.meta_bytes)]
    members = [
        MemberLocation(suffix, start + at, size) for suffix, (at, size) in zip(layout.suffixes, found, strict=True)
    ]
    return SampleLocation(name, shard.name, number, shard.samples, members)
