"""Store whole shards in the item cache under the hash of everything they were built from, and reuse them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.incremental.cache_key import hash_method
from pipeline.incremental.feature_entries import encode_arrays
from pipeline.incremental.lookup import EntryLocations
from pipeline.incremental.object_store import ObjectStore, copy_by_link
from pipeline.incremental.pack_index import ENTRY, PIECE, Array, DamagedError, PackIndex
from pipeline.extract.aligned_samples import AlignedSample
from pipeline.extract.field_statistics import FieldMoments
from pipeline.extract.plan_fields import FieldPlan
from pipeline.extract.reuse_samples import SHARD, ShardRows, decode_samples, encode_samples, locate_samples
from pipeline.extract.sample_meta import build_meta
from pipeline.modalities.table import MODALITIES
from pipeline.tables.drops import Drop, Reason
from shardwright.format.canonical_json import encode_canonical
from shardwright.format.encode import WrittenShard, encode_sample
from shardwright.format.manifest import ShardRecord

NO_FEATURE = bytes(32)
"""Stands for the cache key of a feature that a sample does not have."""


@dataclass(frozen=True)
class CachedShard:
    """A shard, None if all its samples were dropped; the drops, and the moments for the statistics."""

    written: WrittenShard | None
    drops: tuple[Drop, ...]
    moments: Mapping[str, FieldMoments]


def hash_assembly(plan: FieldPlan, learned: str | None, files: Sequence[Path]) -> bytes:
    """Return a hash of how shards are assembled from features: the fields, the sha256 of the vocabulary, and the code,
    including the code that encodes parsed texts."""
    settings = {
        "fields": [[name, field.to_json()] for name, field in plan.fields.items()],
        "modalities": {name: list(fields) for name, fields in plan.modalities.items()},
        "optional": list(plan.optional),
        "classes": plan.classes,
        "learned": learned,
        "code": [hashlib.sha256(path.read_bytes()).hexdigest() for path in files],
    }
    learnings = [MODALITIES[name].learning for name in plan.modalities]
    encoders = [learning.encode for learning in learnings if learning is not None]
    return hash_method("shard", (encode_sample, encode_arrays, *encoders), settings)


def list_code() -> list[Path]:
    """Return the files whose code assembles shards: this whole folder; a file too many costs only copying."""
    return sorted(Path(__file__).parent.glob("*.py"))


def hash_samples(
    assembly: bytes, samples: Sequence[AlignedSample], features: Mapping[str, EntryLocations], moments: bool
) -> list[bytes]:
    """Return the cache key of each encoded sample: a hash of the assembly, its meta and its features' keys."""
    keys = []
    for at, sample in enumerate(samples):
        digest = hashlib.sha256(assembly + bytes([moments]))
        digest.update(encode_canonical(build_meta(sample, None)))  # the caption is one of the features' items
        for modality, locations in features.items():
            digest.update(locations.encode_key(at) if modality in sample.parts else NO_FEATURE)
        keys.append(digest.digest())
    return keys


def name_shard(keys: Sequence[bytes]) -> str:
    """Return the cache name of the shard of samples with these cache keys."""
    return f"{hashlib.sha256(b''.join(keys)).hexdigest()[:32]}{SHARD}"


def reuse_shard(objects: ObjectStore, name: str, path: Path, plan: FieldPlan) -> CachedShard | None:
    """Link the cached shard of that name to `path`; None if it is missing or damaged."""
    try:
        rows = objects.read_rows(name)
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)  # left by an earlier try of the task
        copy_by_link(objects.find_path(name), path)
    except (DamagedError, FileNotFoundError):
        return None
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != rows.about["sha256"]:
        path.unlink()
        return None
    return _load_shard(rows, path.name, plan)


def _load_shard(rows: PackIndex, name: str, plan: FieldPlan) -> CachedShard:
    about = rows.about
    drops = tuple(Drop(key, Reason(reason), *rest) for key, reason, *rest in about["drops"])
    index, _ = decode_samples(rows, plan)
    record = ShardRecord(name, len(index), rows.size, about["meta_bytes"], about["sha256"])
    moments = {
        field: FieldMoments(count, np.array(mean), np.array(squares))
        for field, (count, mean, squares) in about["moments"].items()
    }
    return CachedShard(WrittenShard(record, index), drops, moments)


def describe_shard(plan: FieldPlan, assembly: bytes, shard: CachedShard, samples: ShardRows) -> PackIndex:
    """Describe a finished shard as a pack index."""
    assert shard.written is not None
    record, index = shard.written.record, shard.written.index
    about: dict[str, Any] = {
        "assembly": assembly.hex(),
        "samples": len(index),
        "sha256": record.sha256,
        "meta_bytes": record.meta_bytes,
        "drops": [[drop.key, str(drop.reason), *astuple(drop)[2:]] for drop in shard.drops],
        "moments": {
            field: [moments.count, moments.mean.tolist(), moments.squares.tolist()]
            for field, moments in shard.moments.items()
        },
    }
    entries, pieces = _find_features(plan, shard.written, samples.features)
    measured = {name: plan.fields[name] for name in shard.moments}
    extra = index.tobytes() + encode_samples(samples, measured)
    return PackIndex(record.bytes, entries[np.argsort(entries["key"])], pieces, about, extra)


def _find_features(
    plan: FieldPlan, written: WrittenShard, features: Sequence[Mapping[str, bytes]]
) -> tuple[Array, Array]:
    """Locate the features in the shard, except learned ones, which belong to one vocabulary."""
    located = locate_samples(plan.fields, written.record.meta_bytes, written.index)
    members_pieces = np.empty(located.offsets.T.shape, PIECE)  # of all members of all samples
    members_pieces["offset"] = (located.starts + located.offsets).T
    members_pieces["size"], members_pieces["crc32"] = located.sizes.T, written.index["crc32"]
    entries: dict[bytes, tuple[bytes, bool, int, int]] = {}
    pieces: list[Array] = []
    count = 0
    for modality, fields in plan.modalities.items():
        if MODALITIES[modality].learning is not None:
            continue
        members = [list(plan.fields).index(field) for field in fields]
        rows = []
        for row, sample in enumerate(features):
            if modality in sample and sample[modality] not in entries:  # two samples may share an item
                entries[sample[modality]] = (sample[modality], False, count, len(members))
                count += len(members)
                rows.append(row)
        pieces.append(members_pieces[rows][:, members].ravel())
    return np.array(list(entries.values()), ENTRY), np.concatenate([np.empty(0, PIECE), *pieces])
