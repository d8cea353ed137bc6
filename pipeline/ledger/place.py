"""Where a sample is in the shards, from the manifest and the indexes alone."""

from pathlib import Path

import numpy as np

from pipeline.ledger.facts import Member, Place
from shardwright.index import read_index
from shardwright.layout import plan_layout
from shardwright.manifest import MANIFEST_NAME, Manifest, Split, read_manifest


def read_dataset(root: Path) -> Manifest | None:
    """The manifest of the dataset in `root`, or None if there is none.

    Raises:
        FormatError, DamageError: it is not what was written.
    """
    return read_manifest(root) if (root / MANIFEST_NAME).is_file() else None


def find_place(root: Path, manifest: Manifest, key: str) -> Place | None:
    """Where the sample `key` is, or None if the dataset has none.

    Raises:
        DamageError: an index is not what was written.
    """
    for name, split in manifest.splits.items():
        index = read_index(root / name / split.index.name, split.index.sha256, manifest.fields, split.samples)
        rows = np.flatnonzero(index["key"] == key.encode("ascii", "replace"))
        if len(rows):
            return _locate(manifest, name, split, int(rows[0]))
    return None


def _locate(manifest: Manifest, name: str, split: Split, row: int) -> Place:
    """The place of the sample of this row of the split's index."""
    counts = [shard.samples for shard in split.shards]
    ends = np.cumsum(counts)
    shard = split.shards[at := int(np.searchsorted(ends, row, "right"))]
    number = row - int(ends[at] - counts[at])
    layout = plan_layout(manifest.fields, shard.meta_bytes)
    start = number * layout.stride
    members = zip(layout.suffixes, layout.offsets, layout.sizes, strict=True)
    return Place(name, shard.name, number, shard.samples, [Member(s, start + at, size) for s, at, size in members])
