"""Make datasets of format versions 1 and 2, which have one index for all shards of a split."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shardwright import FileRecord, read_manifest, write_manifest
from shardwright.format.index import index_dtype, iterate_indexes, write_index

OLD_INDEX = "index.npy"


def make_old(root: Path, splits: Sequence[str] | None = None) -> Path:
    """Give splits, by default all, the form that they had before version 3: one index instead of one for each shard.

    The files are those of the releases before, byte for byte, see `tests/format/test_old_versions.py`.
    """
    manifest = read_manifest(root)
    changed = dict(manifest.splits)
    for name in manifest.splits if splits is None else splits:
        split, folder = manifest.splits[name], root / name
        indexes = [index for _, index in iterate_indexes(folder, manifest.fields, split)]
        whole = np.concatenate([np.empty(0, index_dtype(manifest.fields)), *indexes])
        record = FileRecord(OLD_INDEX, write_index(folder / OLD_INDEX, whole))
        for shard in split.shards:
            (folder / shard.index_name).unlink()
        shards = tuple(replace(shard, index_sha256=None) for shard in split.shards)
        changed[name] = replace(split, shards=shards, index=record)
    write_manifest(root, replace(manifest, splits=changed))
    return root


def hash_tree(root: Path) -> str:
    """Return a hash of the names and bytes of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
