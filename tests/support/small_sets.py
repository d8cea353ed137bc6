"""Small whole datasets, to be verified and damaged."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from shardwright import Field, FileRecord, Source, read_manifest, write_manifest
from shardwright.format.walk_shard import hash_file
from tests.support.shard_samples import write_small


def write_set(root: Path, fields: Mapping[str, Field]) -> Path:
    """Write two splits of 6 samples a shard, 20 and 6 samples, with a vocabulary and sources; return `root`."""
    write_small(root, 20, fields=fields)
    write_small(root, 6, split="val", fields=fields)
    (root / "vocabulary.txt").write_text("a\nb\n")
    record = FileRecord("vocabulary.txt", hash_file(root / "vocabulary.txt"))
    sources = (Source("demo", "CC0-1.0", "nobody", 26),)
    write_manifest(root, replace(read_manifest(root), vocabulary=record, sources=sources))
    return root
